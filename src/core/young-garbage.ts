/**
 * When is the memory of bodies that went through given back?
 * Owns: asking V8 for a collection of its young generation after so many bytes of body.
 * Never: keeps a byte.
 *
 * Each read of a TLS connection is a buffer outside V8's heap with a small young object in it. V8 sees the memory grow and
 * collects everything it has, every 64 MB: that was 45 % of the cost of an upload. The young generation alone, which is
 * where those objects are, takes a fraction of a millisecond (docs/performance.md). A young generation so small that this
 * comes by itself (2 MB) lost: small requests pay for it.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

export interface YoungGarbage {
  /** So many bytes of bodies were read into buffers of Node's. */
  grew(bytes: number): void;
}

/** A quarter of what makes V8 collect everything. */
const BYTES_BETWEEN = 16_777_216;

export function createYoungGarbage(): YoungGarbage {
  setFlagsFromString("--expose-gc");
  const found: unknown = runInNewContext("gc");
  const collect = typeof found === "function" ? (found as (options: { type: "minor" }) => void) : () => {};
  let bytesSince = 0;
  return {
    grew(bytes) {
      bytesSince += bytes;
      if (bytesSince < BYTES_BETWEEN) return;
      bytesSince = 0;
      collect({ type: "minor" });
    },
  };
}
