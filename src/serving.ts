/**
 * What do clients meet?
 * Owns: the serving half of an edge in one process: rules, certificates in memory, front, lanes, targets, access log.
 * Never: touches storage, schedules or the admin socket: what it lacks it asks of the keeper.
 */
import { createHash } from "node:crypto";
import { type Devices, type Keeper, NO_DEVICES, type Serving } from "./cluster/contract.ts";
import type { Config } from "./config/model.ts";
import { errorText } from "./core/errors.ts";
import { inPieces } from "./core/pieces.ts";
import type { Spread } from "./core/spread.ts";
import { createVisitorTally } from "./core/visitors.ts";
import { createAccessLog } from "./observe/access-log.ts";
import { createPassthrough } from "./forward/passthrough.ts";
import type { Logger } from "./observe/log.ts";
import type { Metrics } from "./observe/metrics.ts";
import { createDemo } from "./proxy/demo/demo.ts";
import type { LaneContext } from "./proxy/exchange.ts";
import { createFront } from "./proxy/front/front.ts";
import { createHomeAssistantHint } from "./proxy/home-assistant.ts";
import { createLimitReports } from "./proxy/limits.ts";
import { createTunnelBounds } from "./proxy/limits-tunnels.ts";
import { createRules, prepareRules } from "./proxy/rules/policy.ts";
import { createUpstreamPool } from "./proxy/upstream/pool.ts";
import { createArrivals } from "./tls/arrivals.ts";
import { createContexts } from "./tls/contexts.ts";
import type { FallbackCertificate } from "./tls/fallback.ts";
import { NOBODY, readRoster } from "./tls/roster.ts";
import { siteAt } from "./tls/unnamed.ts";
import { createSniChooser } from "./tls/sni.ts";
import { createWishes } from "./tls/wishes.ts";

export interface ServingOptions {
  keeper: Keeper;
  /** 48 bytes, the same in all workers. */
  ticketKeys: Buffer;
  fallback: FallbackCertificate;
  log: Logger;
  metrics: Metrics;
  /** Of one worker of several. */
  spread?: Spread | undefined;
}

/** Up to this many new names, their certificates are read before they are served; of more, when a client first asks for one. */
const READ_AHEAD = 100;

/** Nothing listens before the first `apply`, which should name the same configuration. */
export function createServing(first: Config, options: ServingOptions): Serving {
  const { keeper, log, metrics } = options;
  // All workers have this certificate, and nobody else has it.
  const mark = createHash("sha256").update(options.fallback.certificatePem).digest("hex").slice(0, 16);
  let rules = createRules({ ...first, sites: [] }, mark);
  let { limits } = first;
  let roster = NOBODY;
  /** Those below a star whose certificate is here. */
  const guests = new Set<string>();
  /** Of a configuration that is being taken: what is issued meanwhile is for them, too. */
  let coming = roster.names;
  let access = createAccessLog(log, { enabled: first.log.access });
  let isLeaving = false;
  let isDraining = false;
  let isLogged = first.log.access;

  let devices = NO_DEVICES;
  let owners = new Map<string, Devices["accepted"][number]>();

  const contexts = createContexts({
    clientCa: (name) => (roster.asking.has(name) || rules.asksDevice(name) ? devices.caPem : undefined),
  });
  const visitors = createVisitorTally();
  const demo = createDemo();
  const upstream = createUpstreamPool({
    connectDemo: () => demo.connect(),
    // Who waits is many; the target has no address of a client.
    full: () => context.limitReached("upstream_connections", ""),
  });
  const context: LaneContext = {
    rules: () => rules,
    isLeaving: () => isLeaving,
    isDraining: () => isDraining,
    limits: () => limits,
    limitReached: createLimitReports({ log, metrics }),
    tunnels: createTunnelBounds(() => limits),
    upstream,
    log,
    get access() {
      return access;
    },
    metrics,
    homeAssistant: createHomeAssistantHint({ upstream, log }),
  };
  const arrivals = createArrivals({ fetch: (name) => keeper.bundle(name), arrived: setBundle });
  const wishes = createWishes({ ask: (name) => keeper.wish(name), arrived: setBundle });
  const sni = createSniChooser({
    names: () => roster.asked,
    keptAs: (site, name) => roster.asked.get(site) ?? name,
    contexts,
    log,
  });
  const passthrough = createPassthrough({ log, isLogged: () => isLogged });
  metrics.watchPorts(() => passthrough.traffic());
  const front = createFront({
    context,
    spread: options.spread,
    arrived: (address) => visitors.arrived(address),
    passthrough: (raw, client, site) => passthrough.carry(raw, client, site),
    chooseContext(serverName, hasTicket) {
      const name = sni.siteOf(serverName);
      const arrival = name === undefined ? undefined : (arrivals.arrival(name) ?? wished(name));
      const choose = () => sni.chooseContext(serverName, hasTicket);
      return arrival === undefined ? choose() : arrival.then(choose);
    },
    deviceOwner(sha256) {
      const owner = owners.get(sha256);
      return owner !== undefined && owner.notAfter > Date.now() ? owner.name : undefined;
    },
    fallback: options.fallback,
    addressCertificate(local) {
      const name = roster.addresses.size === 0 ? undefined : siteAt(roster.addresses, local);
      const bundle = name === undefined ? undefined : contexts.bundle(name);
      return bundle && { keyPem: bundle.keyPem, certificatePem: bundle.chainPem };
    },
    ticketKeys: options.ticketKeys,
    answerChallenge: (host, token) => keeper.answerChallenge(host, token),
    challengeCertificate: (serverName) => keeper.challengeCertificate(serverName),
  });

  const isGuest = (name: string): boolean => {
    const star = `*${name.slice(name.indexOf("."))}`;
    return !roster.names.has(name) && roster.asked.has(star) && roster.asked.get(star) === undefined;
  };

  function wished(name: string): Promise<void> | undefined {
    return isGuest(name) && !guests.has(name) ? wishes.wish(name) : undefined;
  }

  function setBundle(bundle: Parameters<Serving["setBundle"]>[0]): void {
    try {
      contexts.setBundle(bundle);
      if (isGuest(bundle.name)) guests.add(bundle.name);
    } catch (error) {
      log.error(
        { event: "tls.certificate_unusable", name: bundle.name, reason: errorText(error) },
        "a certificate cannot be served; what served before keeps serving",
      );
    }
  }

  return {
    async apply(next) {
      const nextRules = await prepareRules(next, mark);
      const nextRoster = await readRoster(next.sites);
      const upstreams = new Map<string, readonly string[]>();
      await inPieces(next.sites, ({ name, routes }) =>
        upstreams.set(
          name,
          routes.map(({ target }) => target.text),
        ),
      );
      const last = roster;
      coming = nextRoster.names;
      const fresh = [...nextRoster.names].filter((name) => !last.names.has(name));
      // Who comes to an address names nobody, so nothing could be fetched for it later.
      const ahead = fresh.length <= READ_AHEAD ? fresh : fresh.filter((name) => nextRoster.addresses.has(name));
      for (const name of ahead) {
        const bundle = await keeper.bundle(name);
        // One that was issued while we asked is newer.
        if (bundle !== undefined && contexts.bundle(name) === undefined) setBundle(bundle);
      }
      // Before the first there is nothing to mix them with, and clients come as soon as a port is open.
      if (last === NOBODY) rules = nextRules;
      try {
        // Opens what is new before it closes what is gone; when a port is taken, nothing has changed yet.
        await front.relisten(next.listen);
      } catch (error) {
        coming = last.names;
        for (const name of fresh) contexts.remove(name);
        throw error;
      }
      // From here to the end without a pause: one configuration or the other, never some of each.
      rules = nextRules;
      limits = next.limits;
      roster = nextRoster;
      for (const name of guests) {
        if (isGuest(name)) continue;
        guests.delete(name);
        if (!roster.names.has(name)) contexts.remove(name);
      }
      for (const name of [...roster.asking, ...last.asking]) {
        if (roster.asking.has(name) !== last.asking.has(name)) contexts.renew(name);
      }
      if (ahead !== fresh) arrivals.expect(fresh.filter((name) => !roster.addresses.has(name)));
      log.level = next.log.level;
      access = createAccessLog(log, { enabled: next.log.access });
      isLogged = next.log.access;
      metrics.setSites(upstreams);
      for (const name of last.names) {
        if (roster.names.has(name)) continue;
        contexts.remove(name);
        arrivals.forget(name);
      }
    },
    setBundle(bundle) {
      if (!roster.names.has(bundle.name) && !coming.has(bundle.name) && !isGuest(bundle.name)) return;
      arrivals.forget(bundle.name);
      setBundle(bundle);
    },
    setDevices(next) {
      devices = next;
      owners = new Map(next.accepted.map((one) => [one.sha256, one]));
      for (const name of [...roster.asking, ...guests]) contexts.renew(name);
      front.dismissDevices();
    },
    setTicketKeys: (keys) => front.setTicketKeys(keys),
    addresses: () => front.addresses(),
    openConnections: () => front.openConnections(),
    visitors: () => visitors.report(),
    workers: () => [],
    problems: () => [],
    numbers: () => Promise.resolve([]),
    async drain({ withinMs, idleMs }) {
      isLeaving = true;
      await front.drain({ withinMs, idleMs, refuse: () => (isDraining = true) });
    },
    destroy: () => front.destroy(),
    close() {
      upstream.close();
      demo.close();
    },
  };
}
