/**
 * Who answers the command line?
 * Owns: HTTP/1.1 with JSON on a unix socket (0600), its bounds, and turning errors into answers.
 * Never: knows how anything is done: the actions are handed in.
 *
 * The socket's file mode is the login: who may open it is the user that runs Gatehouse, or root.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { errorText, GatehouseError, isGatehouseError } from "../core/errors.ts";
import type { Logger } from "../observe/log.ts";
import { QUESTIONS, SIGN_OF_LIFE_MS, type AdminActions, type Failure, type Step, type Told } from "./actions.ts";
import { flagIn, numberIn, optionalTextIn, readBody, textIn } from "./bodies.ts";
import { listenAlone } from "./socket-lock.ts";

export interface AdminServer {
  /** @throws GATEHOUSE_ALREADY_RUNNING when another Gatehouse answers there, GATEHOUSE_LISTEN_FAILED */
  listen(): Promise<void>;
  /** Removes the socket. Idempotent. */
  close(): Promise<void>;
}

/** People and scripts of one machine. */
const MAX_CONNECTIONS = 32;
const MAX_HEADER_BYTES = 4_096;
const REQUEST_WITHIN_MS = 10_000;
const CLOSE_WITHIN_MS = 2_000;
/** The longest is a reload that opens ports and reads secrets. */
const ACTION_WITHIN_MS = 60_000;

export function createAdminServer(options: { path: string; actions: AdminActions; log: Logger }): AdminServer {
  const { path, actions, log } = options;
  const table = new Map<string, (body: unknown) => Promise<unknown>>([
    [QUESTIONS.status, () => actions.status()],
    [QUESTIONS.certificates, () => actions.certificates()],
    [QUESTIONS.health, () => actions.health()],
    [QUESTIONS.reload, () => actions.reload()],
    [QUESTIONS.forwards, () => actions.forwards()],
    [QUESTIONS.router, () => actions.router()],
    [QUESTIONS.ddns, () => actions.ddns()],
    [QUESTIONS.doctor, () => actions.doctor()],
    [QUESTIONS.updateDdns, () => actions.updateDdns()],
    [QUESTIONS.testNotify, () => actions.testNotify()],
    [QUESTIONS.disable, (body) => actions.disable({ name: textIn(body, "name") })],
    [QUESTIONS.cleanup, (body) => actions.cleanup({ isRehearsal: flagIn(body, "isRehearsal") })],
    [QUESTIONS.show, (body) => actions.show({ name: textIn(body, "name") })],
    [QUESTIONS.devices, () => actions.devices()],
    [
      QUESTIONS.addDevice,
      (body) =>
        actions.addDevice({
          name: textIn(body, "name"),
          days: numberIn(body, "days"),
          password: textIn(body, "password"),
          isModern: flagIn(body, "isModern"),
        }),
    ],
    [QUESTIONS.revokeDevice, (body) => actions.revokeDevice({ name: textIn(body, "name") })],
    [QUESTIONS.exportBundle, (body) => actions.exportBundle({ name: textIn(body, "name") })],
    [
      QUESTIONS.importBundle,
      (body) =>
        actions.importBundle({
          keyPem: textIn(body, "keyPem"),
          chainPem: textIn(body, "chainPem"),
          ca: optionalTextIn(body, "ca"),
          name: optionalTextIn(body, "name"),
          force: flagIn(body, "force"),
        }),
    ],
    [QUESTIONS.accounts, (body) => actions.accounts({ rollOver: flagIn(body, "rollOver") })],
  ]);
  /** An order may take minutes: what happens is told as it happens. */
  const long = new Map<string, (body: unknown, tell: (step: Step) => void) => Promise<unknown>>([
    [
      QUESTIONS.issue,
      (body, tell) =>
        actions.issue(
          {
            name: textIn(body, "name"),
            force: flagIn(body, "force"),
            really: flagIn(body, "really"),
            staging: flagIn(body, "staging"),
          },
          tell,
        ),
    ],
    [
      QUESTIONS.revoke,
      (body, tell) => actions.revoke({ name: textIn(body, "name"), reason: textIn(body, "reason") }, tell),
    ],
  ]);

  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: REQUEST_WITHIN_MS,
      requestTimeout: REQUEST_WITHIN_MS,
      connectionsCheckingInterval: REQUEST_WITHIN_MS,
      keepAlive: false,
    },
    (request, response) => {
      request.on("error", () => {});
      response.on("error", () => {});
      void answer(request, response);
    },
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.on("connection", (socket) => socket.on("error", () => {}));
  server.on("clientError", (_error, socket) => socket.destroy());

  /** The one place where an error becomes an answer. */
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const question = `${request.method} ${(request.url ?? "").split("?", 1)[0]}`;
    try {
      const body = await readBody(request);
      const told = long.get(question);
      if (told !== undefined) {
        await tellSteps(response, (tell) => told(body, tell));
        return;
      }
      const action = table.get(question);
      if (action === undefined) {
        say(response, 404, {
          code: "GATEHOUSE_ADMIN_FAILED",
          message: `This Gatehouse does not know the question ${question.slice(0, 100)}.`,
          hint: "The command line and the running Gatehouse differ in version: restart the older one.",
        });
        return;
      }
      say(response, 200, await withDeadline(action(body)));
    } catch (error) {
      const failure = failureOf(error);
      log.warn({ event: "admin.failed", question: question.slice(0, 100), err: error }, "an admin question failed");
      say(response, isGatehouseError(error) && error.source === "operator" ? 409 : 500, failure);
    }
  }

  return {
    async listen() {
      await listenAlone(server, path);
      server.on("error", (error) =>
        log.warn({ event: "admin.listener_failed", err: error }, "the admin socket failed"),
      );
    },
    close: () =>
      new Promise((resolve) => {
        // What is being answered may end; then it is cut. Node removes the path with the listener.
        const cut = setTimeout(() => server.closeAllConnections(), CLOSE_WITHIN_MS);
        server.close(() => {
          clearTimeout(cut);
          resolve();
        });
        server.closeIdleConnections();
      }),
  };
}

async function withDeadline(action: Promise<unknown>): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(
        new GatehouseError("GATEHOUSE_ADMIN_FAILED", {
          message: `No answer within ${ACTION_WITHIN_MS / 1000} s; it may still come to an end.`,
          hint: "Look at the log, then ask gatehouse status.",
        }),
      );
    }, ACTION_WITHIN_MS);
  });
  try {
    return await Promise.race([action, late]);
  } finally {
    clearTimeout(timer);
  }
}

function failureOf(error: unknown): Failure {
  if (isGatehouseError(error)) {
    const { code, message, hint, notBefore } = error;
    return { code, message, hint, notBefore };
  }
  return {
    code: "GATEHOUSE_ADMIN_FAILED",
    message: `Gatehouse could not answer: ${errorText(error)}`,
    hint: "Its log has the whole story at this moment.",
  };
}

/** Whoever asked may leave: the work goes on. */
async function tellSteps(
  response: ServerResponse,
  work: (tell: (step: Step) => void) => Promise<unknown>,
): Promise<void> {
  response.writeHead(200, { "content-type": "application/x-ndjson", connection: "close" });
  const tell = (told: Told<unknown>): void => {
    if (response.writable) response.write(`${JSON.stringify(told)}\n`);
  };
  const alive = setInterval(() => response.writable && response.write("\n"), SIGN_OF_LIFE_MS);
  alive.unref();
  try {
    tell({ result: await work((step) => tell({ step })) });
  } catch (error) {
    tell({ failure: failureOf(error) });
  } finally {
    clearInterval(alive);
    response.end();
  }
}

function say(response: ServerResponse, status: number, value: unknown): void {
  const body = JSON.stringify(value);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    connection: "close",
  });
  response.end(body);
}
