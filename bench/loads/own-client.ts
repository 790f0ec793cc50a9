/**
 * Loads that h2load cannot make are small programs of our own: start one, read what it says.
 * Owns: handing over the task as JSON and reading one JSON line back.
 * Never: makes load in the bench's own process, which would be measured by its own clock.
 */
import { join } from "node:path";
import { runProgram } from "../../test/support/programs.ts";
import { pinned } from "../processes.ts";
import { type Amount, type Front, latencyOf, type LoadResult } from "./load.ts";

/** What a client program is told, in its first argument. */
export interface ClientTask<Options> {
  port: number;
  host: string;
  amount: Amount;
  options: Options;
}

/** What it says, as one line of JSON. */
export interface ClientReport {
  done: number;
  failed: number;
  seconds: number;
  bodyBytes: number;
  /** Milliseconds each. */
  times: number[];
}

const GRACE_MS = 60_000;

/** @param options what the program expects in its task */
export async function runClient(program: string, front: Front, amount: Amount, options: object): Promise<LoadResult> {
  const task: ClientTask<object> = { port: front.port, host: front.host, amount, options };
  const command = pinned(front.core, [process.execPath, join(import.meta.dirname, program), JSON.stringify(task)]);
  const [first = "", ...args] = command;
  const withinMs = GRACE_MS + ("seconds" in amount ? amount.seconds * 1000 : 0);
  const { code, stdout, stderr } = await runProgram(first, args, { withinMs });
  if (code !== 0) throw new Error(`${program} ended with ${code}: ${stderr.slice(-1000)}`);
  const { times, ...report } = JSON.parse(stdout) as ClientReport;
  return { ...report, latency: latencyOf(times) };
}
