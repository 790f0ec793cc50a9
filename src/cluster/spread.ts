/**
 * Has this worker more than its share of the connections?
 * Owns: passing on what comes beyond it, unread, to the primary, which gives it to the worker that has the fewest.
 * Never: gives away a connection that a byte was read from: what TLS knows stays in one process.
 *
 * Whoever is free accepts, so chance decides who has how many, and where they stay that is nearly all of them at times. A
 * connection passed on costs half a millisecond of CPU in three processes, as much as its handshake: so only those are that
 * chance has given to the wrong one.
 */
import { Socket, type SocketConstructorOpts } from "node:net";
import type { Spread } from "../core/spread.ts";
import { isPassedHandle, type PassedHandle } from "./messages.ts";
import type { Tally } from "./tally.ts";

/** Connections more than the one with the fewest, or a part of its own: what is nearly even stays where it is. */
const FEW = 4;
const PART = 1 / 16;

/** What node:net keeps in `_handle`, and node:cluster passes to its workers; undefined where a Node keeps it elsewhere. */
function handleOf(socket: Socket): PassedHandle | undefined {
  const { _handle: handle } = socket as Socket & { _handle?: unknown };
  return isPassedHandle(handle) ? handle : undefined;
}

/** @param handle  that another process has sent */
export function socketOf(handle: PassedHandle): Socket {
  // What `createServer` gives those that it accepts; the rest of it is the kernel's and comes along.
  return new Socket({ handle, allowHalfOpen: true } as SocketConstructorOpts);
}

export function createSpread(options: {
  tally: Tally;
  place: number;
  /** The handle is this process's no longer when `sent` is called. */
  send(handle: PassedHandle, sent: () => void): void;
}): Spread & { receive(handle: unknown): void } {
  const { tally, place } = options;
  let open = 0;
  let isLeaving = false;
  /** Since this worker began. */
  let sent = 0;
  let received = 0;
  let take: (socket: Socket) => void = (socket) => socket.destroy();
  const tell = (): void => tally.count(place, isLeaving ? undefined : open, received);
  return {
    count(now) {
      open = now;
      tell();
    },
    passOn(socket) {
      if (isLeaving || open <= FEW) return false;
      const least = tally.least(place);
      if (least === undefined) return false;
      const underWay = sent - tally.taken(place);
      if (open - least.open - underWay <= Math.max(FEW, open * PART)) return false;
      const handle = handleOf(socket);
      if (handle === undefined) return false;
      try {
        options.send(handle, () => socket.destroy());
      } catch {
        // A Node that sends none of these.
        return false;
      }
      sent++;
      socket.on("error", () => {});
      return true;
    },
    arrive(taker) {
      take = taker;
    },
    receive(handle) {
      received++;
      if (isPassedHandle(handle)) take(socketOf(handle));
      tell();
    },
    leave() {
      isLeaving = true;
      tell();
    },
  };
}
