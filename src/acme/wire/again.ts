/**
 * When is a request to the CA made again within one step?
 * Owns: fresh nonces after stale ones, and looking at an order or an authorization until it has settled.
 * Never: repeats anything else: what failed for another reason is the scheduler's to try later.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { GatehouseError } from "../../core/errors.ts";
import { AcmeProblem } from "../problem.ts";
import type { CallScope } from "./http.ts";

/** At a CA that refuses every second nonce (Pebble can) one request fails once in a million; real CAs refuse one in thousands. */
const NONCE_TRIES = 20;
/** Two stale nonces in a row happen; from then on wait a little, so that two clients do not march in step. */
const NONCE_JITTER_AFTER = 2;
const NONCE_JITTER_MS = 100;

/** Without Retry-After (RFC 8555 §7.5.1 leaves it open): quick at first, then no faster than politeness allows. */
const POLL_FIRST_MS = 250;
const POLL_MAX_MS = 5_000;

export async function withFreshNonces<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof AcmeProblem) || error.type !== "badNonce" || tries === NONCE_TRIES) throw error;
      // The refusal brought a new nonce along (RFC 8555 §6.5); wire/http holds it ready.
      if (tries > NONCE_JITTER_AFTER) await sleep(Math.random() * NONCE_JITTER_MS, undefined, { signal });
    }
  }
}

export async function poll<T>(
  waitingFor: string,
  scope: CallScope,
  withinMs: number,
  look: (scope: CallScope) => Promise<T>,
  { isSettled }: { isSettled: (item: T) => boolean },
): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (let pause = POLL_FIRST_MS; ; pause = Math.min(pause * 2, POLL_MAX_MS)) {
    const item = await look(scope);
    if (isSettled(item)) return item;
    const wait = scope.retryAfterMs ?? pause;
    if (performance.now() + wait > deadline) {
      throw new GatehouseError("GATEHOUSE_ACME_SLOW", {
        message: `The CA takes longer than ${withinMs / 1_000} s ${waitingFor}.`,
        hint: "Nothing to do here: the order is kept and continued at the next try.",
        ...(scope.retryAfterMs !== undefined && { notBefore: scope.clock.now() + scope.retryAfterMs }),
      });
    }
    await sleep(wait, undefined, { signal: scope.signal });
  }
}
