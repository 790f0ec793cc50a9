/**
 * Gatehouse itself: the whole program with log and metrics on, and a configuration as a home has it.
 * Owns: its configuration, its state folder with the bench's certificate in it, its process.
 * Never: switches anything off that a home has on.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createBundleStore, type CertificateBundle } from "../../src/storage/bundles.ts";
import { createFileStorage } from "../../src/storage/files.ts";
import { cpuSecondsOf, start } from "../processes.ts";
import { type Ground, type Rival, type RunningRival, waitUntil } from "./rival.ts";

export interface GatehouseOptions {
  name: string;
  /** main.js of a built Gatehouse, or src/cli/main.ts. */
  entry: string;
  bundle: CertificateBundle;
  /** More sites in front of the same target; their certificates are in `state`. */
  sites?: readonly string[];
  /** Default: a folder of its own. */
  state?: string;
  /** Further lines of the configuration. */
  more?: string;
}

interface Ready {
  event?: string;
  version: string;
  https: { port: number }[];
}

export function gatehouse({ name, entry, bundle, sites = [], more = "", ...options }: GatehouseOptions): Rival {
  return {
    name,
    speaksH2: true,
    async start(ground) {
      const state = options.state ?? join(ground.folder, "state");
      await saveBundles(state, [bundle]);
      const configFile = join(ground.folder, "gatehouse.yaml");
      writeFileSync(configFile, configuration(ground, state, [ground.host, ...sites]) + more);
      return launch(name, entry, configFile, ground);
    },
  };
}

/** Marked as signed by the embedded CA, so that Gatehouse sees no reason to replace them. */
export async function saveBundles(state: string, bundles: readonly CertificateBundle[]): Promise<void> {
  const store = createBundleStore(await createFileStorage(state, { onWarning: () => {} }), () => {});
  await Promise.all(bundles.map((bundle) => store.save({ ...bundle, ca: "local" })));
}

async function launch(name: string, entry: string, configFile: string, ground: Ground): Promise<RunningRival> {
  const logFile = join(ground.folder, "access.log");
  const begun = performance.now();
  // As bin/gatehouse does.
  const command = [
    process.execPath,
    "--disable-warning=DEP0060",
    "--initial-old-space-size=64",
    "--max-semi-space-size=8",
    entry,
    "run",
    "--config",
    configFile,
  ];
  const child = start(command, {
    core: ground.core,
    stdoutFile: logFile,
    stderrFile: join(ground.folder, "error.log"),
  });
  const ready = await waitUntil(name, child, () => Promise.resolve(readyLine(logFile)));
  const [startMs, startCpuMs] = [performance.now() - begun, cpuSecondsOf(child.pid) * 1000];
  return {
    name,
    version: ready.version,
    pid: child.pid,
    httpsPort: ready.https[0]?.port ?? 0,
    logFile,
    startMs,
    startCpuMs,
    configFile,
    stop: child.stop,
  };
}

function readyLine(logFile: string): Ready | undefined {
  for (const line of readFileSync(logFile, "utf8").split("\n").slice(0, -1)) {
    if (!line.includes('"edge.ready"')) continue;
    return JSON.parse(line) as Ready;
  }
  return undefined;
}

function configuration({ folder, targetPort }: Ground, state: string, sites: readonly string[]): string {
  return `listen: { https: "127.0.0.1:0", http: "127.0.0.1:0" }
state: ${state}
admin: ${join(folder, "admin.sock")}
acme: { ca: local }
log: { access: true, format: json }
metrics: { listen: "127.0.0.1:0" }
limits:
  # All clients of the bench come from one address, and stay: the others' numbers are raised alike.
  connections: 4096
  connectionsPerNeighbour: 4096
  requestsPerConnection: 1000000
  idleTime: 5m
sites:
${sites.map((name) => `  ${name}: 127.0.0.1:${targetPort}\n`).join("")}`;
}
