/**
 * How is a TLS client read without a buffer for each record?
 * Owns: the one buffer that all connections of a lane are read into, and the larger ones that keep what must stay.
 * Never: decides what must stay.
 *
 * Node makes an ArrayBuffer for each record that TLS decrypts, with what V8 does to keep count of it and to collect it: a
 * tenth of a small request, a quarter of an upload (docs/performance.md). `onread` would spare it, but is an option of
 * `connect` alone (core/read-into); where a Node has changed there, 'data' events do the same for more.
 */
import type { Socket } from "node:net";
import { findReadingNames, readInto } from "../../core/read-into.ts";

/** A TLS record holds 16 KiB at most (RFC 8446 §5.1), and Node hands over one at a time. */
const BUFFER_BYTES = 65_536;
/** Kept pieces lie side by side in these: sixteen full records in one ArrayBuffer. */
const SLAB_BYTES = 262_144;

type Inner = Socket & Record<symbol, unknown>;

export class SharedReading {
  readonly #buffer: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  readonly #names = findReadingNames();
  #slab: Buffer = Buffer.allocUnsafeSlow(SLAB_BYTES);
  #used = 0;

  /** @param take  is given what comes; it holds during the call, unless it is kept */
  start(socket: Socket, take: (bytes: Buffer) => void): void {
    const callback = (size: number): boolean => {
      take(this.#buffer.subarray(0, size));
      return true;
    };
    if (readInto(socket, this.#names, { buffer: this.#buffer, callback })) socket.read(0);
    // What was read before is on the stream already, and comes as an event.
    else socket.on("data", take);
  }

  /** From now on the socket is a stream like any other. */
  stop(socket: Socket, take: (bytes: Buffer) => void): void {
    socket.off("data", take);
    const inner = socket as Inner;
    const names = this.#names;
    if (names === undefined || inner[names.buffer] !== this.#buffer) return;
    // The handle goes on reading into the buffer: that cannot be taken back.
    inner[names.callback] = (size: number): boolean => socket.push(Buffer.from(this.#buffer.subarray(0, size)));
  }

  /** For what may stay long: alone, because a few bytes of half a head must not hold a whole slab. */
  copy(bytes: Buffer): Buffer {
    return bytes.buffer === this.#buffer.buffer ? Buffer.from(bytes) : bytes;
  }

  /** For what leaves soon, such as a body on its way to the target. */
  keep(bytes: Buffer): Buffer {
    if (bytes.buffer !== this.#buffer.buffer) return bytes;
    if (this.#used + bytes.length > SLAB_BYTES) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#used = 0;
    }
    const kept = this.#slab.subarray(this.#used, this.#used + bytes.length);
    kept.set(bytes);
    this.#used += bytes.length;
    return kept;
  }
}
