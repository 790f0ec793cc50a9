/**
 * How is one worker process doing?
 * Owns: one worker from fork to exit: its greeting, its configuration, its pulse, its end.
 * Never: decides whether another takes its place (workers does).
 */
import cluster, { type Worker } from "node:cluster";
import type { Socket } from "node:net";
import { addVisitors, type VisitorsReport } from "../core/visitors.ts";
import type { Config } from "../config/model.ts";
import { GatehouseError } from "../core/errors.ts";
import type { Families } from "../observe/families.ts";
import type { Addresses } from "./contract.ts";
import { createLink, type Link } from "./link.ts";
import {
  type Beginning,
  isMessage,
  isPassedHandle,
  type Message,
  MESSAGES_VERSION,
  type Passed,
  type PassedHandle,
  type PrimarySide,
  type WorkerSide,
} from "./messages.ts";

export interface Exit {
  code: number | null;
  signal: string | null;
}

export interface Member {
  readonly pid: number;
  readonly startedAt: number;
  readonly link: Link<WorkerSide>;
  readonly exited: Promise<Exit>;
  openConnections(): number;
  visitors(): VisitorsReport;
  /** The last numbers it told. */
  families(): Families;
  /** @throws GATEHOUSE_WORKER_FAILED when it does not greet in time or is of another version */
  begin(beginning: Beginning): Promise<void>;
  /** @throws what `Serving.apply` throws */
  apply(config: Config): Promise<Addresses>;
  /** Asks how it is. How many times in a row there has been no answer by the time of the next question. */
  pulse(): number;
  /** Asks for numbers; when it does not answer in time, those it told before. */
  numbers(): Promise<Families>;
  /** Resolves when the process is gone, by itself or by force. */
  drain(options: { withinMs: number; idleMs?: number | undefined }): Promise<void>;
  kill(): void;
  /** A connection for this worker; the handle is not the caller's any more. */
  take(handle: PassedHandle): void;
}

/** A small machine under load needs seconds to load the program. */
const HELLO_WITHIN_MS = 60_000;
const STEP_WITHIN_MS = 30_000;
/** Bundles of a thousand names may be read from a slow disk meanwhile. */
const APPLY_WITHIN_MS = 120_000;
const NUMBERS_WITHIN_MS = 2_000;
/** Over its drain time; then it is killed. */
const LEAVE_WITHIN_MS = 3_000;
/**
 * Sites in one message: about 100 KB and a millisecond or two of the loop on either side. A configuration of 10,000 in
 * one piece would hold up every request of the worker for a tenth of a second.
 */
const SITES_PER_MESSAGE = 100;

export function forkMember(options: {
  keeper: PrimarySide;
  now(): number;
  /** It has accepted a connection that should be another worker's. */
  passed(handle: PassedHandle, from: Member): void;
}): Member {
  const worker: Worker = cluster.fork();
  const { keeper } = options;
  const startedAt = options.now();
  let openConnections = 0;
  let visitors = addVisitors([]);
  let families: Families = [];
  let unanswered = 0;
  let isAsking = false;

  const link = createLink<PrimarySide, WorkerSide>({
    ours: {
      bundle: (name) => keeper.bundle(name),
      wish: (name) => keeper.wish(name),
      answerChallenge: (host, token) => keeper.answerChallenge(host, token),
      challengeCertificate: (serverName) => keeper.challengeCertificate(serverName),
    },
    send: (message, onFailure) => {
      worker.send(message, (error) => {
        if (error !== null) onFailure(error);
      });
    },
  });
  const hello = Promise.withResolvers<void>();
  hello.promise.catch(() => {});
  const exited = new Promise<Exit>((resolve) => {
    worker.once("exit", (code: number | null, signal: string | null) => {
      link.close();
      hello.reject(gone("it ended before it said hello"));
      resolve({ code, signal });
    });
  });
  worker.on("error", () => {}); // a kill or a message that came too late; the exit tells
  worker.on("message", (message: unknown, handle: unknown) => {
    if (!isMessage(message)) return;
    if (message.kind === "hello") greet(message);
    else if (message.kind !== "passed") link.receive(message);
    else if (isPassedHandle(handle)) options.passed(handle, member);
  });

  function greet({ messages }: Extract<Message, { kind: "hello" }>): void {
    if (messages === MESSAGES_VERSION) hello.resolve();
    else hello.reject(gone("its program is of another version than the running one", "Restart Gatehouse."));
  }

  async function numbers(): Promise<Families> {
    families = await link.ask("numbers", [], NUMBERS_WITHIN_MS).catch(() => families);
    return families;
  }

  const kill = (): void => {
    worker.process.kill("SIGKILL");
  };

  const member: Member = {
    pid: worker.process.pid ?? 0,
    startedAt,
    link,
    exited,
    openConnections: () => openConnections,
    visitors: () => visitors,
    families: () => families,

    async begin(beginning) {
      const timer = setTimeout(() => hello.reject(gone("it did not start in time")), HELLO_WITHIN_MS);
      await hello.promise.finally(() => clearTimeout(timer));
      await link.ask("begin", [beginning], STEP_WITHIN_MS);
    },

    async apply({ sites, ...rest }) {
      await link.ask("config", [rest], STEP_WITHIN_MS);
      for (let at = 0; at < sites.length; at += SITES_PER_MESSAGE) {
        await link.ask("sites", [sites.slice(at, at + SITES_PER_MESSAGE)], STEP_WITHIN_MS);
      }
      return link.ask("apply", [], APPLY_WITHIN_MS);
    },

    pulse() {
      if (isAsking) return ++unanswered;
      isAsking = true;
      link
        .ask("pulse", [], STEP_WITHIN_MS)
        .then(
          (pulse) => {
            ({ openConnections, visitors } = pulse);
            unanswered = 0;
          },
          () => {},
        )
        .finally(() => {
          isAsking = false;
        });
      return unanswered;
    },

    numbers,

    async drain({ withinMs, idleMs }) {
      const timer = setTimeout(kill, withinMs + LEAVE_WITHIN_MS);
      await link.ask("drain", [withinMs, idleMs], withinMs + LEAVE_WITHIN_MS).catch(() => {});
      await numbers(); // its last ones
      if (worker.isConnected()) worker.disconnect();
      await exited;
      clearTimeout(timer);
    },

    kill,

    take(handle) {
      worker.send({ kind: "passed" } satisfies Passed, handle as Socket & PassedHandle, () => handle.close());
    },
  };
  return member;
}

function gone(why: string, hint = "The log has its last words; it is started again by itself."): GatehouseError {
  return new GatehouseError("GATEHOUSE_WORKER_FAILED", { message: `A worker could not begin: ${why}.`, hint });
}
