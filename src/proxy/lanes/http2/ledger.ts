/**
 * Is this HTTP/2 connection still worth having?
 * Owns: how often its client changed its mind, and what it sends beside requests.
 * Never: closes anything.
 */
import type { LimitsConfig } from "../../../config/model.ts";

const WINDOW_MS = 10_000;
/** What a request or a piece of a body may have around it: frame heads, and a window update or two. */
const AROUND = 64;
/**
 * A reader opens its window again when half of it is used: two updates of 13 bytes for 32 KiB, or with the eager Go
 * client for 4 KiB. So one byte in this many that we sent may come back as an update.
 */
const SENT_PER_UPDATE_BYTE = 64;

export class Ledger {
  /** Bytes, whatever they were. */
  received = 0;
  readonly #limits: LimitsConfig["h2"];
  #earned = 0;
  /** What came without being worth it, less what may. */
  #surplus = 0;
  #balance = 0;
  #lookedAt: number;
  #resets = 0;
  #windowEndsAt = 0;

  /** @param now  on the clock that all of these are told by */
  constructor(limits: LimitsConfig["h2"], now: number) {
    this.#limits = limits;
    this.#lookedAt = now;
  }

  /** So many bytes of what came were a request or a piece of a body, and paid for their frame. */
  earned(bytes: number): void {
    this.#earned += bytes + AROUND;
  }

  /** A photo page scrolled fast resets some tens of streams in a second. @returns whether it is too much */
  wasted(now: number): boolean {
    if (now >= this.#windowEndsAt) {
      this.#windowEndsAt = now + WINDOW_MS;
      this.#resets = 0;
    }
    return ++this.#resets >= this.#limits.resets;
  }

  /**
   * PING, SETTINGS, PRIORITY, WINDOW_UPDATE, padding, unknown frames, heads that were never a request: whatever it is, it
   * came as bytes that nothing was earned for. A limit for each kind of frame lost: there is always one more kind.
   */
  isOverdrawn(now: number, sent: number): boolean {
    const balance = this.received - this.#earned - sent / SENT_PER_UPDATE_BYTE;
    const allowed = ((now - this.#lookedAt) / WINDOW_MS) * this.#limits.overhead;
    this.#surplus = Math.max(0, this.#surplus + balance - this.#balance - allowed);
    this.#balance = balance;
    this.#lookedAt = now;
    return this.#surplus > this.#limits.overhead;
  }
}
