/**
 * What does the scheduler know of one name?
 * Owns: the record, and how it looks before anything is known.
 * Never: changes it.
 */
import type { Queued } from "./queue.ts";
import type { Advice } from "./renewal-info.ts";
import type { Waiting } from "./waiting.ts";

export interface Entry extends Queued {
  name: string;
  /** What storage knows was read last, ms since 1970; 0: never. */
  readAt: number;
  /** What the CA said of the certificate. */
  advice: Advice | undefined;
  heldBy: string | undefined;
  /** People waiting for `renewNow`. */
  waiting: Waiting[];
}

export function newEntry(name: string): Entry {
  return {
    name,
    readAt: 0,
    dueAt: 0,
    bundle: undefined,
    failure: undefined,
    restUntil: 0,
    heldBy: undefined,
    advice: undefined,
    askAt: Number.POSITIVE_INFINITY,
    waiting: [],
  };
}
