/**
 * How does a stream of HTTP/2 look to code that moves bytes both ways?
 * Owns: Node's Duplex over one of our streams.
 * Never: used for ordinary requests: a Duplex costs more than the whole rest of one.
 */
import { Duplex } from "node:stream";
import { CODE } from "./frames.ts";
import type { Stream, StreamUser } from "./stream.ts";

export class TunnelStream extends Duplex implements StreamUser {
  readonly #stream: Stream;
  /** Given to the reader, who has not asked for more yet. */
  #unread = 0;
  #written: ((error?: Error | null) => void) | undefined;
  #hasEnd = false;
  /** With which the stream is reset when it is destroyed early. */
  #code: number = CODE.NO_ERROR;

  constructor(stream: Stream) {
    super({ allowHalfOpen: true });
    this.#stream = stream;
    stream.isPatient = true;
    stream.attach(this);
    this.on("error", () => {});
  }

  /** RFC 8441 §5: what would be a reset of a TCP connection is a RST_STREAM with CANCEL. */
  cancel(): void {
    this.#code = CODE.CANCEL;
    this.destroy();
  }

  onClientData(bytes: Buffer): void {
    this.#unread += bytes.length;
    if (this.push(bytes)) this.#credit();
  }

  #credit(): void {
    const bytes = this.#unread;
    this.#unread = 0;
    if (bytes > 0) this.#stream.credit(bytes);
  }

  onClientEnd(): void {
    this.#hasEnd = true;
    this.push(null);
  }

  onWritable(): void {
    const done = this.#written;
    this.#written = undefined;
    done?.();
  }

  onClosed(isWhole: boolean): void {
    if (!isWhole || !this.#hasEnd) this.destroy();
  }

  override _read(): void {
    this.#credit();
    this.#stream.read();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#stream.write(chunk)) done();
    else this.#written = done;
  }

  override _final(done: (error?: Error | null) => void): void {
    if (this.#stream.write(Buffer.alloc(0), true)) done();
    else this.#written = done;
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#stream.reset(this.#code);
    done(error);
  }
}
