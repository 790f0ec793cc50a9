/**
 * How does a program run on a host of the small internet?
 * Owns: starting one in a namespace, waiting until it says that it is ready, ending it by its pid.
 * Never: knows what the program is for.
 */
import { type ChildProcess, spawn } from "node:child_process";

export interface LabProgram {
  pid: number;
  /** Standard output and error, the last 200 kB. */
  log(): string;
  /** Resolves once that has been written. @throws after `withinMs`, or when it ends before */
  wrote(pattern: RegExp, withinMs: number): Promise<void>;
  /** For programs that were started with `talk`. */
  say(message: object): void;
  hear(listener: (message: unknown) => void): void;
  /** Idempotent. */
  stop(): Promise<void>;
}

export interface ProgramOptions {
  /** What it writes once it can be used; without one it counts as ready at once. */
  ready?: RegExp;
  env?: NodeJS.ProcessEnv;
  /** A Node program that speaks over process.send. */
  talk?: boolean;
}

const MAX_LOG = 200_000;
/** A quiet machine needs one or two; one that does twenty other things has needed 30. */
const READY_WITHIN_MS = 120_000;

/** @param namespace  `ip netns exec` becomes the program, so the pid is the program's. */
export function startProgram(
  namespace: string,
  program: string,
  args: readonly string[],
  { ready, env = process.env, talk = false }: ProgramOptions,
): Promise<LabProgram> {
  return new Promise((resolve, reject) => {
    const stdio = ["ignore", "pipe", "pipe", ...(talk ? ["ipc" as const] : [])] as const;
    const child: ChildProcess = spawn("ip", ["netns", "exec", namespace, program, ...args], { env, stdio: [...stdio] });
    const gone = new Promise<void>((done) => child.once("close", () => done()));
    let log = "";
    const listeners = new Set<(message: unknown) => void>();
    const readers = new Set<() => void>();
    const handle: LabProgram = {
      pid: child.pid ?? 0,
      log: () => log,
      wrote: (pattern, withinMs) =>
        new Promise((done, failed) => {
          const fail = (why: string): void => {
            stopReading();
            failed(new Error(`${program} ${why}: ${pattern}\n${log}`));
          };
          const late = setTimeout(() => fail(`did not write it within ${withinMs} ms`), withinMs);
          const look = (): void => {
            if (!pattern.test(log)) return;
            stopReading();
            done();
          };
          const stopReading = (): void => {
            clearTimeout(late);
            readers.delete(look);
          };
          readers.add(look);
          look();
          void gone.then(() => {
            if (readers.has(look)) fail("ended before it wrote it");
          });
        }),
      say: (message) => void child.send(message),
      hear: (listener) => listeners.add(listener),
      async stop() {
        if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
        await gone;
      },
    };
    const late = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`${program} was not ready within ${READY_WITHIN_MS} ms:\n${log}`));
    }, READY_WITHIN_MS);
    const isReady = (): void => {
      clearTimeout(late);
      resolve(handle);
    };
    const note = (chunk: Buffer): void => {
      log = (log + chunk.toString()).slice(-MAX_LOG);
      if (ready?.test(log) === true) isReady();
      for (const look of readers) look();
    };
    child.stdout?.on("data", note);
    child.stderr?.on("data", note);
    child.on("message", (message) => {
      for (const listener of listeners) listener(message);
    });
    child.on("error", (error) => {
      clearTimeout(late);
      reject(error);
    });
    child.once("exit", (code, signal) => {
      clearTimeout(late);
      reject(new Error(`${program} ended with ${code ?? signal}:\n${log}`));
    });
    if (ready === undefined) child.once("spawn", isReady);
  });
}
