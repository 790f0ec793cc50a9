/**
 * Asking a target through the upstream engine, with everything it tells the lane kept in order.
 */
import type { TestContext } from "node:test";
import type { TargetConfig, TimeoutsConfig } from "../../src/config/model.ts";
import type { GatehouseError } from "../../src/core/errors.ts";
import { createDemo } from "../../src/proxy/demo/demo.ts";
import type { AnswerHead } from "../../src/proxy/upstream/answer-head.ts";
import type { AnswerSink, UpstreamCall, UpstreamRequest } from "../../src/proxy/upstream/engine.ts";
import { createUpstreamPool, type UpstreamPool } from "../../src/proxy/upstream/pool.ts";
import { eventually } from "./eventually.ts";

const PATIENT: TimeoutsConfig = {
  connectMs: 30_000,
  firstByteMs: 30_000,
  idleMs: 30_000,
  tunnelIdleMs: 30_000,
};

export function startPool(t: TestContext, full: () => void = () => {}): UpstreamPool {
  const demo = createDemo();
  const pool = createUpstreamPool({ connectDemo: () => demo.connect(), full });
  t.after(() => {
    pool.close();
    demo.close();
  });
  return pool;
}

export interface Asked {
  call: UpstreamCall;
  /** Names of callbacks in their order; the same one twice in a row stands once. */
  events: string[];
  informational: number[];
  status: number;
  headers: string[];
  /** As given: with its chunk framing where that was asked for. */
  body: string;
  payload: number;
  trailers: readonly string[];
  error: GatehouseError | undefined;
  /** `end` or the error's code; waits for it. */
  outcome(): Promise<string>;
}

export interface AskOptions {
  method?: string;
  /** Behind the request line and Host. */
  fields?: string;
  body?: UpstreamRequest["body"];
  timeouts?: Partial<TimeoutsConfig>;
  answerHeadSize?: number;
  takesFraming?: boolean;
  keepsBytes?: boolean;
  path?: string;
  /** What of the body goes out with the head. */
  connected?(call: UpstreamCall): void;
  drained?(): void;
  begun?(call: UpstreamCall): void;
}

export function ask(pool: UpstreamPool, target: TargetConfig, options: AskOptions = {}): Asked {
  const { method = "GET", fields = "", path = "/", body = "none" } = options;
  const events: string[] = [];
  const heard = (event: string): void => {
    if (events.at(-1) !== event) events.push(event);
  };
  const asked: Omit<Asked, "call"> = {
    events,
    informational: [],
    status: 0,
    headers: [],
    body: "",
    payload: 0,
    trailers: [],
    error: undefined,
    async outcome() {
      const isOver = (): boolean => events.includes("end") || events.includes("failed");
      await eventually(`an end after ${events.join()}`, isOver);
      return asked.error?.code ?? "end";
    },
  };
  const sink: AnswerSink = {
    takesFraming: options.takesFraming ?? false,
    keepsBytes: options.keepsBytes ?? false,
    onConnected(call) {
      heard("connected");
      options.connected?.(call);
    },
    onDrain() {
      heard("drain");
      options.drained?.();
    },
    onInformation(head: AnswerHead) {
      heard("information");
      asked.informational.push(head.status);
    },
    onHead(head) {
      heard("head");
      asked.status = head.status;
      asked.headers = head.rawHeaders;
      options.begun?.(call);
    },
    onBody(bytes, payload) {
      heard("body");
      asked.body += bytes.toString("latin1");
      asked.payload += payload;
    },
    onFlush: () => heard("flush"),
    onEnd(trailers) {
      heard("end");
      asked.trailers = [...trailers];
    },
    onFailed(error) {
      heard("failed");
      asked.error = error;
    },
  };
  const framing =
    body === "chunked"
      ? "Transfer-Encoding: chunked\r\n"
      : body === "length" && fields === ""
        ? "Content-Length: 5\r\n"
        : "";
  const call = pool.ask(
    {
      target,
      timeouts: { ...PATIENT, ...options.timeouts },
      method,
      head: `${method} ${path} HTTP/1.1\r\nHost: a.test\r\n${fields}${framing}\r\n`,
      body,
      answerHeadSize: options.answerHeadSize ?? 65_536,
    },
    sink,
  );
  return Object.assign(asked, { call });
}
