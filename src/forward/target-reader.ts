/**
 * How are a target's bytes read without a buffer for each piece?
 * Owns: one large buffer per connection that is read into again and again, and the rule when another is needed.
 * Never: writes.
 *
 * Node allocates 64 KB for every read of an ordinary socket. Into a buffer of our own it reads up to 256 KB at once: for
 * what a target sends this halved the cost (1,300 to 560 ms CPU per GB; socat 1,100, HAProxy 530). Accepted sockets
 * cannot have one (`onread` is an option of `connect` alone), so what a client sends still costs 1,300.
 */
import type { OnReadOpts } from "node:net";

/** Reserved per session, but a page of memory only becomes real when bytes are read into it. */
const BUFFER_BYTES = 262_144;

export interface TargetReader {
  /** For `connect`. */
  readonly onread: OnReadOpts;
  /**
   * Where pieces go from now on.
   *
   * @param take  true: go on reading; the piece is only valid during the call unless `keeps()` says otherwise
   * @param keeps asked after each piece: is it still needed? Then the next one is read into a new buffer.
   */
  to(take: (piece: Buffer) => boolean, keeps: () => boolean): void;
}

export function createTargetReader(): TargetReader {
  let buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  let take: (piece: Buffer) => boolean = () => true;
  let keeps: () => boolean = () => false;
  return {
    onread: {
      buffer: () => buffer,
      callback(size, bytes) {
        const goesOn = take(Buffer.from(bytes.buffer, bytes.byteOffset, size));
        if (keeps()) buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
        return goesOn;
      },
    },
    to(nextTake, nextKeeps) {
      take = nextTake;
      keeps = nextKeeps;
    },
  };
}
