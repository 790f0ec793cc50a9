/**
 * How does somebody who asks for an upgrade hear what became of it?
 * Owns: the client's side of an upgrade, whatever it speaks; here HTTP/1.1, in `h2/upgrade` a stream of HTTP/2.
 * Never: knows the target.
 */
import { STATUS_CODES } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { AnswerHead } from "../head.ts";
import type { TunnelEnd } from "./tunnel.ts";

export interface UpgradeClient {
  /** Room in `end.stream` again: 'drain'; gone: 'close'. */
  readonly end: TunnelEnd;
  /** Calls back when the client leaves; until `switched` or `leave`. */
  watch(gone: () => void): void;
  /** Is a 101 the answer to the key that was sent? Where the client sent the key, the client sees to that. */
  isGenuine(answer: AnswerHead): boolean;
  /**
   * The target has switched: says so and stops watching.
   * @param headers  flat list without `connection` and `upgrade`
   * @returns the status the client was told, and what it sent before it knew
   */
  switched(headers: readonly string[], protocol: string): { status: number; early: Buffer };
  /** An answer instead. `headers` is without framing, which is written afresh; with `none` it goes on as it is. */
  begin(status: number, headers: readonly string[], body: AnswerHead["body"], contentLength: number): void;
  /** False: no more until 'drain'. */
  piece(bytes: Buffer): boolean;
  /** No more pieces: the answer is whole. */
  whole(): void;
  /** Let the answer get there, then part. Stops watching. */
  leave(): void;
}

/** Bytes a client may send before it knows the answer. WebSocket clients send none (RFC 6455 §4.1). */
const MAX_EARLY = 65_536;
/** Milliseconds for the client to take the end of an answer and leave. */
const LINGER_MS = 1_000;
const KEEP_ALIVE_MS = 60_000;

/** @param stallMs  a client that takes nothing of the end of an answer for this long is cut */
export function http1Client(socket: Duplex, firstBytes: Buffer, stallMs: number): UpgradeClient {
  return new Http1Client(socket, firstBytes, stallMs);
}

class Http1Client implements UpgradeClient {
  readonly end: TunnelEnd;
  readonly #socket: Duplex;
  #early: Buffer;
  readonly #stallMs: number;
  #isChunked = false;
  #gone = (): void => {};

  constructor(socket: Duplex, firstBytes: Buffer, stallMs: number) {
    this.#socket = socket;
    this.#stallMs = stallMs;
    this.#early = firstBytes;
    this.end = { stream: socket, cut: () => void socket.destroy() };
  }

  readonly #hold = (chunk: Buffer): void => {
    this.#early = Buffer.concat([this.#early, chunk]);
    // Reading goes on until then, because only a socket that is read tells that its peer has left.
    if (this.#early.length > MAX_EARLY) this.#socket.pause();
  };

  watch(gone: () => void): void {
    this.#gone = gone;
    this.#socket.once("close", gone).once("end", gone).on("data", this.#hold).resume();
  }

  isGenuine(): boolean {
    return true;
  }

  #unwatch(): void {
    this.#socket.off("data", this.#hold).off("end", this.#gone).off("close", this.#gone);
  }

  switched(headers: readonly string[], protocol: string): { status: number; early: Buffer } {
    const socket = this.#socket;
    const early = this.#early;
    this.#early = Buffer.alloc(0);
    this.#unwatch();
    smooth(socket);
    const lines = fieldLines([...headers, "connection", "Upgrade", "upgrade", protocol]);
    socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines}\r\n`, "latin1");
    return { status: 101, early };
  }

  begin(status: number, headers: readonly string[], body: AnswerHead["body"], contentLength: number): void {
    const framed = [...headers];
    // A body that ends with the target's connection gets an end of its own, so that a cut one is seen to be cut.
    this.#isChunked = body === "chunked" || body === "close";
    if (this.#isChunked) framed.push("transfer-encoding", "chunked");
    else if (body === "length") framed.push("content-length", String(contentLength));
    framed.push("connection", "close");
    this.#socket.write(
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "Unknown"}\r\n${fieldLines(framed)}\r\n`,
      "latin1",
    );
  }

  piece(bytes: Buffer): boolean {
    const socket = this.#socket;
    if (!this.#isChunked) return socket.write(bytes);
    socket.write(`${bytes.length.toString(16)}\r\n`);
    socket.write(bytes);
    return socket.write("\r\n");
  }

  whole(): void {
    if (this.#isChunked) this.#socket.write("0\r\n\r\n");
  }

  /** What the client sent early is no HTTP, so the connection ends, but not before unread bytes make the kernel send a reset (RFC 9112 §9.6). */
  leave(): void {
    const socket = this.#socket;
    this.#early = Buffer.alloc(0);
    this.#unwatch();
    socket.on("data", () => {});
    socket.resume();
    socket.end();
    let timer = setTimeout(() => socket.destroy(), socket.writableFinished ? LINGER_MS : this.#stallMs);
    socket.once("finish", () => {
      clearTimeout(timer);
      timer = setTimeout(() => socket.destroy(), LINGER_MS);
    });
    socket.once("close", () => clearTimeout(timer));
  }
}

/** A tunnel has its own idle limit, small messages do not wait for one another, and a FIN closes one direction only. */
export function smooth(end: Duplex): void {
  end.allowHalfOpen = true;
  if (!(end instanceof Socket)) return;
  end.setTimeout(0);
  end.setNoDelay(true);
  end.setKeepAlive(true, KEEP_ALIVE_MS);
}

export function fieldLines(flat: readonly string[]): string {
  let text = "";
  for (let at = 0; at < flat.length; at += 2) text += `${flat[at]}: ${flat[at + 1]}\r\n`;
  return text;
}
