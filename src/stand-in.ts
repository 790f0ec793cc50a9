/**
 * Who looks after certificates when no Gatehouse runs?
 * Owns: a keeping half for one command: it answers the same questions on the same socket, and orders nothing unasked.
 * Never: has companions (a router's ports and a home's address belong to the one that stays), and serves no longer than
 *   the command lasts.
 */
import { systemClock } from "./core/time.ts";
import type { Config } from "./config/model.ts";
import { GatehouseError } from "./core/errors.ts";
import { createKeeping } from "./keeping/keeping.ts";
import type { Logger } from "./observe/log.ts";
import { createMetrics } from "./observe/metrics.ts";
import { createNotifier } from "./observe/notify.ts";
import { createServing } from "./serving.ts";
import { createFallback } from "./tls/fallback.ts";
import { createTicketKeys } from "./tls/tickets.ts";

export interface StandIn {
  close(): Promise<void>;
}

/**
 * @param options.canOrder  open the listeners, so that a CA can look; else only what is stored can be read and changed
 * @throws GATEHOUSE_ALREADY_RUNNING, GATEHOUSE_PORT_*, GATEHOUSE_STORAGE_FAILED; nothing is left open then
 */
export async function startStandIn(
  config: Config,
  { log, version, canOrder }: { log: Logger; version: string; canOrder: boolean },
): Promise<StandIn> {
  const { acme } = config;
  const needsListeners = canOrder && acme.directoryUrl !== undefined && acme.challenge !== "dns-01";
  const alone: Config = {
    ...config,
    workers: 1,
    metrics: undefined,
    log: { ...config.log, access: false, level: "error" },
    listen: needsListeners ? config.listen : { https: [], http: [] },
  };
  const metrics = createMetrics({ version });
  const notifier = createNotifier({ log, clock: systemClock });
  const keeping = await createKeeping(alone, {
    log,
    version,
    load: () => Promise.resolve(alone),
    metrics,
    companions: [],
    notifier,
    onlyAsked: true,
    actions: { forwards: nobody, router: nobody, ddns: nobody, updateDdns: nobody, doctor: nobody },
  });
  const tickets = createTicketKeys({ onRotate: () => {} });
  const serving = createServing(alone, {
    keeper: keeping,
    ticketKeys: tickets.current(),
    fallback: await createFallback(),
    log,
    metrics,
  });
  tickets.stop();
  await keeping.start(serving);
  return { close: () => keeping.drain(() => serving.drain({ withinMs: 0 })) };
}

const nobody = (): Promise<never> =>
  Promise.reject(
    new GatehouseError("GATEHOUSE_NOT_RUNNING", {
      message: "No Gatehouse runs; this is only a command at work on its state folder.",
      hint: "Start it with gatehouse run.",
    }),
  );
