/**
 * How are sockets read without a buffer for each piece?
 * Owns: the one buffer that all connections of a lane (TLS clients, and the ends of tunnels) are read into, and the larger ones that keep what must stay.
 * Never: decides what must stay.
 *
 * Node makes an ArrayBuffer for each record that TLS decrypts, with what V8 does to keep count of it and to collect it: a
 * tenth of a small request, a quarter of an upload (docs/performance.md). `onread` would spare it, but is an option of
 * `connect` alone (core/read-into); where a Node has changed there, 'data' events do the same for more.
 */
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { findReadingNames, readInto } from "../../../core/read-into.ts";
import type { YoungGarbage } from "../../../core/young-garbage.ts";

/** What Node reads from a plain socket at once. A TLS record holds 16 KiB at most (RFC 8446 §5.1), and comes alone. */
const BUFFER_BYTES = 65_536;
/** Kept pieces lie side by side in these: sixteen full records in one ArrayBuffer. */
const SLAB_BYTES = 262_144;
/**
 * Filled again as soon as all that lies in them has gone on, which is nearly always by the next turn of the loop: memory
 * that is warm, and none for V8 to collect. Four hold what one turn of a few fast uploads takes. When they are full of what
 * a slow target has not taken, they are left to it and to V8, and new ones begin.
 */
const MAX_SLABS = 4;
/** Targets that are looked at before a slab is filled again; as many as may be, with pieces of a byte each. */
const MAX_TAKERS = 256;

type Inner = Socket & Record<symbol, unknown>;

export class SharedReading {
  readonly #buffer: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  readonly #names = findReadingNames();
  readonly #garbage: YoungGarbage;
  readonly #slabs: Buffer[] = [];
  /** Of the slabs, those that are filled or being filled; the last of them has so many bytes. */
  #begun = 0;
  #used = SLAB_BYTES;
  /** Where the pieces went that lie in the slabs. */
  readonly #takers = new Set<Duplex>();

  /** @param garbage  is told of bodies that lie in memory which V8 has to collect */
  constructor(garbage: YoungGarbage) {
    this.#garbage = garbage;
  }

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

  /**
   * For what leaves soon, such as a body on its way to the target.
   *
   * @param taker  is written the piece at once, and nobody else keeps it
   */
  keep(bytes: Buffer, taker: Duplex): Buffer {
    if (bytes.buffer !== this.#buffer.buffer) {
      this.#garbage.grew(bytes.length);
      return bytes;
    }
    // An in-process target passes on the very memory it is given.
    if (!(taker instanceof Socket)) return Buffer.from(bytes);
    if (this.#begun > 0 && this.#isTaken()) this.#rewind();
    if (this.#used + bytes.length > SLAB_BYTES || this.#takers.size === MAX_TAKERS) this.#turnOver();
    this.#takers.add(taker);
    const slab = this.#slabs[this.#begun - 1] as Buffer;
    const kept = slab.subarray(this.#used, this.#used + bytes.length);
    kept.set(bytes);
    this.#used += bytes.length;
    return kept;
  }

  /** Who is corked or waits for the kernel has bytes that must stay. */
  #isTaken(): boolean {
    for (const { writableLength } of this.#takers) if (writableLength > 0) return false;
    return true;
  }

  #rewind(): void {
    this.#takers.clear();
    this.#begun = Math.min(this.#begun, 1);
    this.#used = 0;
  }

  #turnOver(): void {
    if (this.#begun === MAX_SLABS || this.#takers.size === MAX_TAKERS) {
      this.#takers.clear();
      this.#slabs.length = 0;
      this.#begun = 0;
    }
    if (this.#slabs[this.#begun] === undefined) {
      this.#slabs.push(Buffer.allocUnsafeSlow(SLAB_BYTES));
      this.#garbage.grew(SLAB_BYTES);
    }
    this.#begun++;
    this.#used = 0;
  }
}
