/**
 * How does one process ask another and get its answer?
 * Owns: numbering, deadlines, errors that keep their code and hint over the wire, and the end of everything that waits
 *   when the other side is gone. The same on both sides.
 * Never: knows a question.
 */
import { ERROR_CODES, type ErrorCode, errorText, GatehouseError, isGatehouseError } from "../core/errors.ts";
import type { Message } from "./messages.ts";

type Verbs<T> = { [K in keyof T]: (...args: never[]) => unknown };

export interface Link<Theirs extends Verbs<Theirs>> {
  /** @throws what the other side threw, or GATEHOUSE_WORKER_FAILED: no answer in time, or nobody there */
  ask<K extends keyof Theirs & string>(
    verb: K,
    args: Parameters<Theirs[K]>,
    withinMs: number,
  ): Promise<Awaited<ReturnType<Theirs[K]>>>;
  receive(message: Message): void;
  /** The channel is gone: whoever waits hears so. */
  close(): void;
}

/** Visitors of port 80 and handshakes make the worker ask: past this many at once the next are told no. */
const MAX_WAITING = 1_000;

interface Waiting {
  resolve(value: unknown): void;
  reject(error: GatehouseError): void;
  timer: NodeJS.Timeout;
}

export function createLink<Ours extends Verbs<Ours>, Theirs extends Verbs<Theirs>>(options: {
  ours: Ours;
  /** May throw or fail: then the other side is taken for gone. */
  send(message: Message, onFailure: (error: Error) => void): void;
}): Link<Theirs> {
  const { ours } = options;
  const waiting = new Map<number, Waiting>();
  let last = 0;
  let isClosed = false;

  function send(message: Message): void {
    if (isClosed) return;
    try {
      options.send(message, () => close());
    } catch {
      close();
    }
  }

  function close(): void {
    isClosed = true;
    for (const one of waiting.values()) {
      clearTimeout(one.timer);
      one.reject(noAnswer("the other process is gone"));
    }
    waiting.clear();
  }

  async function answer(id: number, verb: string, args: readonly unknown[]): Promise<void> {
    try {
      if (!Object.hasOwn(ours, verb)) throw new Error(`nobody answers ${verb.slice(0, 40)}`);
      // The other side's `ask` was checked against the same table of verbs.
      const act: Verbs<Ours>[keyof Ours] = ours[verb as keyof Ours];
      send({ kind: "answer", id, value: await act(...(args as never[])) });
    } catch (error) {
      const { code, hint } = isGatehouseError(error) ? error : { code: undefined, hint: undefined };
      send({ kind: "failure", id, code, message: errorText(error), hint });
    }
  }

  return {
    ask(verb, args, withinMs) {
      type Answer = Awaited<ReturnType<Theirs[typeof verb]>>;
      if (isClosed) return Promise.reject(noAnswer("the other process is gone"));
      if (waiting.size >= MAX_WAITING) return Promise.reject(noAnswer("too many questions are waiting"));
      const id = ++last;
      return new Promise<Answer>((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(id);
          reject(noAnswer(`no answer to ${verb} within ${withinMs} ms`));
        }, withinMs);
        waiting.set(id, { resolve: (value) => resolve(value as Answer), reject, timer });
        send({ kind: "ask", id, verb, args });
      });
    },
    receive(message) {
      if (message.kind === "ask") {
        void answer(message.id, message.verb, message.args);
        return;
      }
      if (message.kind === "hello" || message.kind === "passed") return;
      const one = waiting.get(message.id);
      if (one === undefined) return; // answered after its deadline
      waiting.delete(message.id);
      clearTimeout(one.timer);
      if (message.kind === "answer") one.resolve(message.value);
      else one.reject(failureOf(message));
    },
    close,
  };
}

function noAnswer(why: string): GatehouseError {
  return new GatehouseError("GATEHOUSE_WORKER_FAILED", {
    message: `A worker process and its primary lost each other: ${why}.`,
    hint: "It is replaced by itself; the log has the story under worker.*.",
  });
}

function failureOf({ code, message, hint }: Extract<Message, { kind: "failure" }>): GatehouseError {
  const known = code !== undefined && code in ERROR_CODES ? (code as ErrorCode) : "GATEHOUSE_WORKER_FAILED";
  return new GatehouseError(known, { message, ...(hint === undefined ? {} : { hint }) });
}
