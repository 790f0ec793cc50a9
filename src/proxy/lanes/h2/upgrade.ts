/**
 * How does an extended CONNECT (RFC 8441) become an upgrade?
 * Owns: the HTTP/1.1 request that it stands for, the proof that the target is a WebSocket server, the client's side as a stream.
 * Never: asks the target or moves bytes; upgrade and tunnel do.
 */
import { createHash, randomBytes } from "node:crypto";
import { valuesOf, type RequestHead } from "../../rules/request-head.ts";
import { type AnswerHead, answerValues } from "../head.ts";
import type { Stream } from "../http2/stream.ts";
import { TunnelStream } from "../http2/tunnel-stream.ts";
import type { UpgradeClient } from "../upgrade/client.ts";
import type { TunnelEnd } from "../upgrade/tunnel.ts";

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

export function http2Client(stream: Stream, head: RequestHead): UpgradeClient {
  return new Http2Client(stream, valuesOf(head.headers, "sec-websocket-key")[0] ?? "");
}

class Http2Client implements UpgradeClient {
  readonly end: TunnelEnd;
  readonly #stream: Stream;
  readonly #duplex: TunnelStream;
  readonly #key: string;
  #gone = (): void => {};

  constructor(stream: Stream, key: string) {
    const duplex = new TunnelStream(stream);
    this.#stream = stream;
    this.#duplex = duplex;
    this.#key = key;
    this.end = { stream: duplex, cut: () => duplex.cancel() };
  }

  /** Nothing is read until the target has switched: the window holds an early client back, a reset is seen all the same. */
  watch(gone: () => void): void {
    this.#gone = gone;
    this.#duplex.once("close", gone);
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
    this.#duplex.off("close", this.#gone);
    const own = headers.filter((_, at) => !OURS.has(headers[at - (at % 2)] ?? ""));
    this.#stream.answerWith(200, own, false);
    return { status: 200, early: Buffer.alloc(0) };
  }

  begin(status: number, headers: readonly string[], body: AnswerHead["body"], contentLength: number): void {
    const framed = body === "length" ? [...headers, "content-length", String(contentLength)] : headers;
    this.#stream.answerWith(status, framed, false);
  }

  piece(bytes: Buffer): boolean {
    return this.#duplex.write(bytes);
  }

  whole(): void {
    if (!this.#duplex.writableEnded) this.#duplex.end();
  }

  /** From here on it is an answer like any other: taken in time, and what the client still sends is called off. */
  leave(): void {
    const duplex = this.#duplex;
    duplex.off("close", this.#gone);
    this.#stream.isPatient = false;
    if (duplex.writableFinished) duplex.destroy();
    else duplex.once("finish", () => duplex.destroy());
  }
}
