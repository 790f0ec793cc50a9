/**
 * How long may a target be silent?
 * Owns: the timers of one request to a target: connect, first byte, idle.
 * Never: decides what the client is told.
 */
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import type { TimeoutsConfig } from "../../config/model.ts";
import { GatehouseError } from "../../core/errors.ts";
import { isConnecting } from "./dial.ts";

export interface Deadlines {
  /** A connection was assigned; calls back once when it stands (TLS included). */
  connecting(socket: Duplex, onConnected: () => void): void;
  /** Bytes moved in either direction. Cheap. */
  progress(): void;
  /** The whole request has left. */
  sent(): void;
  /** The head of the answer came. */
  answered(): void;
  /** While true the silence is the client's own doing (its buffers are full). */
  paused(isPaused: boolean): void;
  stop(): void;
}

type Phase = "queue" | "connect" | "send" | "firstByte" | "answer";

/** @param onSlow  called at most once; the caller destroys the request. */
export function createDeadlines(timeouts: TimeoutsConfig, onSlow: (error: GatehouseError) => void): Deadlines {
  let phase: Phase = "queue";
  let isPaused = false;
  let timer: NodeJS.Timeout | undefined;

  const limits: Record<Phase, number> = {
    queue: timeouts.connectMs,
    connect: timeouts.connectMs,
    send: timeouts.idleMs,
    firstByte: timeouts.firstByteMs,
    answer: timeouts.idleMs,
  };
  function expired(): void {
    if (isPaused) {
      timer?.refresh();
      return;
    }
    clearTimeout(timer);
    timer = undefined;
    onSlow(
      phase === "queue"
        ? new GatehouseError("GATEHOUSE_UPSTREAM_NONE", { message: "No connection to the target became free in time." })
        : new GatehouseError("GATEHOUSE_UPSTREAM_SLOW", {
            message: `The target was too slow (${phase}).`,
            detail: { phase },
          }),
    );
  }
  function enter(next: Phase): void {
    phase = next;
    clearTimeout(timer);
    timer = setTimeout(expired, limits[next]);
  }

  enter("queue");
  return {
    connecting(socket, onConnected) {
      if (!isConnecting(socket)) {
        enter("send");
        onConnected();
        return;
      }
      enter("connect");
      socket.once(socket instanceof TLSSocket ? "secureConnect" : "connect", () => {
        if (timer === undefined) return;
        enter("send");
        onConnected();
      });
    },
    progress: () => timer?.refresh(),
    sent() {
      if (timer !== undefined && phase === "send") enter("firstByte");
    },
    answered() {
      if (timer !== undefined) enter("answer");
    },
    paused(now) {
      isPaused = now;
      timer?.refresh();
    },
    stop() {
      clearTimeout(timer);
      timer = undefined;
    },
  };
}
