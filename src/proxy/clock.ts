/**
 * What time is it, roughly, and whose deadline has come?
 * Owns: one timer for the deadlines of all requests and idle connections.
 * Never: knows what is due.
 *
 * A timer per request lost: making, refreshing and clearing it cost 1 µs, and performance.now() at every packet the same
 * again. A deadline of seconds need not be exact to the millisecond: it comes up to two ticks late, never early.
 */

/** Milliseconds. */
const TICK_MS = 100;

export interface Swept {
  /** @param now  milliseconds of performance.now() */
  sweep(now: number): void;
  /** Nothing is due, ever, until it wakes the clock again. */
  readonly isQuiet: boolean;
}

export class CoarseClock {
  /** Never before the true time, at most one tick ahead of it. Only while something is awake. */
  now = 0;
  readonly #awake = new Set<Swept>();
  #timer: NodeJS.Timeout | undefined;

  wake(swept: Swept): void {
    if (this.#timer === undefined) {
      this.now = performance.now() + TICK_MS;
      this.#timer = setInterval(() => this.#tick(), TICK_MS);
      this.#timer.unref();
    }
    this.#awake.add(swept);
  }

  #tick(): void {
    const now = performance.now();
    this.now = now + TICK_MS;
    for (const swept of this.#awake) {
      swept.sweep(now);
      if (swept.isQuiet) this.#awake.delete(swept);
    }
    if (this.#awake.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
