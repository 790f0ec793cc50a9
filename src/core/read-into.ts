/**
 * How does an accepted socket read into a buffer of ours?
 * Owns: giving it what `net.Socket` gives itself for the option `onread`, which `connect` alone takes.
 * Never: decides what is read, or keeps a byte.
 *
 * Node otherwise makes a buffer of 64 KiB for each read, with what V8 does to keep count of it and to collect it. Where a
 * Node keeps these things elsewhere, nothing is changed and the caller is told.
 */
import { type OnReadOpts, Socket } from "node:net";

interface Handle {
  useUserBuffer?: (buffer: Uint8Array) => void;
}

/** Properties of `net.Socket` that hold its `onread`. */
export interface ReadingNames {
  buffer: symbol;
  callback: symbol;
  generator: symbol;
}

type Inner = Socket & { _handle?: Handle | null } & Record<symbol, unknown>;

/** Undefined where Node has changed. */
export function findReadingNames(): ReadingNames | undefined {
  const socket = new Socket({ onread: { buffer: Buffer.alloc(1), callback: () => true } });
  const symbols = Object.getOwnPropertySymbols(socket);
  const named = (name: string): symbol | undefined => symbols.find(({ description }) => description === name);
  const [buffer, callback, generator] = [named("kBuffer"), named("kBufferCb"), named("kBufferGen")];
  return buffer && callback && generator ? { buffer, callback, generator } : undefined;
}

/**
 * From now on what comes goes to `onread.callback`, and there are no 'data' events; 'end' and the rest are as ever. The
 * socket must be flowing or about to be.
 *
 * @param names  of findReadingNames, found once
 * @returns false when nothing was changed: this Node is another, or bytes wait on the stream already
 */
export function readInto(socket: Socket, names: ReadingNames | undefined, onread: OnReadOpts): boolean {
  const inner = socket as Inner;
  const handle = inner._handle;
  if (names === undefined || typeof handle?.useUserBuffer !== "function" || socket.readableLength > 0) return false;
  const { buffer, callback } = onread;
  const first = typeof buffer === "function" ? buffer() : buffer;
  inner[names.buffer] = first;
  inner[names.generator] = typeof buffer === "function" ? buffer : null;
  inner[names.callback] = callback;
  handle.useUserBuffer(first);
  return true;
}
