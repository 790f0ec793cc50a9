/**
 * What is a load, and what does it tell?
 * Owns: the shape of both, and percentiles.
 * Never: reads the clock of the proxy; cost is measured outside.
 */
export interface Front {
  port: number;
  /** For SNI and Host; connections go to 127.0.0.1. */
  host: string;
  /** A folder to write to. */
  folder: string;
  /** The core of whoever makes the load. */
  core: number | undefined;
}

/** For so long, or (in a smoke) so many and not more. */
export type Amount = { seconds: number } | { count: number };

export interface LoadResult {
  /** Requests, handshakes, messages: whatever the scenario counts. */
  done: number;
  failed: number;
  seconds: number;
  /** Of bodies, both directions. */
  bodyBytes: number;
  latency: Latency;
}

/** Milliseconds; 0 when nothing was done. */
export interface Latency {
  p50: number;
  p99: number;
  p999: number;
  max: number;
}

export type Load = (front: Front, amount: Amount) => Promise<LoadResult>;

/** @param ms sorted by this function */
export function latencyOf(ms: number[] | Float64Array): Latency {
  ms.sort((a, b) => a - b);
  const at = (share: number): number => ms[Math.min(ms.length - 1, Math.floor(ms.length * share))] ?? 0;
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: ms[ms.length - 1] ?? 0 };
}
