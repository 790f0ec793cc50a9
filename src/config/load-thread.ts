/**
 * The thread that reads a large configuration.
 * Owns: one load, told in pieces to whoever started it (load-apart).
 * Never: lives longer than that.
 */
import { parentPort, workerData } from "node:worker_threads";
import { errorText, isGatehouseError } from "../core/errors.ts";
import { ConfigInvalid } from "./findings.ts";
import { loadConfig } from "./load.ts";
import type { FromThread } from "./load-apart.ts";

/** Sites in one message: the other side takes a millisecond or two for them. */
const CHUNK = 200;

const say = (message: FromThread): void => parentPort?.postMessage(message, []);

try {
  const { file } = workerData as { file: string };
  const { config, ...facts } = await loadConfig(file, { env: process.env, quarantine: true });
  const { sites, ...rest } = config;
  let at = 0;
  parentPort?.on("message", () => {
    say({ kind: "sites", sites: sites.slice(at, at + CHUNK) });
    at += CHUNK;
  });
  say({ kind: "loaded", loaded: { ...facts, rest, sites: sites.length } });
} catch (error) {
  if (error instanceof ConfigInvalid) say({ kind: "refused", findings: error.findings });
  else {
    const { code, hint } = isGatehouseError(error) ? error : { code: "", hint: undefined };
    say({ kind: "failed", code, message: errorText(error), hint });
  }
}
