/**
 * Who clears away what a crash left on the disk?
 * Owns: the companion that looks once, behind the start, without haste.
 * Never: keeps the start waiting: with ten thousand names the look takes a second of the processor.
 */
import { sweepLeftovers } from "../storage/leftovers.ts";
import type { Companion } from "./companion.ts";

export function createTidying(): Companion {
  const stopping = new AbortController();
  let isBegun = false;
  return {
    name: "tidying",
    apply({ state }) {
      if (isBegun) return; // another state folder takes effect at the next start
      isBegun = true;
      void sweepLeftovers(state, { signal: stopping.signal });
    },
    stop: () => stopping.abort(),
  };
}
