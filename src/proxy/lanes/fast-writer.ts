/**
 * How do the head of an answer and its first bytes become one write?
 * Owns: what is at hand of one packet of the target, until it is flushed.
 * Never: keeps memory that the target's connection reads into: at the flush it is copied, or already encrypted.
 */
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";

const NOTHING: Buffer = Buffer.alloc(0);

export class PacketWriter {
  readonly #socket: Socket;
  #before = "";
  #piece: Buffer = NOTHING;
  #after = "";

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

  flush(): void {
    const socket = this.#socket;
    const before = this.#before;
    const piece = this.#piece;
    const after = this.#after;
    if (piece.length === 0) {
      if (before === "") return;
      this.#before = "";
      socket.write(before, "latin1");
      return;
    }
    this.#before = "";
    this.#piece = NOTHING;
    this.#after = "";
    if (before === "" && after === "" && socket.writableLength === 0 && socket instanceof TLSSocket) {
      // Nothing waits before it, so OpenSSL takes it within this call (TLSWrap::DoWrite writes, or copies what it cannot
      // write), and its memory is free again.
      socket.write(piece);
      return;
    }
    const bytes = Buffer.allocUnsafe(before.length + piece.length + after.length);
    if (before !== "") bytes.write(before, 0, "latin1");
    bytes.set(piece, before.length);
    if (after !== "") bytes.write(after, before.length + piece.length, "latin1");
    socket.write(bytes);
  }
}
