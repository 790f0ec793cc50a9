/**
 * Do our names lead to this home, whatever address it has today?
 * Owns: noticing that the address may have changed, asking who knows it, and giving it to the keeper of each name.
 * Never: decides whether a service is told (ddns-name) or what witnesses come to (public-ip).
 */
import { createHash } from "node:crypto";
import { networkInterfaces } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { DdnsConfig, DnsConfig } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import type { Clock } from "../core/time.ts";
import type { Addresses } from "../dns/contract.ts";
import { createAddressWriter } from "../dns/providers.ts";
import { shownAddresses } from "../dns/shown.ts";
import { createZones } from "../dns/zones.ts";
import type { DdnsMetrics } from "../observe/ddns-tally.ts";
import type { Logger } from "../observe/log.ts";
import type { Notifier } from "../observe/notify.ts";
import { ownStableIpv6 } from "./addresses.ts";
import { createNameKeeper, type NameKeeper } from "./ddns-name.ts";
import { type DdnsReport, reportName } from "./ddns-report.ts";
import type { DdnsStates } from "./ddns-state.ts";
import { lookAtPublicAddress, type PublicAddress } from "./public-ip.ts";

/** How often the router's last word and our own interfaces are looked at: nobody is asked for it. */
const NOTICE_EVERY_MS = 3_000;
/** A change brings the next check forward, but not twice within this: an interface may flap. Nor are retries nearer. */
const BETWEEN_CHECKS_MS = 15_000;
/** Nobody tells the address: asked again so soon, whatever `check` says. */
const UNKNOWN_AGAIN_MS = 60_000;
/** Who asks for an update waits so long, a little less than the admin socket gives an answer. */
const ASKED_WITHIN_MS = 50_000;

export interface DdnsOptions {
  settings: DdnsConfig;
  dns: DnsConfig;
  states: DdnsStates;
  /** The router's WAN address, as it last told; undefined where it does not tell. */
  routerAddress(): string | undefined;
  log: Logger;
  metrics: DdnsMetrics;
  clock: Clock;
  alerts: Pick<Notifier, "raise" | "settle">;
}

export interface Ddns {
  /** Checks now, whatever was refused before; resolves to what is known then. */
  update(): Promise<DdnsReport>;
  report(): DdnsReport;
  stop(): Promise<void>;
}

/** Begins at once. */
export function startDdns(options: DdnsOptions): Ddns {
  const { settings, dns, states, log, metrics, clock } = options;
  const zones = createZones({ resolvers: dns.resolvers, nameServers: dns.nameServers });
  const keepers = new Map<string, NameKeeper>();
  for (const { name, by } of settings.names) {
    keepers.set(
      name,
      createNameKeeper({
        name,
        writer: createAddressWriter(by),
        settings: createHash("sha256").update(JSON.stringify(by)).digest("base64url"),
        state: states.of(name),
        save: (state) => states.set(name, state),
        shown: (at, signal) => shownAddresses(zones, at, signal),
        withinMs: dns.propagationMs,
        log,
        metrics,
        clock,
        alerts: options.alerts,
      }),
    );
  }
  const betweenChecksMs = Math.min(BETWEEN_CHECKS_MS, settings.checkMs);
  const stopping = new AbortController();
  const { signal } = stopping;
  let known: PublicAddress | undefined;
  let checkedAt: number | undefined;
  let seen: string | undefined;
  let lastNat: string | undefined;
  let isUnknownSaid = false;
  /** The check that is under way. */
  let current: AbortController | undefined;
  /** One check at a time. */
  let queue: Promise<void> = Promise.resolve();

  const wanted = (): Addresses => ({
    ...(settings.ipv4 && known?.ipv4 !== undefined && { ipv4: known.ipv4 }),
    ...(settings.ipv6 && known?.ipv6 !== undefined && { ipv6: known.ipv6 }),
  });

  /** What would make us ask, if it changed. */
  async function signs(): Promise<string> {
    const own = Object.values(networkInterfaces()).flatMap((list) =>
      (list ?? []).flatMap(({ family, internal, address }) => (family === "IPv4" && !internal ? [address] : [])),
    );
    const ipv6 = settings.ipv6 ? await ownStableIpv6(settings.interface) : "";
    return [options.routerAddress(), ipv6, ...own.sort()].join();
  }

  async function check(isAsked: boolean, until: AbortSignal): Promise<void> {
    seen = await signs();
    known = await lookAtPublicAddress({
      routerAddress: options.routerAddress(),
      witnesses: settings.ipv4 ? settings.witnesses : [],
      ...(settings.interface !== undefined && { interface: settings.interface }),
      signal: until,
    });
    checkedAt = clock.now();
    sayAddress(known);
    await Promise.all([...keepers.values()].map((keeper) => keeper.keep(wanted(), { isAsked, signal: until })));
  }

  function sayAddress({ ipv4, ipv6, nat, routerAddress, answers }: PublicAddress): void {
    const isUnknown = (settings.ipv4 && ipv4 === undefined) || (settings.ipv6 && ipv6 === undefined);
    if (isUnknown && !isUnknownSaid) {
      const reasons = answers.flatMap(({ witness, error }) => (error === undefined ? [] : [`${witness}: ${error}`]));
      log.warn(
        { event: "ddns.address_unknown", ipv4, ipv6, reasons },
        "nobody tells the home's address; names stay as they are",
      );
    }
    isUnknownSaid = isUnknown;
    if (settings.ipv4 && nat !== lastNat && nat !== "none" && nat !== "unknown") {
      log.warn(
        { event: "ddns.nat", nat, routerAddress, ipv4 },
        "the router's own address is not the one the world sees: another NAT is in front of it",
      );
    }
    lastNat = nat;
  }

  function checkSoon(isAsked: boolean): Promise<void> {
    queue = queue.then(async () => {
      while (!signal.aborted) {
        current = new AbortController();
        try {
          await check(isAsked, AbortSignal.any([signal, current.signal]));
          break;
        } catch (error) {
          // What is under way with an address that is gone hangs until its deadline: it is given up and begun anew.
          if (current.signal.aborted || signal.aborted) continue;
          log.error({ event: "ddns.check_failed", reason: errorText(error) }, "a check of dynamic DNS failed");
          break;
        }
      }
      current = undefined;
    });
    return queue;
  }

  function nextCheckAt(): number {
    if (checkedAt === undefined) return 0;
    const isUnknown = settings.ipv4 && known?.ipv4 === undefined;
    const times = [checkedAt + (isUnknown ? Math.min(settings.checkMs, UNKNOWN_AGAIN_MS) : settings.checkMs)];
    // A name that is not right can be brought home only when somebody tells where that is.
    if (!isUnknown) for (const keeper of keepers.values()) times.push(keeper.nextAt() ?? Infinity);
    return Math.max(Math.min(...times), checkedAt + betweenChecksMs);
  }

  async function run(): Promise<void> {
    let broughtForwardAt = -Infinity;
    while (!signal.aborted) {
      const now = clock.now();
      const mayAgain = now - broughtForwardAt >= betweenChecksMs;
      const hasChanged = mayAgain && seen !== undefined && (await signs()) !== seen;
      if (hasChanged) broughtForwardAt = now;
      if (hasChanged && current !== undefined) current.abort(new Error("the address may have changed"));
      else if (current === undefined && (hasChanged || now >= nextCheckAt())) void checkSoon(false);
      await sleep(Math.min(NOTICE_EVERY_MS, settings.checkMs), undefined, { signal }).catch(() => {});
    }
  }
  const running = run();

  const report = (): DdnsReport => ({
    isOn: true,
    address: known,
    checkedAt,
    nextCheckAt: checkedAt === undefined ? undefined : nextCheckAt(),
    names: settings.names.map(({ name, by }) => reportName(name, by.kind, wanted(), keepers.get(name), clock.now())),
  });

  return {
    report,
    async update() {
      const late = new AbortController();
      await Promise.race([checkSoon(true), sleep(ASKED_WITHIN_MS, undefined, { signal: late.signal }).catch(() => {})]);
      late.abort();
      return report();
    },
    async stop() {
      stopping.abort(new Error("dynamic DNS was stopped"));
      await running;
      await queue;
      for (const name of keepers.keys()) metrics.ddnsName(name, undefined);
    },
  };
}
