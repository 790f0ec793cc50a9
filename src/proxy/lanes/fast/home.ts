/**
 * What do all connections of the fast lane share?
 * Owns: the names of it.
 * Never: anything of one connection.
 */
import type { RequestIds } from "../../../core/request-ids.ts";
import type { CoarseClock } from "../../clock.ts";
import type { LaneContext } from "../../exchange.ts";
import type { DateLine } from "./answer.ts";
import type { FastConnection } from "./connection.ts";
import type { HeadReader } from "./head.ts";
import type { Turn } from "./turn.ts";
import type { Scratch } from "./writer.ts";
import type { SharedReading } from "./shared-reading.ts";

export interface FastHome {
  context: LaneContext;
  clock: CoarseClock;
  date: DateLine;
  /** One for all: what it says is used up before the next connection is read. */
  reader: HeadReader;
  /** How long (ms) a connection is kept for its next request. */
  idleMs(): number;
  reading: SharedReading;
  turn: Turn;
  scratch: Scratch;
  ids: RequestIds;
  /** Gives the socket away, with its unread bytes put back. */
  handOver(connection: FastConnection): void;
  closed(connection: FastConnection): void;
}
