/**
 * What did one rival need for one load?
 * Owns: a round: warm up, load, CPU time before and after, memory; and the medians over rounds.
 * Never: compares.
 */
import type { Front, Latency, Load, LoadResult } from "./loads/load.ts";
import { cpuSecondsOf, memoryOf } from "./processes.ts";
import type { RunningRival } from "./rivals/rival.ts";

export interface Round {
  /** In the scenario's unit; nearly always CPU time of the proxy per something. */
  cost: number;
  perSecond: number;
  latencyMs: Latency;
  memoryBytes: number;
  /** CPU seconds over seconds: 1 is a whole core. */
  busy: number;
  done: number;
  failed: number;
  /** What only this scenario tells, by a name that carries its unit. */
  facts: Record<string, number>;
}

/** What a round is measured on. */
export interface At {
  rival: RunningRival;
  front: Front;
  /** undefined in a smoke: then so many of everything as the scenario says. */
  seconds: number | undefined;
  /** JIT compilers learn in the first one. */
  isFirstRound: boolean;
}

export type Measure = (at: At) => Promise<Round>;

/** What CPU time is divided by. */
export interface Unit {
  /** 1e6 for µs. */
  perSecond: number;
  of(result: LoadResult): number;
}

export const EACH: Unit = { perSecond: 1e6, of: (result) => result.done };

/** Log lines and closes that come after the last answer belong to it. */
const SETTLE_MS = 100;
/** Not counted. The first is longer for the compilers, the others are for caches and connections. */
const WARM_UP_SECONDS = { first: 3, later: 1 };

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** @param smokeCount how much of it a smoke does */
export function costOf(load: Load, unit: Unit, smokeCount: number): Measure {
  return async ({ rival, front, seconds, isFirstRound }) => {
    const warmUp = isFirstRound ? WARM_UP_SECONDS.first : WARM_UP_SECONDS.later;
    // A smoke asks whether it works: compilers and caches may stay cold.
    if (seconds !== undefined) {
      await load(front, { seconds: warmUp });
      await pause(SETTLE_MS);
    }
    const before = cpuSecondsOf(rival.pid);
    const result = await load(front, seconds === undefined ? { count: smokeCount } : { seconds });
    await pause(SETTLE_MS);
    const cpuSeconds = cpuSecondsOf(rival.pid) - before;
    if (result.done === 0) throw new Error(`${rival.name} did nothing`);
    return {
      cost: (cpuSeconds * unit.perSecond) / unit.of(result),
      perSecond: result.done / result.seconds,
      latencyMs: result.latency,
      memoryBytes: memoryOf(rival.pid),
      busy: cpuSeconds / result.seconds,
      done: result.done,
      failed: result.failed,
      facts: {},
    };
  };
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

/** Each figure's own median; `done` and `failed` are sums. */
export function medianOf(rounds: readonly Round[]): Round {
  const of = (read: (round: Round) => number): number => median(rounds.map(read));
  const sum = (read: (round: Round) => number): number => rounds.reduce((total, round) => total + read(round), 0);
  return {
    cost: of((round) => round.cost),
    perSecond: of((round) => round.perSecond),
    latencyMs: {
      p50: of((round) => round.latencyMs.p50),
      p99: of((round) => round.latencyMs.p99),
      p999: of((round) => round.latencyMs.p999),
      max: of((round) => round.latencyMs.max),
    },
    memoryBytes: of((round) => round.memoryBytes),
    busy: of((round) => round.busy),
    done: sum((round) => round.done),
    failed: sum((round) => round.failed),
    facts: Object.fromEntries(
      Object.keys(rounds[0]?.facts ?? {}).map((name) => [name, of((round) => round.facts[name] ?? 0)]),
    ),
  };
}
