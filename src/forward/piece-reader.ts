/**
 * How are a connection's bytes read without a buffer for each piece?
 * Owns: one large buffer per connection that is read into again and again, and the rule when another is needed.
 * Never: writes.
 *
 * Node allocates 64 KB for every read of an ordinary socket. Into a buffer of our own it reads up to 256 KB at once, which
 * halves what a forward costs in either direction (docs/performance.md). The target's socket has it by the option `onread`
 * of `connect`; the client's, which was accepted, by core/read-into.
 */
import type { OnReadOpts, Socket } from "node:net";
import { findReadingNames, readInto } from "../core/read-into.ts";
import type { YoungGarbage } from "../core/young-garbage.ts";

/** Reserved per connection, but a page of memory only becomes real when bytes are read into it. */
const BUFFER_BYTES = 262_144;

export interface PieceReader {
  /** For `connect`. */
  readonly onread: OnReadOpts;
  /** For a socket that was accepted: what waits on it already is the first piece. Call `to` before. */
  accept(socket: Socket): void;
  /**
   * Where pieces go from now on.
   *
   * @param take  true: go on reading; the piece is only valid during the call unless `keeps()` says otherwise
   * @param keeps asked after each piece: is it still needed? Then the next one is read into a new buffer.
   */
  to(take: (piece: Buffer) => boolean, keeps: () => boolean): void;
}

export function createPieceReader(garbage: YoungGarbage): PieceReader {
  let buffer: Buffer | undefined;
  let take: (piece: Buffer) => boolean = () => true;
  let keeps: () => boolean = () => false;
  const onread: OnReadOpts = {
    buffer: () => (buffer ??= Buffer.allocUnsafeSlow(BUFFER_BYTES)),
    callback(size, bytes) {
      const goesOn = take(Buffer.from(bytes.buffer, bytes.byteOffset, size));
      if (keeps()) {
        buffer = undefined;
        garbage.grew(BUFFER_BYTES);
      }
      return goesOn;
    },
  };
  return {
    onread,
    accept(socket) {
      const waiting = socket.readableLength > 0 ? (socket.read() as Buffer | null) : null;
      if (!readInto(socket, findReadingNames(), onread)) {
        socket.on("data", (piece: Buffer) => {
          garbage.grew(piece.length);
          if (!take(piece)) socket.pause();
        });
      }
      if (waiting !== null && !take(waiting)) socket.pause();
    },
    to(nextTake, nextKeeps) {
      take = nextTake;
      keeps = nextKeeps;
    },
  };
}
