/**
 * Which processes did we start, what have they cost, and are they gone?
 * Owns: starting pinned child processes, CPU time and memory of a process with all below it, ending them.
 * Never: touches a process that it did not start.
 */
import { spawn } from "node:child_process";
import { openSync, closeSync, readdirSync, readFileSync } from "node:fs";
import { hasProgram } from "../test/support/programs.ts";

export interface StartOptions {
  /** Pin to this core; undefined leaves it to the kernel. */
  core: number | undefined;
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** Standard output and error are appended to these; without, both go nowhere. */
  stdoutFile?: string;
  stderrFile?: string;
}

export interface Started {
  pid: number;
  /** What it wrote to its error file, the end of it. */
  complaint(): string;
  /** Resolves with the exit code, or null after a signal. */
  exited: Promise<number | null>;
  /** SIGTERM, and SIGKILL to the whole tree after two seconds. Idempotent. */
  stop(): Promise<void>;
}

/** Linux counts CPU time for user space in hundredths of a second, on every architecture (USER_HZ). */
const TICKS_PER_SECOND = 100;
const END_WITHIN_MS = 2_000;

/** The words that pin a command to a core, where there is taskset (util-linux). */
export function pinned(core: number | undefined, command: readonly string[]): string[] {
  return core === undefined || !hasProgram("taskset") ? [...command] : ["taskset", "-c", String(core), ...command];
}

export function start(command: readonly string[], options: StartOptions): Started {
  const [program = "", ...args] = pinned(options.core, command);
  const files = [options.stdoutFile, options.stderrFile].map((file) =>
    file === undefined ? undefined : openSync(file, "a"),
  );
  const child = spawn(program, args, {
    env: options.env ?? process.env,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdio: ["ignore", files[0] ?? "ignore", files[1] ?? "ignore"],
  });
  for (const fd of files) if (fd !== undefined) closeSync(fd);
  const exited = new Promise<number | null>((resolve) => {
    child.on("error", () => resolve(null));
    child.on("exit", (code) => resolve(code));
  });
  const pid = child.pid ?? 0;
  return {
    pid,
    exited,
    complaint: () => (options.stderrFile === undefined ? "" : readFileSync(options.stderrFile, "utf8").slice(-2_000)),
    async stop() {
      const all = [pid, ...descendantsOf(pid)];
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
      const late = setTimeout(() => kill(all), END_WITHIN_MS);
      await exited;
      clearTimeout(late);
    },
  };
}

/** For the last moment: nothing of ours outlives us, the load included. */
export function killEverything(): void {
  kill(descendantsOf(process.pid));
}

function kill(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      if (pid > 1) process.kill(pid, "SIGKILL");
    } catch {
      // gone already
    }
  }
}

/** Fields of /proc/PID/stat from the third on; the second is a name in brackets that may hold anything. */
function statOf(pid: number | string): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined; // it ended between two looks
  }
}

function descendantsOf(pid: number): number[] {
  const childrenOf = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const parent = Number(statOf(name)?.[1] ?? 0);
    childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), Number(name)]);
  }
  const found: number[] = [];
  const look = (one: number): void => {
    for (const child of childrenOf.get(one) ?? []) {
      found.push(child);
      look(child);
    }
  };
  look(pid);
  return found;
}

/** Seconds of CPU, user and system, of a process and all below it, the ended ones it waited for included. */
export function cpuSecondsOf(pid: number): number {
  let ticks = 0;
  for (const one of [pid, ...descendantsOf(pid)]) {
    const fields = statOf(one);
    // proc(5): 14 utime, 15 stime, 16 cutime, 17 cstime; our list begins at the third.
    for (const index of [11, 12, 13, 14]) ticks += Number(fields?.[index] ?? 0);
  }
  return ticks / TICKS_PER_SECOND;
}

/** The same by process, for those that are there now. */
export function cpuSecondsOfEach(pid: number): Map<number, number> {
  const result = new Map<number, number>();
  for (const one of [pid, ...descendantsOf(pid)]) {
    const fields = statOf(one);
    if (fields !== undefined) result.set(one, (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND);
  }
  return result;
}

/** Bytes in memory of a process and all below it; pages they share are counted once (PSS, or RSS where that is shut). */
export function memoryOf(pid: number): number {
  let bytes = 0;
  for (const one of [pid, ...descendantsOf(pid)]) {
    bytes +=
      kilobytes(`/proc/${one}/smaps_rollup`, /^Pss:\s+(\d+) kB/m) ??
      kilobytes(`/proc/${one}/status`, /^VmRSS:\s+(\d+) kB/m) ??
      0;
  }
  return bytes;
}

function kilobytes(file: string, line: RegExp): number | undefined {
  try {
    const found = line.exec(readFileSync(file, "utf8"))?.[1];
    return found === undefined ? undefined : Number(found) * 1024;
  } catch {
    return undefined;
  }
}
