/**
 * How does the command line ask a running Gatehouse?
 * Owns: one question over the admin socket, its deadline, and the words for "nobody is there".
 * Never: prints.
 */
import { request as httpRequest } from "node:http";
import { ERROR_CODES, errorText, GatehouseError, isGatehouseError, type ErrorCode } from "../core/errors.ts";
import { QUESTIONS, SIGN_OF_LIFE_MS, type AdminActions, type Failure, type Step, type Told } from "./actions.ts";

export type {
  AccountReport,
  CertificateDetails,
  CertificateStatus,
  Checklist,
  DdnsReport,
  DeviceReport,
  DoctorLook,
  ForwardReport,
  ImportOutcome,
  IssueOutcome,
  RouterReport,
  StatusReport,
} from "./actions.ts";

/** The same questions that the server answers, from outside. */
export type AdminClient = AdminActions;

const ANSWER_WITHIN_MS = 5_000;
/** A little longer than the server gives an action, so that its sentence arrives. */
const RELOAD_WITHIN_MS = 65_000;
/** Ten thousand certificates come to 3 MB. */
const MAX_ANSWER_BYTES = 16_000_000;

/**
 * Every call rejects with
 * GATEHOUSE_NOT_RUNNING when nobody answers on the path, GATEHOUSE_ADMIN_FORBIDDEN when this user may not open it,
 * GATEHOUSE_ADMIN_FAILED when the answer is late or makes no sense, and with whatever the running Gatehouse failed with.
 */
export function createAdminClient(path: string): AdminClient {
  return {
    status: () => ask(path, QUESTIONS.status, ANSWER_WITHIN_MS),
    certificates: () => ask(path, QUESTIONS.certificates, ANSWER_WITHIN_MS),
    health: () => ask(path, QUESTIONS.health, ANSWER_WITHIN_MS),
    reload: () => ask(path, QUESTIONS.reload, RELOAD_WITHIN_MS),
    forwards: () => ask(path, QUESTIONS.forwards, ANSWER_WITHIN_MS),
    router: () => ask(path, QUESTIONS.router, ANSWER_WITHIN_MS),
    ddns: () => ask(path, QUESTIONS.ddns, ANSWER_WITHIN_MS),
    updateDdns: () => ask(path, QUESTIONS.updateDdns, RELOAD_WITHIN_MS),
    doctor: () => ask(path, QUESTIONS.doctor, ANSWER_WITHIN_MS),
    issue: (wanted, tell) => askInSteps(path, QUESTIONS.issue, wanted, tell),
    revoke: (wanted, tell) => askInSteps(path, QUESTIONS.revoke, wanted, tell),
    disable: (wanted) => ask(path, QUESTIONS.disable, ANSWER_WITHIN_MS, wanted),
    cleanup: (wanted) => ask(path, QUESTIONS.cleanup, RELOAD_WITHIN_MS, wanted),
    show: (wanted) => ask(path, QUESTIONS.show, ANSWER_WITHIN_MS, wanted),
    devices: () => ask(path, QUESTIONS.devices, ANSWER_WITHIN_MS),
    addDevice: (wanted) => ask(path, QUESTIONS.addDevice, RELOAD_WITHIN_MS, wanted),
    revokeDevice: (wanted) => ask(path, QUESTIONS.revokeDevice, RELOAD_WITHIN_MS, wanted),
    importBundle: (wanted) => ask(path, QUESTIONS.importBundle, RELOAD_WITHIN_MS, wanted),
    exportBundle: (wanted) => ask(path, QUESTIONS.exportBundle, ANSWER_WITHIN_MS, wanted),
    testNotify: () => ask(path, QUESTIONS.testNotify, RELOAD_WITHIN_MS),
    accounts: (wanted) => ask(path, QUESTIONS.accounts, RELOAD_WITHIN_MS, wanted),
  };
}

async function ask<T>(path: string, question: string, withinMs: number, body?: object): Promise<T> {
  const { status, text } = await exchange({ path, question, body, withinMs });
  const value = parsed(text, path);
  if (status === 200) return value as T;
  throw fromFailure(value, path);
}

/** An order takes as long as it takes; what ends the wait is silence. */
async function askInSteps<T>(path: string, question: string, body: object, tell: (step: Step) => void): Promise<T> {
  let rest = "";
  let last: Told<T> | undefined;
  const take = (line: string): void => {
    if (line === "") return;
    const told = parsed(line, path) as Told<T>;
    if ("step" in told) tell(told.step);
    else last = told;
  };
  const onText = (text: string): void => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    lines.forEach(take);
  };
  const { status, text } = await exchange({ path, question, body, withinMs: 3 * SIGN_OF_LIFE_MS, onText });
  if (status !== 200) throw fromFailure(parsed(text, path), path);
  if (last !== undefined && "result" in last) return last.result;
  throw fromFailure(last !== undefined && "failure" in last ? last.failure : undefined, path);
}

function parsed(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw senseless(path, cause);
  }
}

interface Exchange {
  path: string;
  question: string;
  body?: object | undefined;
  /** For the whole of it, or between two pieces when they are wanted one by one. */
  withinMs: number;
  onText?: ((text: string) => void) | undefined;
}

function exchange({ path, question, body, withinMs, onText }: Exchange): Promise<{ status: number; text: string }> {
  const [method = "GET", url = "/"] = question.split(" ");
  const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  return new Promise((resolve, reject) => {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), withinMs);
    const fail = (error: unknown): void => {
      clearTimeout(timer);
      if (isGatehouseError(error)) reject(error);
      else reject(late.signal.aborted ? tooLate(path, withinMs) : unreachable(path, error as NodeJS.ErrnoException));
    };
    const headers = {
      host: "gatehouse",
      ...(bytes && { "content-type": "application/json", "content-length": bytes.length }),
    };
    const request = httpRequest(
      { socketPath: path, method, path: url, headers, agent: false, signal: late.signal },
      (response) => {
        let text = "";
        let count = 0;
        response.setEncoding("utf8");
        response.on("error", fail);
        response.on("data", (piece: string) => {
          count += piece.length;
          if (count > MAX_ANSWER_BYTES) {
            response.destroy(new Error("the answer is too long"));
            return;
          }
          if (onText === undefined || response.statusCode !== 200) {
            text += piece;
            return;
          }
          timer.refresh();
          try {
            onText(piece);
          } catch (error) {
            fail(error);
            response.destroy();
          }
        });
        response.on("end", () => {
          clearTimeout(timer);
          resolve({ status: response.statusCode ?? 0, text });
        });
      },
    );
    request.on("error", fail);
    request.end(bytes);
  });
}

function fromFailure(value: unknown, path: string): GatehouseError {
  const { code, message, hint, notBefore } = (value ?? {}) as Partial<Failure>;
  if (typeof code !== "string" || typeof message !== "string") return senseless(path, undefined);
  const known = code in ERROR_CODES ? (code as ErrorCode) : "GATEHOUSE_ADMIN_FAILED";
  return new GatehouseError(known, {
    message,
    ...(typeof hint === "string" && { hint }),
    ...(typeof notBefore === "number" && { notBefore }),
  });
}

function unreachable(path: string, cause: NodeJS.ErrnoException): GatehouseError {
  if (cause.code === "EACCES" || cause.code === "EPERM") {
    return new GatehouseError("GATEHOUSE_ADMIN_FORBIDDEN", {
      message: `This user may not ask the Gatehouse at ${path}.`,
      hint: "Ask as the user that runs it, or with sudo.",
      cause,
    });
  }
  const isNobody = ["ENOENT", "ECONNREFUSED", "ENOTDIR", "ENOTSOCK"].includes(cause.code ?? "");
  if (!isNobody) {
    return new GatehouseError("GATEHOUSE_ADMIN_FAILED", {
      message: `The Gatehouse at ${path} broke off: ${errorText(cause)}`,
      hint: "Is it just stopping? Its log says so.",
      cause,
    });
  }
  return new GatehouseError("GATEHOUSE_NOT_RUNNING", {
    message: `No Gatehouse answers at ${path}.`,
    hint: "Start it with gatehouse run. If it runs with another file, name that with --config FILE, or its socket with --admin PATH.",
    cause,
  });
}

function tooLate(path: string, withinMs: number): GatehouseError {
  return new GatehouseError("GATEHOUSE_ADMIN_FAILED", {
    message: `The Gatehouse at ${path} gave no answer within ${withinMs / 1000} s.`,
    hint: "It is there but busy or stopped (ps shows state T): look at its log, then restart it.",
  });
}

function senseless(path: string, cause: unknown): GatehouseError {
  return new GatehouseError("GATEHOUSE_ADMIN_FAILED", {
    message: `What answers at ${path} does not speak like a Gatehouse.`,
    hint: "Is that the socket of another program? Name the right one with --admin PATH.",
    cause,
  });
}
