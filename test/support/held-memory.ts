/**
 * What does a process of Node's hold, this one or another?
 * Owns: a collection, in another process asked of its inspector, and what is left after it.
 * Never: changes what the process does.
 *
 * What is resident without that is also what nobody has collected yet, and what malloc keeps of its busiest moment.
 */
import { once } from "node:events";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { WebSocket } from "ws";
import { eventually } from "./eventually.ts";

export interface HeldMemory {
  /** Bytes that are reachable in V8's heap. */
  heap: number;
  /** Bytes that are resident, whoever's they are. */
  rss: number;
}

/** What the process is started with. */
export const INSPECTED = { NODE_OPTIONS: "--inspect=127.0.0.1:0" };

export interface MemoryWitness {
  /** @throws when the process has ended */
  held(): Promise<HeldMemory>;
  close(): void;
}

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as (kind?: { type: "minor" }) => void;

/** Of this process, with the servers that a test has in it: what a target was sent is garbage until it is collected. */
export function memoryHeldHere(): NodeJS.MemoryUsage {
  // What the first frees is swept by the time the second begins.
  collect();
  collect();
  return process.memoryUsage();
}

/** Bytes of V8's heap in this process that are garbage, and that no collection of the young generation has found. */
export function garbageGrownOldHere(): number {
  // What survives twice is moved to the old generation.
  for (let round = 0; round < 3; round++) collect({ type: "minor" });
  const { heapUsed } = process.memoryUsage();
  return heapUsed - memoryHeldHere().heapUsed;
}

/** @param stderr  of the process; its inspector says there where it listens */
export async function watchMemory(stderr: () => string): Promise<MemoryWitness> {
  const address = (): string | undefined => /^Debugger listening on (ws:\S+)$/m.exec(stderr())?.[1];
  await eventually("an inspector that listens", () => address() !== undefined);
  const socket = new WebSocket(address() ?? "");
  const gone = new AbortController();
  socket.on("error", (error) => gone.abort(error));
  socket.on("close", () => gone.abort(new Error("the process or its inspector has ended")));
  await once(socket, "open", { signal: gone.signal });
  let lastId = 0;
  // One question at a time.
  const ask = async (method: string, params: object): Promise<unknown> => {
    const answer = once(socket, "message", { signal: gone.signal });
    socket.send(JSON.stringify({ id: ++lastId, method, params }));
    const [data] = (await answer) as [Buffer];
    const { id, result } = JSON.parse(data.toString()) as { id?: number; result?: unknown };
    if (id !== lastId || result === undefined) throw new Error(`to ${method}: ${data.toString()}`);
    return result;
  };
  const usage = { expression: "process.memoryUsage()", returnByValue: true };
  return {
    async held() {
      // Twice, as above.
      for (let times = 0; times < 2; times++) await ask("HeapProfiler.collectGarbage", {});
      const { result } = (await ask("Runtime.evaluate", usage)) as { result: { value: NodeJS.MemoryUsage } };
      return { heap: result.value.heapUsed, rss: result.value.rss };
    },
    close: () => socket.close(),
  };
}
