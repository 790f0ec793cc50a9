/**
 * How does an answer begin and end on an HTTP/2 stream?
 * Owns: header blocks for node:http2, answers of our own, and the end of a stream whose client does not read.
 * Never: talks to a target.
 */
import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { Exchange } from "../exchange.ts";
import type { LocalAnswer } from "../responses.ts";
import type { SessionBounds } from "./h2-bounds.ts";

/** RFC 9113 §8.2.2; `te` may be `trailers`, but not in an answer. What the rules left is checked once more. */
const FORBIDDEN = new Set(["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te"]);

/** Repeated fields stay apart: joining Set-Cookie would change its meaning. */
export function headerBlock(status: number | undefined, flat: readonly string[]): OutgoingHttpHeaders {
  const block = Object.create(null) as Record<string, string | string[] | number>;
  if (status !== undefined) block[":status"] = status;
  for (let at = 0; at < flat.length; at += 2) {
    const name = flat[at] ?? "";
    const value = flat[at + 1] ?? "";
    if (FORBIDDEN.has(name) || name.startsWith(":")) continue;
    const before = block[name];
    if (before === undefined) block[name] = value;
    else if (Array.isArray(before)) before.push(value);
    else block[name] = [String(before), value];
  }
  return block;
}

/** An answer of our own; the caller ends the exchange when the stream closes. */
export function answerStream(
  stream: ServerHttp2Stream,
  exchange: Exchange,
  answer: LocalAnswer,
  bounds: SessionBounds,
): void {
  if (stream.destroyed || stream.closed || stream.headersSent) return;
  exchange.status = answer.status;
  const hasBody = exchange.head.method !== "HEAD" && answer.body.length > 0;
  exchange.bytesOut = hasBody ? answer.body.length : 0;
  sendAnswer(stream, exchange.head.method, answer, bounds);
}

export function sendAnswer(
  stream: ServerHttp2Stream,
  method: string,
  answer: LocalAnswer,
  bounds: SessionBounds,
): void {
  const hasBody = method !== "HEAD" && answer.body.length > 0;
  finishStream(stream, bounds, true);
  stream.respond(headerBlock(answer.status, answer.headers), { endStream: !hasBody });
  stream.end(hasBody ? answer.body : undefined);
}

/**
 * After the last byte was handed over: a client that does not take the rest is cut, and an unread request body is called
 * off (RFC 9113 §8.1: RST_STREAM with NO_ERROR after a whole answer).
 * @param mayHaveBody  of the request
 */
export function finishStream(stream: ServerHttp2Stream, bounds: SessionBounds, mayHaveBody: boolean): void {
  bounds.owed(stream);
  if (!mayHaveBody) return;
  const callOff = (): void => {
    if (stream.destroyed || stream.readableEnded) return;
    if (!stream.closed) stream.close(constants.NGHTTP2_NO_ERROR);
    stream.resume();
  };
  if (stream.writableFinished) callOff();
  else stream.once("finish", callOff);
}

/**
 * RST_STREAM with INTERNAL_ERROR, now. Not `close()`: that ends the stream first, and END_STREAM may leave before the
 * reset, so that half an answer looks whole.
 */
export function cutStream(stream: ServerHttp2Stream): void {
  stream.destroy(new Error("cut"));
}
