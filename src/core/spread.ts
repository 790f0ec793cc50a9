/**
 * How does one of several processes that share a port come to its share of the connections?
 * Owns: the seam between the one who accepts (proxy/front) and the one who knows the others (cluster/spread).
 * Never: does either.
 */
import type { Socket } from "node:net";

export interface Spread {
  /** Open connections of this process, each time their number changes. The first says that it takes some. */
  count(open: number): void;
  /**
   * @param socket  nobody has read from it (`pauseOnConnect`)
   * @returns true when it is another's from now on
   */
  passOn(socket: Socket): boolean;
  /** Who serves what others pass on. */
  arrive(take: (socket: Socket) => void): void;
  /** None any more, either way. */
  leave(): void;
}
