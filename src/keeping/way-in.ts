/**
 * Could a CA find this home yet?
 * Owns: the wait before a name's first order, until the router has been asked for the ports and the name's address told.
 * Never: asks a router or a service; those who do are looked at. Never waits for what has failed.
 *
 * At a first start everything begins at once, and an order takes a second where a router may take ten: the CA would look
 * for a name that leads nowhere yet, and allows five failures an hour.
 */
import type { Logger } from "../observe/log.ts";

/** Longer than the slowest router that answers (all three protocols in turn), and DuckDNS beside it. */
const WAIT_MS = 30_000;
const LOOK_EVERY_MS = 200;

export interface WayInOptions {
  /** The router is asked for the ports at this moment, and has not said yes or no. */
  isOpening(): boolean;
  /** A service is told the name's address at this moment, or the address is still looked for. */
  isNaming(name: string): boolean;
  log: Logger;
  withinMs?: number;
}

/** Resolves when nothing is under way any more, or after 30 s. Rejects with the signal's reason alone. */
export type WayIn = (name: string, signal: AbortSignal) => Promise<void>;

export function createWayIn({ isOpening, isNaming, log, withinMs = WAIT_MS }: WayInOptions): WayIn {
  return async (name, signal) => {
    const until = performance.now() + withinMs;
    let isSaid = false;
    while ((isOpening() || isNaming(name)) && performance.now() < until) {
      signal.throwIfAborted();
      if (!isSaid) {
        isSaid = true;
        const facts = { event: "acme.waits_for_way_in", name, router: isOpening(), dns: isNaming(name) };
        log.info(facts, "the first order waits until a CA can find this home");
      }
      await pause(LOOK_EVERY_MS, signal);
    }
    signal.throwIfAborted();
  };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
  });
}
