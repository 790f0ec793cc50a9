/**
 * How is ordinary HTTP/1.1 served: bytes in, bytes out?
 * Owns: the connections of the fast lane and the one clock for all their deadlines.
 * Never: serves what is not ordinary: such a connection goes to the compat lane, whole.
 */
import type { Socket } from "node:net";
import { CoarseClock } from "../../clock.ts";
import type { LaneContext } from "../../exchange.ts";
import { DenseSet } from "../../../core/dense-set.ts";
import { RequestIds } from "../../../core/request-ids.ts";
import { createYoungGarbage } from "../../../core/young-garbage.ts";
import type { ConnectionFacts } from "../check-request.ts";
import { DateLine } from "./answer.ts";
import { FastConnection } from "./connection.ts";
import { HeadReader } from "./head.ts";
import type { FastHome } from "./home.ts";
import { Turn } from "./turn.ts";
import { Scratch } from "./writer.ts";
import { SharedReading } from "./shared-reading.ts";

export interface FastLane {
  accept(socket: Socket, facts: ConnectionFacts): void;
  /**
   * From now on every connection ends with its next answer.
   *
   * @param idleMs  how long each may take to ask for that
   */
  drain(idleMs: number): void;
  /** Destroys every connection now. */
  destroy(): void;
  openConnections(): number;
}

export interface FastOptions {
  /** Takes over a socket with its unread bytes. */
  handOver(socket: Socket, facts: ConnectionFacts): void;
  /** So many exchanges under way make writes wait for the end of the turn (see fast/turn). */
  gatherFrom?: number;
}

export function createFastLane(context: LaneContext, options: FastOptions): FastLane {
  const connections = new DenseSet<FastConnection>();
  const clock = new CoarseClock();
  let longestIdleMs = Number.POSITIVE_INFINITY;
  const scratch = new Scratch();
  const home: FastHome = {
    context,
    clock,
    date: new DateLine(),
    reader: new HeadReader(),
    idleMs: () => Math.min(context.limits().idleMs, longestIdleMs),
    reading: new SharedReading(createYoungGarbage()),
    turn: new Turn(() => scratch.clear(), options.gatherFrom),
    scratch,
    ids: new RequestIds(),
    handOver(connection) {
      connections.delete(connection);
      options.handOver(connection.socket, connection.facts);
    },
    closed: (connection) => void connections.delete(connection),
  };
  const swept = {
    sweep(now: number): void {
      connections.forEach((connection) => connection.sweep(now));
    },
    get isQuiet(): boolean {
      return connections.size === 0;
    },
  };

  return {
    accept(socket, facts) {
      clock.wake(swept);
      const connection = new FastConnection(home, socket, facts);
      connections.add(connection);
      if (context.isLeaving()) connection.drain();
    },
    drain(idleMs) {
      longestIdleMs = idleMs;
      connections.forEach((connection) => connection.drain());
    },
    destroy() {
      connections.forEach(({ socket }) => socket.destroy());
    },
    openConnections: () => connections.size,
  };
}
