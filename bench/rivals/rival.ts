/**
 * What is a rival, and what does each one get to stand on?
 * Owns: the terms that are the same for all of them: certificate, target, core, log file.
 * Never: prefers one.
 */
import { createConnection } from "node:net";
import { runProgram } from "../../test/support/programs.ts";
import type { Started } from "../processes.ts";

export interface Ground {
  /** A folder of the rival's own. */
  folder: string;
  host: string;
  certificate: { keyFile: string; chainFile: string; bothFile: string };
  targetPort: number;
  /** The core of the rival; undefined leaves it to the kernel. */
  core: number | undefined;
  /** How many processes may serve. */
  workers: number;
}

export interface RunningRival {
  name: string;
  version: string;
  pid: number;
  httpsPort: number;
  /** Grows by a line per request; the bench empties it between rounds. */
  logFile: string;
  /** Gatehouse's alone: from the start of the process until it is ready, and its configuration. */
  startMs?: number;
  /** CPU time of that. */
  startCpuMs?: number;
  configFile?: string;
  stop(): Promise<void>;
}

export interface Rival {
  name: string;
  /** Program and Debian package it comes with; undefined when Node is all it needs. */
  needs?: { program: string; debianPackage: string };
  speaksH2: boolean;
  start(ground: Ground): Promise<RunningRival>;
}

const READY_WITHIN_MS = 60_000;
const LOOK_EVERY_MS = 20;

export { freePort } from "../../test/support/ports.ts";

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks again until there is an answer. @throws when the process ends first, or after a minute */
export async function waitUntil<T>(what: string, started: Started, look: () => Promise<T | undefined>): Promise<T> {
  let hasEnded = false;
  void started.exited.then(() => (hasEnded = true));
  const deadline = performance.now() + READY_WITHIN_MS;
  while (performance.now() < deadline) {
    const found = await look();
    if (found !== undefined) return found;
    if (hasEnded) throw new Error(`${what} ended before it was ready: ${started.complaint()}`);
    await pause(LOOK_EVERY_MS);
  }
  throw new Error(`${what} was not ready within a minute: ${started.complaint()}`);
}

export function isListening(port: number): Promise<true | undefined> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: "127.0.0.1", port });
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(undefined));
  });
}

/** The first thing that looks like a version in what a program says of itself. */
export async function versionOf(program: string, args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await runProgram(program, args, { withinMs: 10_000 });
  return /\d+\.\d+(\.\d+)?/.exec(`${stdout}\n${stderr}`)?.[0] ?? "unknown";
}
