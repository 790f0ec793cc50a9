/**
 * How does a lane ask a target, in bytes?
 * Owns: the contract between lanes and targets: a request out, an answer in, who hears of what and in which order.
 * Never: knows which lane asks; `target-line` finds a connection, `connection` reads the answer.
 *
 * Not streams: a stream for each body costs more than the rest of a small request. A sink is an object that the lane has
 * already (one per client connection or per HTTP/2 stream), and the memory of what it is given is used again.
 */
import type { Duplex } from "node:stream";
import type { TargetConfig, TimeoutsConfig } from "../../config/model.ts";
import type { GatehouseError } from "../../core/errors.ts";
import type { AnswerHead } from "./answer-head.ts";

export interface UpstreamRequest {
  target: TargetConfig;
  timeouts: TimeoutsConfig;
  method: string;
  /** Whole head as latin1 text: request line, fields, framing fields, empty line. */
  head: string;
  /** What follows the head. `length` and `chunked` end with `call.end()`. */
  body: "none" | "length" | "chunked";
  /** Bytes of one head of an answer. */
  answerHeadSize: number;
}

/** Every callback but onConnected comes after `ask` has returned. None comes after onEnd, onFailed or call.abort(). */
export interface AnswerSink {
  /** Pieces of a chunked body come with their chunk framing (without extensions, last chunk and trailers). */
  readonly takesFraming: boolean;
  /** Pieces are copied before they are given; otherwise their memory is read into again after the callback. */
  readonly keepsBytes: boolean;
  /**
   * The target has taken the connection, TLS included, and the head is on its way. What of the body is written in this
   * call goes out in the same packet. May come inside `ask`. Once, but again before a retry of a bodyless request.
   */
  onConnected(call: UpstreamCall): void;
  /** After `write` said false: there is room again. */
  onDrain(): void;
  /** 1xx, but never 101. */
  onInformation(head: AnswerHead): void;
  /** The final head. What it says holds during the call. */
  onHead(head: AnswerHead): void;
  /**
   * The bytes hold until onFlush, onEnd or onFailed, which follow in the same turn.
   * @param payload  bytes of the body in it; less than its length when the framing is kept
   */
  onBody(bytes: Buffer, payload: number): void;
  /** All that is at hand was given: a head that waits for its body need not wait longer. */
  onFlush(): void;
  /** The answer is whole. Its connection is free already; gone when the request was not all sent. */
  onEnd(trailers: readonly string[]): void;
  /** No answer, or no more of it: GATEHOUSE_UPSTREAM_*. */
  onFailed(error: GatehouseError): void;
}

export interface UpstreamCall {
  /** Payload; framed here when the body is chunked. False: wait for onDrain. The bytes must stay as they are. */
  write(bytes: Buffer): boolean;
  /** Body bytes with their framing in them. */
  writeRaw(bytes: Buffer): boolean;
  /** The request is whole. @param trailers  flat list; only behind a chunked body */
  end(trailers?: readonly string[]): void;
  /** What the bytes are written to, once it is connected. While its `writableLength` is 0 it needs none of them. */
  readonly taker: Duplex | undefined;
  /** Has the whole request been handed over? */
  readonly isSent: boolean;
  /** The client does not take its answer: the target waits, and its deadlines with it. */
  pause(): void;
  resume(): void;
  /** Nobody wants the answer any more: the connection goes. Idempotent. */
  abort(): void;
}

/** Sent twice they do what they do once (RFC 9110 §9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set([
  "GET",
  "HEAD",
  "OPTIONS",
  "PUT",
  "DELETE",
  "PROPFIND",
  "REPORT",
  "SEARCH",
]);

/** May it be sent a second time, when a kept connection turned out to be dead (RFC 9112 §9.3.1)? */
export const isRepeatable = (request: UpstreamRequest): boolean =>
  request.body === "none" && IDEMPOTENT.has(request.method);
