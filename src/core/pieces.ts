/**
 * How is much done at once without keeping everybody else waiting?
 * Owns: the pause after each piece of a long list; a short one is done in one go.
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
