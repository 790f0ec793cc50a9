/**
 * How is a TLS client read without a buffer for each record?
 * Owns: the one buffer that all connections of a lane are read into, and the larger ones that keep what must stay.
 * Never: decides what must stay.
 *
 * Node makes an ArrayBuffer for each record that TLS decrypts, with what V8 does to keep count of it and to collect it: a
 * tenth of a small request, a quarter of an upload (docs/performance.md). `onread` would spare it, but is an option of
 * `connect` alone; so an accepted socket is given here what `net.Socket` gives itself for that option. Where a Node keeps
 * these things elsewhere, 'data' events do the same for more.
 */
import { Socket } from "node:net";

/** A TLS record holds 16 KiB at most (RFC 8446 §5.1), and Node hands over one at a time. */
const BUFFER_BYTES = 65_536;
/** Kept pieces lie side by side in these: sixteen full records in one ArrayBuffer. */
const SLAB_BYTES = 262_144;

interface Handle {
  useUserBuffer?: (buffer: Uint8Array) => void;
}

type Inner = Socket & { _handle?: Handle | null } & Record<symbol, unknown>;

interface Names {
  buffer: symbol;
  callback: symbol;
  generator: symbol;
}

export class SharedReading {
  readonly #buffer: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  readonly #names = findNames();
  #slab: Buffer = Buffer.allocUnsafeSlow(SLAB_BYTES);
  #used = 0;

  /** @param take  is given what comes; it holds during the call, unless it is kept */
  start(socket: Socket, take: (bytes: Buffer) => void): void {
    const inner = socket as Inner;
    const handle = inner._handle;
    const names = this.#names;
    // What was read before is on the stream already, and comes as an event.
    if (names === undefined || typeof handle?.useUserBuffer !== "function" || socket.readableLength > 0) {
      socket.on("data", take);
      return;
    }
    inner[names.buffer] = this.#buffer;
    inner[names.generator] = null;
    inner[names.callback] = (size: number): boolean => {
      take(this.#buffer.subarray(0, size));
      return true;
    };
    handle.useUserBuffer(this.#buffer);
    socket.read(0);
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

/** Where `net.Socket` has what the option `onread` says; undefined where that has changed. */
function findNames(): Names | undefined {
  const socket = new Socket({ onread: { buffer: Buffer.alloc(1), callback: () => true } });
  const symbols = Object.getOwnPropertySymbols(socket);
  const named = (name: string): symbol | undefined => symbols.find(({ description }) => description === name);
  const [buffer, callback, generator] = [named("kBuffer"), named("kBufferCb"), named("kBufferGen")];
  return buffer && callback && generator ? { buffer, callback, generator } : undefined;
}
