/**
 * Who signs when the CA of choice does not?
 * Owns: turning to the next CA after failures in a row, and beginning with the first one again at each try.
 * Never: counts failures (the history of each CA does) or decides when to try.
 */
import { errorText, type ErrorCode, isGatehouseError } from "../../core/errors.ts";
import type { Clock } from "../../core/time.ts";
import type { Logger } from "../../observe/log.ts";
import type { Issuer } from "../issue.ts";

/** One failure is everyday; with the second, ten minutes later, a CA is down. */
const AFTER_FAILURES = 2;
/** A CA that wants to be left alone for longer than this is as good as down. */
const LONG_WAIT_MS = 3_600_000;

/** What another CA may do better. A name that could not be proved, or a disk that is full, is the same for all. */
const THE_CAS_OWN: ReadonlySet<ErrorCode> = new Set([
  "GATEHOUSE_ACME_UNAVAILABLE",
  "GATEHOUSE_ACME_SLOW",
  "GATEHOUSE_ACME_RATE_LIMITED",
  "GATEHOUSE_ACME_REFUSED",
  "GATEHOUSE_ACME_BAD_CERTIFICATE",
]);

export interface FallbackOptions {
  first: Issuer;
  /** In order. */
  others: readonly { ca: string; issuer: Issuer }[];
  /** How often this name has failed at the first CA in a row, the try that has just failed included. */
  failuresInARow: (name: string) => Promise<number>;
  clock: Clock;
  log: Logger;
}

/** An issuer of several: what it throws is what the first one said. */
export function createFallbackIssuer({ first, others, failuresInARow, clock, log }: FallbackOptions): Issuer {
  async function isTimeForOthers(name: string, error: unknown): Promise<boolean> {
    if (!isGatehouseError(error) || !THE_CAS_OWN.has(error.code)) return false;
    if ((error.notBefore ?? 0) > clock.now() + LONG_WAIT_MS) return true;
    return (await failuresInARow(name).catch(() => 0)) >= AFTER_FAILURES;
  }

  return {
    async tidy() {
      for (const { tidy } of [first, ...others.map(({ issuer }) => issuer)]) await tidy();
    },
    async issue(name, reason, signal) {
      try {
        return await first.issue(name, reason, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (!(await isTimeForOthers(name, error))) throw error;
        for (const { ca, issuer } of others) {
          log.warn({ event: "acme.fallback", name, ca, reason: errorText(error) }, "asking the next CA");
          try {
            return await issuer.issue(name, reason, signal);
          } catch (next) {
            signal.throwIfAborted();
            log.warn({ event: "acme.fallback.failed", name, ca, reason: errorText(next) }, "the next CA failed, too");
          }
        }
        throw error;
      }
    },
  };
}
