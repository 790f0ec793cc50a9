/**
 * Has this connection sent these very fields before?
 * Owns: the field section of the last head of one connection, as it came, and what was read in it.
 * Never: remembers a request line, or decides anything: what depends on more than the fields is worked out anew.
 *
 * Browsers, apps and scrapers repeat their fields from request to request; only the path changes. Comparing a kilobyte is
 * one call, reading it by the letter is a twelfth of a small request.
 */
import type { HeadLimits } from "../check-request.ts";

/** What a section says. */
export interface ReadFields {
  /** Latin1, names in lower case. */
  section: string;
  /** The lines that the target sees. */
  passed: string;
  authority: string;
  userAgent: string | undefined;
  /** As written; "" when it is not said. */
  length: string;
  isChunked: boolean;
  isLast: boolean;
}

/** A section is kept up to here (bytes): cookies of single sign-on come to three kilobytes. */
const MAX_BYTES = 4_096;
/** Connections whose fields differ each time are not helped, and need not pay for the copies. */
const MAX_MISSES = 4;
/** A connection that waits holds no memory for this, and no cookies. */
const KEPT_MS = 2_000;

export class HeadMemory {
  #usedAt = 0;
  #bytes: Buffer | undefined;
  #fields: ReadFields | undefined;
  #limits: HeadLimits | undefined;
  #misses = 0;

  /** @returns what the section at `at` says, when it is the known one, read under the same limits */
  find(bytes: Buffer, at: number, limits: HeadLimits): ReadFields | undefined {
    const known = this.#bytes;
    if (known === undefined || limits !== this.#limits || bytes.length - at < known.length) return undefined;
    if (known.compare(bytes, at, at + known.length) !== 0) return undefined;
    this.#misses = 0;
    return this.#fields;
  }

  /** @param now  of the same clock as `fade` */
  use(now: number): void {
    this.#usedAt = now;
  }

  /** Bytes of the known section. */
  get length(): number {
    return this.#bytes?.length ?? 0;
  }

  /** A copy of what comes now, before it is read; undefined where that would be of no use. */
  copy(bytes: Buffer, at: number): Buffer | undefined {
    if (this.#misses >= MAX_MISSES || bytes.length - at > MAX_BYTES) return undefined;
    this.#misses++;
    return Buffer.from(bytes.subarray(at));
  }

  keep(bytes: Buffer, fields: ReadFields, limits: HeadLimits): void {
    this.#bytes = bytes;
    this.#fields = fields;
    this.#limits = limits;
  }

  /** @param now  milliseconds, of any clock; called now and then */
  fade(now: number): void {
    if (this.#bytes === undefined || now - this.#usedAt < KEPT_MS) return;
    this.#bytes = undefined;
    this.#fields = undefined;
  }
}
