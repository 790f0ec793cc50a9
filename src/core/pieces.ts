/**
 * How is much done at once without keeping everybody else waiting?
 * Owns: the pause after each piece of a long list, or after some milliseconds of many steps; what is short is done in one go.
 * Never: knows what is done.
 */
import { setImmediate } from "node:timers/promises";

/** Of work that takes 5 µs each: a millisecond, as long as a handshake. */
const AT_ONCE = 200;

/**
 * Who reads meanwhile sees what is half done, so `act` fills something that nobody has yet.
 *
 * @param options.turn  lets the loop serve. Default: one turn of it
 * @throws what `act` throws; the rest is left undone
 */
export async function inPieces<T>(
  items: readonly T[],
  act: (item: T) => void,
  options: { atOnce?: number; turn?: () => Promise<unknown> } = {},
): Promise<void> {
  const { atOnce = AT_ONCE, turn = () => setImmediate() } = options;
  for (let at = 0; at < items.length; at += atOnce) {
    if (at > 0) await turn();
    for (const item of items.slice(at, at + atOnce)) act(item);
  }
}

/** Asked after each step: a promise when it is the others' turn. */
export type Pace = () => Promise<unknown> | undefined;

/** A request meets three or four turns of the loop on its way; each may wait for so long. */
const STEPS_FOR_MS = 1;

/** @param options.turn  lets the loop serve. Default: one turn of it */
export function createPace(options: { forMs?: number; turn?: () => Promise<unknown>; now?: () => number } = {}): Pace {
  const { forMs = STEPS_FOR_MS, turn = () => setImmediate(), now = () => performance.now() } = options;
  let began = now();
  return () => {
    if (now() - began < forMs) return undefined;
    return turn().then(() => {
      began = now();
    });
  };
}

/** Each `yield` is the end of a step. @throws what a step throws */
export async function atPace<T>(steps: Generator<void, T>, pace: Pace): Promise<T> {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    const rest = pace();
    if (rest !== undefined) await rest;
  }
}

/** The same steps, for those who keep nobody waiting. */
export function inOneGo<T>(steps: Generator<void, T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}
