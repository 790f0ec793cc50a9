/**
 * How do the frames of one turn of the loop become one write?
 * Owns: the memory that frames are put together in, and used again.
 * Never: knows what a frame means.
 */
import type { Socket } from "node:net";

/** Bytes. What is more in one turn goes out in several writes. Pages that nobody touches cost nothing. */
const SIZE = 131_072;
/** Connections that write in one turn of the loop; more of them take new memory. */
const KEPT = 16;

/** For all connections of a lane. */
export class OutputPool {
  readonly #free: Buffer[] = [];

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(SIZE);
  }

  give(buffer: Buffer): void {
    if (buffer.length === SIZE && this.#free.length < KEPT) this.#free.push(buffer);
  }
}

const NOTHING: Buffer = Buffer.alloc(0);

export class Output {
  /** Valid after `room`, until the next one. */
  buffer: Buffer = NOTHING;
  /** Where the next frame begins. */
  at = 0;
  /** Bytes that were written. */
  total = 0;
  readonly #pool: OutputPool;
  readonly #socket: Socket;
  readonly #full: () => void;

  /** @param full  called when the socket has no room for more until 'drain' */
  constructor(pool: OutputPool, socket: Socket, full: () => void) {
    this.#pool = pool;
    this.#socket = socket;
    this.#full = full;
  }

  /** Makes room for so many bytes at `at`. */
  room(bytes: number): void {
    if (this.at + bytes <= this.buffer.length) return;
    this.flush();
    this.buffer = bytes <= SIZE ? this.#pool.take() : Buffer.allocUnsafeSlow(bytes);
  }

  flush(): void {
    const { buffer, at } = this;
    this.buffer = NOTHING;
    this.at = 0;
    if (at === 0 || this.#socket.destroyed) {
      this.#pool.give(buffer);
      return;
    }
    this.total += at;
    // Nothing waits before it: OpenSSL takes it within this call (see fast/writer), and the memory is free again.
    const isTaken = this.#socket.writableLength === 0 && this.#socket.writable;
    const bytes = isTaken ? buffer.subarray(0, at) : Buffer.from(buffer.subarray(0, at));
    const hasRoom = this.#socket.write(bytes);
    this.#pool.give(buffer);
    if (!hasRoom) this.#full();
  }
}
