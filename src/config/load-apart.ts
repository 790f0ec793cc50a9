/**
 * How is a large file read again while requests are being answered?
 * Owns: reading plain sites a few milliseconds at a time; any other file in a thread of its own, and taking its outcome over
 *   in pieces.
 * Never: knows what is in a file (load does).
 *
 * Ten thousand sites may take most of a second to parse and check; on the loop that serves, every request would wait for it.
 * A small file is read at once: the thread alone takes a tenth of a second to start, and what is read anew in it has to be
 * compiled anew. So plain sites, which can be read a site at a time, are cheaper here: a quarter of the processor's time.
 */
import { stat } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { ERROR_CODES, type ErrorCode, GatehouseError } from "../core/errors.ts";
import { createPace } from "../core/pieces.ts";
import { ConfigInvalid, type Finding } from "./findings.ts";
import { deepFreeze, loadAtPace, type LoadedConfig, loadConfig } from "./load.ts";
import type { SiteConfig } from "./model.ts";

export type Loaded = Omit<LoadedConfig, "config"> & { rest: Omit<LoadedConfig["config"], "sites">; sites: number };

/** What the thread says: the configuration without its sites, then a chunk of them for each "next" it is told. */
export type FromThread =
  | { kind: "loaded"; loaded: Loaded }
  | { kind: "sites"; sites: readonly SiteConfig[] }
  | { kind: "refused"; findings: readonly Finding[] }
  | { kind: "failed"; code: string; message: string; hint: string | undefined };

/** About 400 sites: 30 ms on the loop of a small machine. */
const SMALL_BYTES = 32_768;

/**
 * The same as `loadConfig` with quarantine.
 *
 * @param turn  lets the loop serve; waited for now and then
 * @throws what `loadConfig` throws
 */
export async function loadApart(
  file: string,
  env: NodeJS.ProcessEnv,
  turn: () => Promise<unknown> = () => setImmediate(),
): Promise<LoadedConfig> {
  const size = await stat(file).then(
    (found) => found.size,
    () => 0, // what is wrong with it is said by whoever opens it
  );
  const options = { env, quarantine: true };
  if (size <= SMALL_BYTES) return loadConfig(file, options);
  const plain = await loadAtPace(file, options, createPace({ turn }));
  if (plain !== undefined) return plain;
  const name = `./load-thread${import.meta.filename.endsWith(".ts") ? ".ts" : ".js"}`;
  const thread = new Worker(new URL(import.meta.resolve(name)), { workerData: { file }, env });
  try {
    return await take(thread, turn);
  } finally {
    await thread.terminate();
  }
}

async function take(thread: Worker, turn: () => Promise<unknown>): Promise<LoadedConfig> {
  let answer = Promise.withResolvers<FromThread>();
  thread.on("message", (message: FromThread) => answer.resolve(message));
  thread.on("error", (error) => answer.reject(error));
  thread.on("exit", () => answer.reject(new Error("the thread that reads the configuration ended")));
  const next = async (): Promise<FromThread> => {
    const message = await answer.promise;
    answer = Promise.withResolvers();
    answer.promise.catch(() => {});
    return message;
  };
  const first = await next();
  if (first.kind === "refused") throw new ConfigInvalid(first.findings);
  if (first.kind === "failed") throw failureOf(first);
  if (first.kind !== "loaded") throw new Error("the thread that reads the configuration is out of step");
  const { rest, sites: count, ...facts } = first.loaded;
  const sites: SiteConfig[] = [];
  while (sites.length < count) {
    thread.postMessage("next", []);
    const message = await next();
    if (message.kind !== "sites" || message.sites.length === 0) break;
    for (const site of message.sites) sites.push(deepFreeze(site));
    await turn();
  }
  return { ...facts, config: Object.freeze({ ...rest, sites: Object.freeze(sites) }) };
}

function failureOf({ code, message, hint }: Extract<FromThread, { kind: "failed" }>): Error {
  if (!(code in ERROR_CODES)) return new Error(message);
  return new GatehouseError(code as ErrorCode, { message, ...(hint === undefined ? {} : { hint }) });
}
