/**
 * How do two connections become one?
 * Owns: bytes both ways with backpressure, half-close, the idle limit, and ending both sides together.
 * Never: dials, listens or looks at a byte.
 */
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { PieceReader } from "./piece-reader.ts";

export type SpliceEnd = "closed" | "idle" | "error" | "stopped";

export interface SpliceOptions {
  /** Silence in both directions, milliseconds. */
  idleMs: number;
  /** Told of every piece: `in` came from the client. */
  moved(direction: "in" | "out", bytes: number): void;
  /** Once, when both connections are gone or about to be. */
  ended(how: SpliceEnd): void;
}

export interface Splice {
  /** Cuts both sides. */
  stop(): void;
}

/**
 * Both sockets must allow half-open connections and have an error listener. Each direction ends by itself (RFC 9293
 * §3.6: a client that has said all may still listen); an error on one side destroys the other, so that a cut stream
 * looks cut.
 */
export function splice(
  client: Socket | TLSSocket,
  target: Socket,
  readers: { client: PieceReader; target: PieceReader },
  options: SpliceOptions,
): Splice {
  let touchedAt = performance.now();
  let isOver = false;
  let open = 2;
  // One timer per session that looks when it is due, instead of one that is moved with every piece.
  let timer = setTimeout(lookAtClock, options.idleMs);

  function lookAtClock(): void {
    const left = touchedAt + options.idleMs - performance.now();
    if (left <= 0) end("idle");
    else timer = setTimeout(lookAtClock, left);
  }

  function end(how: SpliceEnd): void {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    if (how !== "closed") {
      cutOff(client);
      cutOff(target);
    }
    options.ended(how);
  }

  function carry(from: Socket, to: Socket): void {
    to.on("drain", () => {
      touchedAt = performance.now();
      from.resume();
    });
    from.once("end", () => to.end());
    from.once("error", () => end("error"));
    from.once("close", () => {
      // Closed without its end having been read: the other side must not take what it has for the whole.
      if (!from.readableEnded) end("error");
      else if (--open === 0) end("closed");
    });
  }

  function carryAll(direction: "in" | "out", from: Socket, to: Socket, reader: PieceReader): void {
    carry(from, to);
    reader.to(
      (piece) => {
        touchedAt = performance.now();
        options.moved(direction, piece.length);
        return to.write(piece);
      },
      // Written at once, the kernel has a copy. What waits, and what TLS has taken, may still be looked at.
      () => to.writableLength > 0 || to instanceof TLSSocket,
    );
  }

  carryAll("in", client, target, readers.client);
  carryAll("out", target, client, readers.target);
  readers.client.accept(client);
  client.resume();
  target.resume();
  return { stop: () => end("stopped") };
}

/**
 * With a reset: after a plain close the peer would take what it has for the whole. Under TLS the missing close_notify
 * says the same, and a reset below a TLSSocket crashes Node.
 */
export function cutOff(socket: Socket | TLSSocket): void {
  if (socket instanceof TLSSocket) socket.destroy();
  else socket.resetAndDestroy();
}
