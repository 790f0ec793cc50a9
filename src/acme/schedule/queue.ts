/**
 * Which name is next?
 * Owns: the order among names, as pure functions: people, names that have nothing, the least time left.
 * Never: does anything about it (the scheduler does).
 */
import type { CertificateBundle } from "../../storage/bundles.ts";
import type { FailureRecord } from "./failures.ts";

export interface Queued {
  bundle: CertificateBundle | undefined;
  /** By its life or the CA's advice, ms since 1970; 0 without a certificate that fits. */
  dueAt: number;
  failure: FailureRecord | undefined;
  restUntil: number;
  waiting: readonly unknown[];
  /** When the CA is asked about the certificate again, ms since 1970. */
  askAt: number;
}

/** When it is due; after a failure not before its time. With thousands of names this is looked at all the time. */
export function nextTry({ dueAt, failure, restUntil }: Queued): number {
  return Math.max(dueAt, failure?.nextTry ?? 0, restUntil);
}

/** People first, then names that have nothing, in the order of the configuration, then the least time left. */
export function pickNext<T extends Queued>(entries: Iterable<T>, now: number): T | undefined {
  let first: T | undefined;
  for (const entry of entries) {
    if (entry.waiting.length > 0) return entry;
    if (first !== undefined && first.bundle === undefined) continue;
    if (nextTry(entry) > now) continue;
    if (first === undefined || left(entry) < left(first)) first = entry;
  }
  return first;
}

const left = ({ bundle }: Queued): number => bundle?.notAfter ?? Number.NEGATIVE_INFINITY;

/** Whose certificate the CA is to be asked about, some at a time: an order that comes due does not wait for all. */
export function pickToAsk<T extends Queued>(entries: Iterable<T>, now: number, most: number): T[] {
  const found: T[] = [];
  for (const entry of entries) {
    if (entry.bundle !== undefined && entry.askAt <= now) found.push(entry);
    if (found.length === most) break;
  }
  return found;
}

/** When is there something to do, ms since 1970? */
export function soonest(entries: Iterable<Queued>): number {
  let at = Number.POSITIVE_INFINITY;
  for (const entry of entries) {
    if (entry.waiting.length > 0) return 0;
    at = Math.min(at, nextTry(entry), entry.bundle === undefined ? at : entry.askAt);
  }
  return at;
}
