/**
 * What does an open connection cost that nobody uses?
 * Owns: opening them, waiting until the proxy has calmed down, memory before and after.
 * Never: measures a process that has served before: memory that it kept from then would be taken for nothing.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Front } from "./loads/load.ts";
import { type Measure, pause } from "./measure.ts";
import { cpuSecondsOf, memoryOf, pinned } from "./processes.ts";

export interface IdleTask {
  port: number;
  host: string;
  connections: number;
}

/**
 * Garbage of the handshakes goes meanwhile, where a collector has to come by. V8 gives the 32 MB of its grown young
 * generation back after eight to ten quiet seconds; after four it was chance whether they were counted as the connections'.
 */
const CALM_MS = 20_000;
const SMOKE = { connections: 50, calmMs: 50 };
const OPEN_WITHIN_MS = 120_000;

/** Cost: KB per connection that did one request and then stayed. For a rival started for this round. */
export function idleMemory(wanted: number): Measure {
  return async ({ rival, front, seconds }) => {
    const connections = seconds === undefined ? SMOKE.connections : wanted;
    const calmMs = seconds === undefined ? SMOKE.calmMs : CALM_MS;
    // Code that is loaded at the first request is not the connections'.
    await (await hold(front, Math.ceil(connections / 20))).release();
    await pause(calmMs);
    const memoryBefore = memoryOf(rival.pid);
    const cpuBefore = cpuSecondsOf(rival.pid);
    const begun = performance.now();
    const held = await hold(front, connections);
    const openedMs = performance.now() - begun;
    await pause(calmMs);
    const memoryBytes = memoryOf(rival.pid);
    const cpuSeconds = cpuSecondsOf(rival.pid) - cpuBefore;
    const alive = await held.release();
    const each = openedMs / connections;
    return {
      cost: Math.max(0, memoryBytes - memoryBefore) / 1000 / connections,
      perSecond: 1000 / each,
      latencyMs: { p50: each, p99: each, p999: each, max: each },
      memoryBytes,
      busy: cpuSeconds / ((openedMs + calmMs) / 1000),
      done: alive,
      failed: connections - alive,
      facts: {},
    };
  };
}

/** Resolves when all are open; `release` tells how many still were. */
async function hold(front: Front, connections: number): Promise<{ release(): Promise<number> }> {
  const task: IdleTask = { port: front.port, host: front.host, connections };
  const program = join(import.meta.dirname, "loads/idle-client.ts");
  const [first = "", ...args] = pinned(front.core, [process.execPath, program, JSON.stringify(task)]);
  const child = spawn(first, args, { stdio: ["pipe", "pipe", "inherit"], timeout: OPEN_WITHIN_MS });
  child.stdin.on("error", () => {});
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const number = async (): Promise<number> => {
    const next = await lines.next();
    if (next.done === true) throw new Error("the connections could not be opened");
    return Number(next.value);
  };
  await number();
  return {
    async release() {
      child.stdin.end();
      return number();
    },
  };
}
