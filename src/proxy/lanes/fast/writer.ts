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
/** What a turn of a busy lane puts together, and one read of a target (64 KiB) with its head behind it. */
const SCRATCH_BYTES = 262_144;

/**
 * Where heads and bodies are put together: one memory for all connections of the lane. A Buffer for each answer is memory
 * outside V8's heap, and V8 collects everything it has for every 64 MB of it.
 */
export class Scratch {
  readonly #bytes: Buffer = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  #used = 0;

  /** Holds until the next call of any method; undefined where there is no room. */
  lend(size: number): Buffer | undefined {
    return this.#used + size > SCRATCH_BYTES ? undefined : this.#bytes.subarray(this.#used, this.#used + size);
  }

  /** Holds until `clear`. */
  lendForTurn(size: number): Buffer | undefined {
    const lent = this.lend(size);
    if (lent !== undefined) this.#used += size;
    return lent;
  }

  /** All that waited for the end of the turn is written. */
  clear(): void {
    this.#used = 0;
  }
}

export class PacketWriter {
  readonly #socket: Socket;
  readonly #scratch: Scratch;
  #before = "";
  #piece: Buffer = NOTHING;
  #after = "";

  constructor(socket: Socket, scratch: Scratch) {
    this.#socket = socket;
    this.#scratch = scratch;
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

  /** What is held is put together, so that it may wait for the end of the turn. */
  settle(): void {
    const size = this.#before.length + this.#piece.length + this.#after.length;
    const bytes = this.#together(this.#scratch.lendForTurn(size) ?? Buffer.allocUnsafe(size));
    this.#before = "";
    this.#after = "";
    this.#piece = bytes;
  }

  #together(bytes: Buffer): Buffer {
    const before = this.#before;
    const piece = this.#piece;
    const after = this.#after;
    if (before !== "") bytes.write(before, 0, "latin1");
    if (piece.length > 0) bytes.set(piece, before.length);
    if (after !== "") bytes.write(after, before.length + piece.length, "latin1");
    return bytes;
  }

  flush(): void {
    const socket = this.#socket;
    const size = this.#before.length + this.#piece.length + this.#after.length;
    if (size === 0) return;
    // With nothing waiting before it, OpenSSL takes it within this call (TLSWrap::DoWrite writes, or copies what it cannot
    // write), and its memory is free again.
    const isTaken = socket.writableLength === 0 && socket instanceof TLSSocket;
    const isWhole = this.#before === "" && this.#after === "";
    const bytes =
      isTaken && isWhole
        ? this.#piece
        : this.#together((isTaken ? this.#scratch.lend(size) : undefined) ?? Buffer.allocUnsafe(size));
    this.#before = "";
    this.#piece = NOTHING;
    this.#after = "";
    socket.write(bytes);
  }
}
