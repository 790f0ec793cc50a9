/**
 * What did one rival need for one load?
 * Owns: a round: warm up, load, CPU time before and after, memory; and the medians over rounds.
 * Never: compares.
 */
import { truncateSync } from "node:fs";
import type { Amount, Front, Latency } from "./loads/load.ts";
import { cpuSecondsOf, memoryOf } from "./processes.ts";
import type { RunningRival } from "./rivals/rival.ts";
import type { Scenario } from "./scenarios.ts";

export interface Round {
  /** CPU time of the proxy per unit of the scenario. */
  cost: number;
  perSecond: number;
  latencyMs: Latency;
  memoryBytes: number;
  /** CPU seconds over seconds: 1 is a whole core. */
  busy: number;
  done: number;
  failed: number;
}

/** Log lines and closes that come after the last answer belong to it. */
const SETTLE_MS = 100;

export interface Plan {
  measured: Amount;
  /** Not counted; the first round's is longer, since JIT compilers learn in it. */
  warmUp: Amount;
}

export async function measureRound(
  rival: RunningRival,
  scenario: Scenario,
  plan: Plan,
  front: Omit<Front, "port">,
): Promise<Round> {
  const at: Front = { ...front, port: rival.httpsPort };
  await scenario.load(at, plan.warmUp);
  await settle();
  const before = cpuSecondsOf(rival.pid);
  const result = await scenario.load(at, plan.measured);
  await settle();
  const cpuSeconds = cpuSecondsOf(rival.pid) - before;
  const memoryBytes = memoryOf(rival.pid);
  // Half a million lines a round would fill the disk.
  truncateSync(rival.logFile);
  if (result.done === 0) throw new Error(`${rival.name} did nothing of ${scenario.name}`);
  return {
    cost: (cpuSeconds * scenario.unit.perSecond) / scenario.unit.of(result),
    perSecond: result.done / result.seconds,
    latencyMs: result.latency,
    memoryBytes,
    busy: cpuSeconds / result.seconds,
    done: result.done,
    failed: result.failed,
  };
}

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, SETTLE_MS));

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
  };
}
