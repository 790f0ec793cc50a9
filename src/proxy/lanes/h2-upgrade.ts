/**
 * How does an extended CONNECT (RFC 8441) become an upgrade?
 * Owns: the HTTP/1.1 request that it stands for, the proof that the target is a WebSocket server, the client's side as a stream.
 * Never: asks the target or moves bytes; upgrade and tunnel do.
 */
import { createHash, randomBytes } from "node:crypto";
import type { ServerHttp2Stream } from "node:http2";
import { addAbortSignal } from "node:stream";
import { valuesOf, type RequestHead } from "../rules/request-head.ts";
import { type AnswerHead, answerValues } from "./head.ts";
import { finishStream, headerBlock } from "./h2-answer.ts";
import type { SessionBounds } from "./h2-bounds.ts";
import type { UpgradeClient } from "./upgrade-client.ts";
import type { TunnelEnd } from "./tunnel.ts";

/** RFC 6455 §1.3. */
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/** Not used over HTTP/2 (RFC 8441 §5), so what a client sends under these names is not for the target. */
const OURS = new Set(["sec-websocket-key", "sec-websocket-accept", "upgrade", "connection"]);

/** The fields of the GET that asks the same over HTTP/1.1; the key is ours, because the client has none. */
export function webSocketFields(fields: readonly string[]): string[] {
  const out: string[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    if (!OURS.has(fields[at] ?? "")) out.push(fields[at] ?? "", fields[at + 1] ?? "");
  }
  out.push("connection", "Upgrade", "upgrade", "websocket");
  out.push("sec-websocket-key", randomBytes(16).toString("base64"));
  return out;
}

export function http2Client(stream: ServerHttp2Stream, head: RequestHead, bounds: SessionBounds): UpgradeClient {
  return new Http2Client(stream, valuesOf(head.headers, "sec-websocket-key")[0] ?? "", bounds);
}

/**
 * RFC 8441 §5: what would be a reset of a TCP connection is a RST_STREAM with CANCEL. Not `close(CANCEL)`, which sends
 * END_STREAM before it; an abort signal is the one way to tell Node's `destroy` this code.
 */
function cancelStream(stream: ServerHttp2Stream): void {
  if (!stream.destroyed) addAbortSignal(AbortSignal.abort(), stream);
}

class Http2Client implements UpgradeClient {
  readonly end: TunnelEnd;
  readonly #stream: ServerHttp2Stream;
  readonly #key: string;
  readonly #bounds: SessionBounds;
  #gone = (): void => {};

  constructor(stream: ServerHttp2Stream, key: string, bounds: SessionBounds) {
    this.#stream = stream;
    this.#bounds = bounds;
    this.#key = key;
    this.end = { stream, cut: () => cancelStream(stream) };
  }

  /** Nothing is read until the target has switched: the window holds an early client back, a reset is seen all the same. */
  watch(gone: () => void): void {
    this.#gone = gone;
    this.#stream.once("close", gone);
  }

  /** The target read the key: it is no file server or cache that says 101 to anything (RFC 6455 §4.1). */
  isGenuine(answer: AnswerHead): boolean {
    const accept = answerValues(answer.rawHeaders, "sec-websocket-accept");
    const wanted = createHash("sha1")
      .update(this.#key + GUID)
      .digest("base64");
    return accept.length === 1 && accept[0] === wanted;
  }

  switched(headers: readonly string[]): { status: number; early: Buffer } {
    this.#stream.off("close", this.#gone);
    const own = headers.filter((_, at) => !OURS.has(headers[at - (at % 2)] ?? ""));
    this.#stream.respond(headerBlock(200, own));
    return { status: 200, early: Buffer.alloc(0) };
  }

  took(bytes: number): void {
    this.#bounds.earned(bytes);
  }

  begin(status: number, headers: readonly string[], body: AnswerHead["body"], contentLength: number): void {
    const framed = body === "length" ? [...headers, "content-length", String(contentLength)] : headers;
    this.#stream.respond(headerBlock(status, framed));
  }

  piece(bytes: Buffer): boolean {
    return this.#stream.write(bytes);
  }

  whole(): void {
    if (!this.#stream.writableEnded) this.#stream.end();
  }

  leave(): void {
    this.#stream.off("close", this.#gone);
    finishStream(this.#stream, this.#bounds, true);
  }
}
