/**
 * `npm run fuzz`: the parsers against millions of inputs.
 * Owns: its command line, a thread per target with a watch on it, what it prints.
 * Never: decides what is a failure (see run).
 */
import { parseArgs } from "node:util";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { fuzz, inputOf, type FuzzResult } from "./run.ts";
import { targets } from "./targets.ts";

const HELP = `npm run fuzz
npm run fuzz -- --target chunk --executions 10000000 --seed 7

  --target NAME      one of ${targets.map(({ name }) => name).join(", ")}; all of them without it
  --executions N     inputs per target (2500000, so more than 20 million in all)
  --seed N           another seed, other inputs (1); a failure names seed and execution
  --from N           begin at this execution: with --executions 1 a failure is seen again
`;

/** Milliseconds without a sign of life: the slowest input takes far less than one. */
const HANG_MS = 20_000;

interface Job {
  target: string;
  seed: number;
  from: number;
  executions: number;
  /** One cell: which execution is at work. */
  progress: SharedArrayBuffer;
}

async function work(job: Job): Promise<void> {
  const target = targets.find(({ name }) => name === job.target);
  if (target === undefined) throw new Error(`no target ${job.target}`);
  const cell = new Int32Array(job.progress);
  const result = await fuzz(target, { ...job, onProgress: (execution) => Atomics.store(cell, 0, execution) });
  parentPort?.postMessage(result, []);
}

async function run(job: Job): Promise<FuzzResult | string> {
  const worker = new Worker(new URL(import.meta.url), { workerData: job });
  const cell = new Int32Array(job.progress);
  return await new Promise((resolve) => {
    let last = -1;
    const watch = setInterval(() => {
      const now = Atomics.load(cell, 0);
      if (now === last) finish(`hangs at execution ${now} or one of the 255 behind it`);
      last = now;
    }, HANG_MS);
    const finish = (outcome: FuzzResult | string): void => {
      clearInterval(watch);
      void worker.terminate();
      resolve(outcome);
    };
    worker.once("message", finish);
    worker.once("error", (error) => finish(`the thread died: ${error.message}`));
    worker.once("exit", () => finish("the thread ended without a result"));
  });
}

const readOptions = () =>
  parseArgs({
    options: {
      target: { type: "string" },
      executions: { type: "string", default: "2500000" },
      seed: { type: "string", default: "1" },
      from: { type: "string", default: "0" },
      help: { type: "boolean" },
    },
  }).values;

async function main(): Promise<number> {
  let values: ReturnType<typeof readOptions>;
  try {
    values = readOptions();
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`);
    return 64;
  }
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const [executions, seed, from] = [Number(values.executions), Number(values.seed), Number(values.from)];
  const chosen = targets.filter(({ name }) => values.target === undefined || name === values.target);
  if (chosen.length === 0 || ![executions, seed, from].every(Number.isSafeInteger)) {
    process.stderr.write(HELP);
    return 64;
  }
  let code = 0;
  for (const target of chosen) {
    const startedAt = performance.now();
    const result = await run({ target: target.name, seed, from, executions, progress: new SharedArrayBuffer(4) });
    const seconds = (performance.now() - startedAt) / 1_000;
    if (typeof result === "string") {
      console.log(`${target.name}: ${result}; --seed ${seed}`);
      code = 1;
      continue;
    }
    const { accepted, judgedSlowly, failure } = result;
    const rate = Math.round(result.executions / seconds);
    console.log(
      `${target.name}: ${result.executions} executions in ${seconds.toFixed(1)} s (${rate}/s), ${accepted} accepted, ${judgedSlowly} asked of a slow judge`,
    );
    if (failure === undefined) continue;
    code = 1;
    const again = `npm run fuzz -- --target ${target.name} --seed ${seed} --from ${failure.execution} --executions 1`;
    const text = JSON.stringify(inputOf(target, seed, failure.execution).toString("latin1").slice(0, 2_000));
    console.log(`  FAILED: ${failure.what}\n  input: ${text}\n  again: ${again}`);
  }
  return code;
}

if (isMainThread) process.exitCode = await main();
else await work(workerData as Job);
