/**
 * How does dynamic DNS live beside the sites?
 * Owns: the companion that runs it as the configuration wants it, with its memory in the state folder.
 * Never: asks a service or a witness (network does).
 */
import { isDeepStrictEqual } from "node:util";
import type { CompanionActions } from "../admin/actions.ts";
import type { Config } from "../config/model.ts";
import { systemClock } from "../core/time.ts";
import { type Ddns, startDdns } from "../network/ddns.ts";
import { alertKey } from "../network/ddns-name.ts";
import { NO_DDNS } from "../network/ddns-report.ts";
import { openDdnsStates } from "../network/ddns-state.ts";
import type { DdnsMetrics } from "../observe/ddns-tally.ts";
import type { Logger } from "../observe/log.ts";
import type { Notifier } from "../observe/notify.ts";
import { createFileStorage } from "../storage/files.ts";
import type { Companion } from "./companion.ts";

export interface DdnsKeeping {
  companion: Companion;
  actions: Pick<CompanionActions, "ddns" | "updateDdns">;
  /** The name's address is looked for or told at this moment, and nothing has failed. Also before the first configuration. */
  isNaming(name: string): boolean;
}

export function createDdnsKeeping(options: {
  log: Logger;
  metrics: DdnsMetrics;
  /** The router's WAN address, as it last told. */
  routerAddress(): string | undefined;
  alerts: Pick<Notifier, "raise" | "settle">;
}): DdnsKeeping {
  const { log, metrics, routerAddress, alerts } = options;
  let facts: Pick<Config, "ddns" | "dns" | "state"> | undefined;
  let ddns: Ddns | undefined;

  return {
    isNaming(name) {
      if (facts === undefined) return true;
      const one = ddns?.report().names.find((known) => known.name === name);
      return one?.state === "waiting" || one?.state === "unknown";
    },
    companion: {
      name: "ddns",
      async apply({ ddns: settings, dns, state }) {
        const wanted = { ddns: settings, dns, state };
        if (isDeepStrictEqual(facts, wanted)) return;
        await ddns?.stop();
        ddns = undefined;
        for (const { name } of facts?.ddns?.names ?? []) {
          const isKept = settings?.names.some((one) => one.name === name) ?? false;
          if (!isKept) alerts.settle(alertKey(name), "The name is no longer kept.");
        }
        facts = wanted;
        if (settings === undefined) return;
        const storage = await createFileStorage(state, { leftovers: "leave" });
        const names = settings.names.map(({ name }) => name);
        const states = await openDdnsStates(storage, names);
        ddns = startDdns({ settings, dns, states, routerAddress, log, metrics, clock: systemClock, alerts });
      },
      stop: () => ddns?.stop(),
    },
    actions: {
      ddns: async () => ddns?.report() ?? NO_DDNS,
      updateDdns: async () => (await ddns?.update()) ?? NO_DDNS,
    },
  };
}
