/**
 * How does the command line ask a running Gatehouse?
 * Owns: one question over the admin socket, its deadline, and the words for "nobody is there".
 * Never: prints.
 */
import { request as httpRequest } from "node:http";
import { ERROR_CODES, errorText, GatehouseError, type ErrorCode } from "../core/errors.ts";
import { QUESTIONS, type AdminActions, type Failure } from "./actions.ts";

export type { CertificateStatus, Checklist, DdnsReport, ForwardReport, RouterReport, StatusReport } from "./actions.ts";

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
  };
}

async function ask<T>(path: string, question: string, withinMs: number): Promise<T> {
  const [method = "GET", url = "/"] = question.split(" ");
  const { status, text } = await exchange(path, method, url, withinMs);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw senseless(path, cause);
  }
  if (status === 200) return value as T;
  throw fromFailure(value, path);
}

function exchange(
  path: string,
  method: string,
  url: string,
  withinMs: number,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(withinMs);
    const fail = (error: NodeJS.ErrnoException): void => {
      reject(signal.aborted ? tooLate(path, withinMs) : unreachable(path, error));
    };
    const request = httpRequest(
      { socketPath: path, method, path: url, headers: { host: "gatehouse" }, agent: false, signal },
      (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on("error", fail);
        response.on("data", (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > MAX_ANSWER_BYTES) response.destroy(new Error("the answer is too long"));
          else chunks.push(chunk);
        });
        response.on("end", () => {
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString("utf8") });
        });
      },
    );
    request.on("error", fail);
    request.end();
  });
}

function fromFailure(value: unknown, path: string): GatehouseError {
  const { code, message, hint } = (value ?? {}) as Partial<Failure>;
  if (typeof code !== "string" || typeof message !== "string") return senseless(path, undefined);
  const known = code in ERROR_CODES ? (code as ErrorCode) : "GATEHOUSE_ADMIN_FAILED";
  return new GatehouseError(known, { message, ...(typeof hint === "string" ? { hint } : {}) });
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
