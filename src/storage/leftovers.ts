/**
 * What did a crash leave in the state folder?
 * Owns: finding temporary files that nobody writes any more, and removing them.
 * Never: touches a key, or a file of somebody else.
 */
import { lstat, unlink } from "node:fs/promises";
import { resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { type Clock, systemClock } from "../core/time.ts";
import { MAX_KEY_PARTS, isKeyPart } from "./key-grammar.ts";
import { walk } from "./walk.ts";

/** Dot names cannot be keys (key-grammar.ts), so nobody reads or lists these. */
export const TEMPORARY = ".tmp-";
export const LOCKS = ".locks";

/** A write takes milliseconds; what is older than this was left by a crash and not by a second process at work. */
const LEFTOVER_AFTER_MS = 600_000;

/** Folders between two pauses: of the 30,000 of ten thousand names, that is five seconds in which requests come first. */
const FOLDERS_AT_ONCE = 60;
const PAUSE_MS = 10;

/**
 * Best effort: a leftover does no harm but lie there, and an unwritable folder is told by `probe` and `write`.
 *
 * @param options.signal  given, it is done without haste, and ends when told to
 */
export async function sweepLeftovers(
  folder: string,
  options: { clock?: Clock; signal?: AbortSignal } = {},
): Promise<void> {
  const { clock = systemClock, signal } = options;
  const leftovers: string[] = [];
  let folders = 0;
  const rest = (): Promise<void> | undefined =>
    signal !== undefined && ++folders % FOLDERS_AT_ONCE === 0
      ? pause(PAUSE_MS, undefined, { signal, ref: false })
      : undefined;
  await walk(resolve(folder), {
    depth: MAX_KEY_PARTS + 1,
    isWanted: (name) => isKeyPart(name) || name === LOCKS || name.startsWith(TEMPORARY),
    onFile(path, name) {
      if (name.startsWith(TEMPORARY)) leftovers.push(path);
    },
    rest,
  }).catch(() => {});
  for (const path of leftovers) {
    const found = await lstat(path).catch(() => undefined);
    if (found !== undefined && clock.now() - found.mtimeMs > LEFTOVER_AFTER_MS) await unlink(path).catch(() => {});
  }
}
