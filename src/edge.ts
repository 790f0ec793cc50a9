/**
 * How do the rooms make one edge?
 * Owns: building the two halves, keeping and serving, and the companions from one checked configuration; joining them.
 * Never: decides anything that a room could decide.
 */
import { fileURLToPath } from "node:url";
import { type Addresses, NO_DEVICES, type Serving } from "./cluster/contract.ts";
import { countWorkers } from "./cluster/count.ts";
import { createWorkers } from "./cluster/workers.ts";
import type { Config } from "./config/model.ts";
import { localRootFile } from "./issuing.ts";
import { createCheckups } from "./keeping/checkups.ts";
import type { Companion } from "./keeping/companion.ts";
import { createDdnsKeeping } from "./keeping/ddns.ts";
import { createHomeAddressKeeping } from "./keeping/home-address.ts";
import { createKeeping } from "./keeping/keeping.ts";
import { createPorts } from "./keeping/ports.ts";
import { createRouterKeeping } from "./keeping/router.ts";
import { createTidying } from "./keeping/tidying.ts";
import { createWayIn } from "./keeping/way-in.ts";
import { linesDropped, type Logger } from "./observe/log.ts";
import { systemClock } from "./core/time.ts";
import { createMetrics } from "./observe/metrics.ts";
import { createNotifier } from "./observe/notify.ts";
import { createServing } from "./serving.ts";
import { createFallback } from "./tls/fallback.ts";
import { createTicketKeys } from "./tls/tickets.ts";

export interface EdgeOptions {
  log: Logger;
  version: string;
  /** Reads the file again. @throws GATEHOUSE_CONFIG_INVALID */
  load(): Promise<Config>;
}

export interface Edge {
  /** What is really listened on (port 0 resolved). */
  addresses(): Addresses;
  /** PEM file of the embedded CA's root, when that is who signs. */
  localRootFile(): string | undefined;
  siteNames(): string[];
  /** Build the new beside the old, then swap. One at a time. @throws what made it keep the old */
  reload(reason: string): Promise<void>;
  drain(options: { withinMs: number }): Promise<void>;
  /** Everything goes now; for the second signal. */
  destroy(): void;
}

/** Beside this file, from source as from dist/. */
const WORKER = fileURLToPath(import.meta.resolve(`./worker${import.meta.filename.endsWith(".ts") ? ".ts" : ".js"}`));

/** @throws GATEHOUSE_ALREADY_RUNNING, GATEHOUSE_PORT_*, GATEHOUSE_STORAGE_FAILED; nothing is left open then */
export async function startEdge(first: Config, { log, version, load }: EdgeOptions): Promise<Edge> {
  const metrics = createMetrics({ version, linesDropped: () => linesDropped(log) });
  // Rooms that run beside the serving come here, in the order in which they should hear of a configuration.
  const ports = createPorts({ log, bundle: (name) => keeping.bundle(name) });
  metrics.watchPorts(() => ports.report());
  const notifier = createNotifier({ log, clock: systemClock, onSent: metrics.messageSent });
  const router = createRouterKeeping({ log, metrics, addresses: () => serving.addresses() });
  const ddns = createDdnsKeeping({ log, metrics, routerAddress: () => router.externalAddress(), alerts: notifier });
  const checkups = createCheckups({ log });
  const companions: Companion[] = [
    ports,
    router.companion,
    ddns.companion,
    createHomeAddressKeeping(log),
    checkups.companion,
    createTidying(),
  ];
  const wayIn = createWayIn({ isOpening: router.isOpening, isNaming: ddns.isNaming, log });
  const keeping = await createKeeping(first, {
    log,
    version,
    load,
    metrics,
    companions,
    wayIn,
    notifier,
    actions: { forwards: async () => ports.report(), ...router.actions, ...ddns.actions, ...checkups.actions },
  });
  const tickets = createTicketKeys({ onRotate: (keys) => serving.setTicketKeys(keys) });
  const fallback = await createFallback();
  const beginning = { version, log: first.log, ticketKeys: tickets.current(), fallback, devices: NO_DEVICES };
  const serving: Serving =
    countWorkers(first) === 1
      ? createServing(first, { keeper: keeping, ticketKeys: tickets.current(), fallback, log, metrics })
      : createWorkers({
          program: WORKER,
          count: countWorkers,
          keeper: keeping,
          beginning,
          log,
          metrics,
          clock: systemClock,
        });
  try {
    await keeping.start(serving);
  } catch (error) {
    tickets.stop();
    throw error;
  }
  return {
    addresses: () => serving.addresses(),
    localRootFile: () => localRootFile(keeping.config()),
    siteNames: () => keeping.config().sites.map(({ name }) => name),
    reload: (reason) => keeping.reload(reason),
    async drain({ withinMs }) {
      await keeping.drain(() => serving.drain({ withinMs }));
      tickets.stop();
    },
    destroy: () => serving.destroy(),
  };
}
