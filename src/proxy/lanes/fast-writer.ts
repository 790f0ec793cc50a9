/**
 * How do the head of an answer and its first bytes become one write?
 * Owns: what is at hand of one packet of the target, until it is flushed.
 * Never: keeps memory that the target's connection reads into: at the flush it is copied, or already encrypted.
 */
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";

/** RFC 8446 §5.1 */
const RECORD_BYTES = 16_384;
const NOTHING: Buffer = Buffer.alloc(0);

export class PacketWriter {
  readonly #socket: Socket;
  #before = "";
  #piece: Buffer = NOTHING;
  #after = "";
  /** The piece is a copy. */
  #isOurs = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Latin1. */
  text(text: string): void {
    if (this.#piece.length === 0) this.#before += text;
    else this.#after += text;
  }

  /** Holds until `flush`, which must come before the memory is used again. */
  piece(bytes: Buffer): void {
    if (this.#piece.length > 0) this.flush();
    this.#piece = bytes;
  }

  /** One TLS record or less. */
  get isSmall(): boolean {
    return this.#before.length + this.#piece.length + this.#after.length <= RECORD_BYTES;
  }

  /** What is held is copied, so that it may wait. */
  settle(): void {
    if (this.#before === "" && this.#piece.length === 0) return;
    const bytes = this.#together();
    this.#before = "";
    this.#after = "";
    this.#piece = bytes;
    this.#isOurs = true;
  }

  #together(): Buffer {
    const before = this.#before;
    const piece = this.#piece;
    const after = this.#after;
    const bytes = Buffer.allocUnsafe(before.length + piece.length + after.length);
    if (before !== "") bytes.write(before, 0, "latin1");
    if (piece.length > 0) bytes.set(piece, before.length);
    if (after !== "") bytes.write(after, before.length + piece.length, "latin1");
    return bytes;
  }

  flush(): void {
    const socket = this.#socket;
    if (this.#piece.length === 0) {
      const before = this.#before;
      if (before === "") return;
      this.#before = "";
      socket.write(before, "latin1");
      return;
    }
    // Alone and with nothing waiting before it, OpenSSL takes it within this call (TLSWrap::DoWrite writes, or copies what
    // it cannot write), and its memory is free again.
    const isAlone = this.#before === "" && this.#after === "";
    const isTaken = this.#isOurs || (socket.writableLength === 0 && socket instanceof TLSSocket);
    const bytes = isAlone && isTaken ? this.#piece : this.#together();
    this.#before = "";
    this.#piece = NOTHING;
    this.#after = "";
    this.#isOurs = false;
    socket.write(bytes);
  }
}
