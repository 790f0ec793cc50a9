/**
 * A new configuration, please: what happens, and what came of the last one?
 * Owns: one reload at a time, and the memory and the words of its outcome.
 * Never: knows what a configuration changes (`swap` does).
 */
import type { LastReload } from "../admin/actions.ts";
import type { Config } from "../config/model.ts";
import { errorText, isGatehouseError } from "../core/errors.ts";
import type { Clock } from "../core/time.ts";
import type { Logger } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";

export interface Reloading {
  /** The second begins with what the first left. @throws what made it keep the old */
  reload(reason: string): Promise<void>;
  last(): LastReload | undefined;
  /** The one under way has ended, well or not. */
  settled(): Promise<unknown>;
}

export function createReloading(options: {
  /** @throws GATEHOUSE_CONFIG_INVALID */
  load(): Promise<Config>;
  /** Build the new beside the old, then change over. @throws and then nothing has changed */
  swap(next: Config): Promise<void>;
  log: Logger;
  metrics: Pick<Metrics, "reload">;
  clock: Clock;
}): Reloading {
  const { log, metrics, clock } = options;
  let last: LastReload | undefined;
  let underWay: Promise<unknown> = Promise.resolve();

  async function once(reason: string): Promise<void> {
    const at = clock.now();
    try {
      const next = await options.load();
      await options.swap(next);
      last = { at, ok: true, findings: [] };
      metrics.reload(true);
      log.info({ event: "config.reloaded", trigger: reason, sites: next.sites.length }, "configuration reloaded");
    } catch (error) {
      last = { at, ok: false, findings: errorText(error).split("\n") };
      metrics.reload(false);
      const hint = isGatehouseError(error) ? error.hint : undefined;
      log.error(
        { event: "config.reload_failed", trigger: reason, reason: errorText(error), hint },
        "the old configuration stays",
      );
      throw error;
    }
  }

  return {
    reload(reason) {
      const next = underWay.then(() => once(reason));
      underWay = next.catch(() => {});
      return next;
    },
    last: () => last,
    settled: () => underWay,
  };
}

/**
 * Says which changes wait for the next start.
 *
 * @param hasMoreWorkers  than none: a process that serves by itself stays one; workers become more and fewer at any time
 */
export function sayRestart(log: Logger, next: Config, last: Config, hasMoreWorkers: boolean): void {
  const keys = [
    ...(next.state === last.state ? [] : ["state"]),
    ...(next.admin === last.admin ? [] : ["admin"]),
    ...(next.log.pretty === last.log.pretty ? [] : ["log.format"]),
    ...(hasMoreWorkers ? ["workers"] : []),
  ];
  if (keys.length > 0) {
    log.warn({ event: "config.needs_restart", keys }, "these changes take effect at the next start");
  }
}

export function sayQuarantined(log: Logger, { quarantined }: Config): void {
  for (const { name, finding } of quarantined) {
    log.error({ event: "site.quarantined", name, finding }, "a site was left out, the others run");
  }
}
