/**
 * When do the requests and answers of one turn of the loop go out?
 * Owns: what waits for the end of the turn, while there are enough connections at work for that to be worth it.
 * Never: knows what is written.
 *
 * A write wakes the process at the other end, and on one's own machine that is a third of what it costs: a message to
 * another core. Written one by one, between reading and judging, each write finds it asleep again; written together, the
 * first wakes it and it is awake for the others.
 */

export interface Waiting {
  /** Once, before the loop polls again. */
  turnEnds(): void;
}

/** With fewer at work a turn holds one or two of them, and setImmediate costs more than it saves. */
const GATHER_FROM = 8;

export class Turn {
  /** Exchanges under way. */
  atWork = 0;
  #waiting: Waiting[] = [];
  #spare: Waiting[] = [];
  readonly #gatherFrom: number;
  readonly #ended: () => void;

  /** @param ended  called when all that waited has gone, and nothing waits yet for the next end */
  constructor(ended: () => void, gatherFrom = GATHER_FROM) {
    this.#ended = ended;
    this.#gatherFrom = gatherFrom;
  }

  /** @returns false: not worth it, do it now */
  wait(one: Waiting): boolean {
    if (this.atWork < this.#gatherFrom) return false;
    if (this.#waiting.push(one) === 1) setImmediate(this.#end);
    return true;
  }

  readonly #end = (): void => {
    const waiting = this.#waiting;
    this.#waiting = this.#spare;
    this.#spare = waiting;
    for (const one of waiting) one.turnEnds();
    waiting.length = 0;
    if (this.#waiting.length === 0) this.#ended();
  };
}
