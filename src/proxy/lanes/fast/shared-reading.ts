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
 * Each is filled again as soon as those have taken what lies in it to whom it went: nearly always by the next turn of the
 * loop. Memory that is warm, and none for V8 to collect, which after 64 MB of it collects everything it has. So many hold
 * what a few dozen uploads have before targets that are slower than they; when all wait for somebody, they are left to him
 * and to V8, and new ones begin.
 */
const MAX_SLABS = 8;
/** Bodies at a time that are read where they stay; each holds a slab. Others are copied. */
const MAX_LENT = 8;
/** A full record has room. */
const LEAST_ROOM = 16_384;
/** Targets that are looked at before a slab is filled again; as many as may be, with pieces of a byte each. */
const MAX_TAKERS = 256;

interface Slab {
  memory: Buffer;
  used: number;
  /**
   * To whom the pieces went that lie in it, without those who have been seen since to have taken theirs. Few, so no Set:
   * one that is filled and emptied at each message makes a table of its own each time.
   */
  readonly takers: Duplex[];
}

type Inner = Socket & Record<symbol, unknown>;

export class SharedReading {
  readonly #buffer: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  readonly #names = findReadingNames();
  readonly #garbage: YoungGarbage;
  readonly #slabs: Slab[] = [];
  #current: Slab | undefined;
  /** Slabs that one body each is read into. They are not in `#slabs`, and have no takers. */
  readonly #lent = new Map<Socket, Slab>();

  /** @param garbage  is told of bodies that lie in memory which V8 has to collect */
  constructor(garbage: YoungGarbage) {
    this.#garbage = garbage;
  }

  /** @param take  is given what comes; it holds during the call, unless it is kept */
  start(socket: Socket, take: (bytes: Buffer) => void): void {
    const callback = (size: number, memory: Uint8Array): boolean => {
      const slab = memory === this.#buffer ? undefined : this.#lent.get(socket);
      if (slab !== undefined) slab.used += size;
      take((memory as Buffer).subarray(0, size));
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
    if (names === undefined || !(inner[names.buffer] instanceof Uint8Array)) return;
    // The handle goes on reading into the buffer: that cannot be taken back.
    inner[names.callback] = (size: number, memory: Uint8Array): boolean =>
      socket.push(Buffer.from(memory.subarray(0, size)));
  }

  /** The socket is closed: it holds nobody any more (see core/let-go). */
  end(socket: Socket): void {
    this.#lent.delete(socket);
    const inner = socket as Inner;
    const names = this.#names;
    if (names !== undefined && typeof inner[names.callback] === "function") inner[names.callback] = untaken;
  }

  /**
   * From its next piece on, what the socket brings is read where it may stay until `taker` has it, and `keep` need not copy.
   *
   * @param taker  is written at once whatever is kept, and nobody else keeps it, until `takeBack`; only then another one
   * @returns whether it is so now; if not, all goes on as before: too many have such memory, or this Node reads in another
   *   way
   */
  lend(socket: Socket, taker: Duplex): boolean {
    if (this.#lent.has(socket)) return true;
    const inner = socket as Inner;
    const names = this.#names;
    if (names === undefined || inner[names.buffer] !== this.#buffer || this.#lent.size === MAX_LENT) return false;
    // An in-process target passes on the very memory it is given.
    if (!(taker instanceof Socket)) return false;
    const slab = this.#emptySlab();
    this.#lent.set(socket, slab);
    // Where in the slab the handle writes; -1: in the buffer of all.
    let at = -1;
    // Node asks after each piece where the next one goes; undefined: where that one went.
    inner[names.generator] = (): Buffer | undefined => {
      const hasTaken = taker.writableLength === 0;
      if (this.#lent.get(socket) !== slab) {
        inner[names.generator] = null;
        // Not before now: until here the handle could have written to it.
        if (!hasTaken) addTo(slab, taker);
        if (this.#slabs.length < MAX_SLABS) this.#slabs.push(slab);
        return this.#buffer;
      }
      if (hasTaken) slab.used = 0;
      const next = SLAB_BYTES - slab.used < LEAST_ROOM ? -1 : slab.used;
      if (next === at) return undefined;
      at = next;
      return at < 0 ? this.#buffer : slab.memory.subarray(at);
    };
    return true;
  }

  /**
   * The body is over, or will not go on; nothing where no memory was lent. Called while its last piece is taken, or the
   * socket keeps the memory until its next.
   */
  takeBack(socket: Socket): void {
    this.#lent.delete(socket);
  }

  /** For what may stay long: alone, because a few bytes of half a head must not hold a whole slab. */
  copy(bytes: Buffer): Buffer {
    return Buffer.from(bytes);
  }

  /**
   * For what leaves soon, such as a body on its way to the target.
   *
   * @param taker  is written the piece at once, and nobody else keeps it
   */
  keep(bytes: Buffer, taker: Duplex): Buffer {
    if (bytes.buffer !== this.#buffer.buffer) {
      if (!this.#isLent(bytes)) this.#garbage.grew(bytes.length);
      return bytes;
    }
    // An in-process target passes on the very memory it is given.
    if (!(taker instanceof Socket)) return Buffer.from(bytes);
    // Whoever has nothing before him has taken all that he was given.
    if (taker.writableLength === 0) for (const slab of this.#slabs) removeFrom(slab, taker);
    const slab = this.#room(bytes.length);
    addTo(slab, taker);
    const kept = slab.memory.subarray(slab.used, slab.used + bytes.length);
    kept.set(bytes);
    slab.used += bytes.length;
    return kept;
  }

  #room(length: number): Slab {
    const current = this.#current;
    if (current !== undefined) {
      if (isTaken(current)) return current;
      if (current.used + length <= SLAB_BYTES && current.takers.length < MAX_TAKERS) return current;
    }
    return (this.#current = this.#slabs.find(isTaken) ?? this.#another());
  }

  #another(): Slab {
    if (this.#slabs.length === MAX_SLABS) this.#slabs.length = 0;
    const slab = this.#newSlab();
    this.#slabs.push(slab);
    return slab;
  }

  #newSlab(): Slab {
    this.#garbage.grew(SLAB_BYTES);
    return { memory: Buffer.allocUnsafeSlow(SLAB_BYTES), used: 0, takers: [] };
  }

  #emptySlab(): Slab {
    const at = this.#slabs.findIndex((slab) => slab !== this.#current && isTaken(slab));
    return (at < 0 ? undefined : this.#slabs.splice(at, 1)[0]) ?? this.#newSlab();
  }

  #isLent(bytes: Buffer): boolean {
    for (const { memory } of this.#lent.values()) if (memory.buffer === bytes.buffer) return true;
    return false;
  }
}

const untaken = (): boolean => true;

/** Then it is empty. Who is corked or waits for the kernel has bytes that must stay. */
function isTaken(slab: Slab): boolean {
  for (const { writableLength } of slab.takers) if (writableLength > 0) return false;
  if (slab.takers.length > 0) slab.takers.length = 0;
  slab.used = 0;
  return true;
}

function addTo({ takers }: Slab, taker: Duplex): void {
  if (!takers.includes(taker)) takers.push(taker);
}

function removeFrom({ takers }: Slab, taker: Duplex): void {
  const at = takers.indexOf(taker);
  if (at < 0) return;
  const last = takers.pop();
  if (last !== undefined && at < takers.length) takers[at] = last;
}
