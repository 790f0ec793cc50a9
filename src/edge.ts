/**
 * How do the rooms make one edge?
 * Owns: building every room from one checked configuration, start, reload, drain.
 * Never: decides anything that a room could decide.
 */
import { isDeepStrictEqual } from "node:util";
import { createChallenges } from "./acme/challenges.ts";
import { type AdminActions, countStates, type LastReload, reportSites } from "./admin/actions.ts";
import { createAdminServer } from "./admin/server.ts";
import type { Config, ListenAddress } from "./config/model.ts";
import { errorText, isGatehouseError } from "./core/errors.ts";
import { systemClock } from "./core/time.ts";
import { createIssuing, localRootFile } from "./issuing.ts";
import { createAccessLog } from "./observe/access-log.ts";
import { createObserveServer, type ObserveServer } from "./observe/health.ts";
import type { Logger } from "./observe/log.ts";
import { createMetrics } from "./observe/metrics.ts";
import { createDemo } from "./proxy/demo.ts";
import type { LaneContext } from "./proxy/exchange.ts";
import { createFront } from "./proxy/front.ts";
import { createHomeAssistantHint } from "./proxy/home-assistant.ts";
import { createRules } from "./proxy/rules/policy.ts";
import { createUpstreamPool } from "./proxy/upstream/pool.ts";
import { createBundleStore, type CertificateBundle } from "./storage/bundles.ts";
import { createFileStorage } from "./storage/files.ts";
import { createContexts } from "./tls/contexts.ts";
import { createFallback } from "./tls/fallback.ts";
import { createSniChooser } from "./tls/sni.ts";
import { createTicketKeys } from "./tls/tickets.ts";

interface Bound {
  host: string;
  port: number;
}

export interface EdgeOptions {
  log: Logger;
  version: string;
  /** Reads the file again. @throws GATEHOUSE_CONFIG_INVALID */
  load(): Promise<Config>;
}

export interface Edge {
  /** What is really listened on (port 0 resolved). */
  addresses(): { https: { host: string; port: number }[]; http: { host: string; port: number }[] };
  /** PEM file of the embedded CA's root, when that is who signs. */
  localRootFile(): string | undefined;
  siteNames(): string[];
  /** Build the new beside the old, then swap. One at a time. @throws what made it keep the old */
  reload(reason: string): Promise<void>;
  drain(options: { withinMs: number }): Promise<void>;
  /** Everything goes now; for the second signal. */
  destroy(): void;
}

/** @throws GATEHOUSE_ALREADY_RUNNING, GATEHOUSE_PORT_*, GATEHOUSE_STORAGE_FAILED; nothing is left open then */
export async function startEdge(first: Config, options: EdgeOptions): Promise<Edge> {
  const { log, version } = options;
  const startedAt = systemClock.now();
  let config = first;
  let rules = createRules(first);
  let names: ReadonlySet<string> = new Set(first.sites.map((site) => site.name));
  let access = createAccessLog(log, { enabled: first.log.access });
  let isDraining = false;
  let isListening = false;
  let lastReload: LastReload | undefined;
  let observing: { server: ObserveServer; wanted: ListenAddress; bound: Bound } | undefined;

  const metrics = createMetrics({ version });
  const storage = await createFileStorage(first.state, {
    onWarning: (message, hint) => log.warn({ event: "storage.warning", hint }, message),
  });
  const bundles = createBundleStore(storage, (name, generation, reason) =>
    log.error(
      { event: "certificate.damaged", name, generation, reason },
      "a stored certificate is damaged and was left out",
    ),
  );
  const contexts = createContexts({ bundles: await loadBundles(first) });
  const challenges = createChallenges({ storage, clock: systemClock });
  const demo = createDemo();
  const upstream = createUpstreamPool({ connectDemo: () => demo.connect() });
  const context: LaneContext = {
    rules: () => rules,
    isDraining: () => isDraining,
    upstream,
    log,
    get access() {
      return access;
    },
    metrics,
    homeAssistant: createHomeAssistantHint({ upstream, log }),
  };
  const tickets = createTicketKeys({ onRotate: (keys) => front.setTicketKeys(keys) });
  const sni = createSniChooser({ names: () => names, contexts, log });
  const front = createFront({
    context,
    chooseContext: (serverName) => sni.chooseContext(serverName),
    fallback: await createFallback(),
    ticketKeys: tickets.current(),
    answerChallenge: (host, token) => challenges.answerChallenge(host, token),
  });
  async function loadBundles(wanted: Config): Promise<CertificateBundle[]> {
    const found: CertificateBundle[] = [];
    for (const { name } of wanted.sites) {
      try {
        const bundle = await bundles.load(name);
        if (bundle !== undefined) found.push(bundle);
      } catch (error) {
        // One unreadable certificate must not keep the others from serving; the scheduler says it again and retries.
        log.error(
          { event: "certificate.unreadable", name, reason: errorText(error) },
          "a stored certificate cannot be read",
        );
      }
    }
    return found;
  }

  const issuingFor = (wanted: Config) =>
    createIssuing(wanted.acme, {
      storage,
      bundles,
      challenges,
      log,
      metrics,
      version,
      onIssued: (bundle) => {
        if (names.has(bundle.name)) contexts.setBundle(bundle);
      },
    });
  let scheduler = issuingFor(first);

  function announce(next: Config): void {
    metrics.setSites(
      next.sites.map((site) => ({ name: site.name, upstreams: site.routes.map((route) => route.target.text) })),
    );
    for (const { name, finding } of next.quarantined) {
      log.error({ event: "site.quarantined", name, finding }, "a site was left out, the others run");
    }
  }

  async function observeOn(address: ListenAddress | undefined): Promise<void> {
    if (isDeepStrictEqual(address, observing?.wanted)) return;
    const last = observing;
    if (address === undefined) {
      observing = undefined;
    } else {
      const server = createObserveServer({
        metrics,
        readiness: () => ({ isListening, isConfigured: true, isDraining }),
        log,
      });
      observing = { server, wanted: address, bound: await server.listen(address) };
    }
    await last?.server.close();
  }

  async function swap(next: Config): Promise<void> {
    const nextRules = createRules(next);
    const known = new Set(names);
    const fresh = { ...next, sites: next.sites.filter((site) => !known.has(site.name)) };
    for (const bundle of await loadBundles(fresh)) contexts.setBundle(bundle);
    // Each opens what is new before it closes what is gone; when a port is taken, nothing has changed yet.
    await front.relisten(next.listen);
    await observeOn(next.metrics?.listen);
    const last = config;
    const nextNames = new Set(next.sites.map((site) => site.name));
    config = next;
    rules = nextRules;
    names = nextNames;
    log.level = next.log.level;
    access = createAccessLog(log, { enabled: next.log.access });
    announce(next);
    for (const name of known) if (!nextNames.has(name)) contexts.remove(name);
    if (!isDeepStrictEqual(next.acme, last.acme)) {
      await scheduler.stop();
      scheduler = issuingFor(next);
    }
    scheduler.setNames([...nextNames]);
    const fixed = (one: Config) => ({ state: one.state, admin: one.admin, "log.format": one.log.pretty });
    if (!isDeepStrictEqual(fixed(next), fixed(last))) {
      const keys = Object.keys(fixed(next));
      log.warn({ event: "config.needs_restart", keys }, "a change of one of these takes effect at the next start");
    }
  }

  async function reloadOnce(reason: string): Promise<void> {
    const at = systemClock.now();
    try {
      await swap(await options.load());
    } catch (error) {
      lastReload = { at, ok: false, findings: errorText(error).split("\n") };
      metrics.reload(false);
      const hint = isGatehouseError(error) ? error.hint : undefined;
      log.error(
        { event: "config.reload_failed", trigger: reason, reason: errorText(error), hint },
        "the old configuration stays",
      );
      throw error;
    }
    lastReload = { at, ok: true, findings: [] };
    metrics.reload(true);
    log.info({ event: "config.reloaded", trigger: reason, sites: config.sites.length }, "configuration reloaded");
  }

  /** One at a time: the second begins with what the first left. */
  let reloading: Promise<unknown> = Promise.resolve();
  function reload(reason: string): Promise<void> {
    const next = reloading.then(() => reloadOnce(reason));
    reloading = next.catch(() => {});
    return next;
  }

  const actions: AdminActions = {
    certificates: async () => scheduler.status(),
    health: async () => {
      const problems = [
        ...(isDraining ? ["Gatehouse is draining"] : []),
        ...(isListening ? [] : ["the listeners are not open yet"]),
      ];
      return { ok: problems.length === 0, problems };
    },
    reload: async () => {
      await reload("command").catch(() => {});
      return { ok: lastReload?.ok ?? true, findings: lastReload?.findings ?? [] };
    },
    status: async () => {
      const { https, http } = front.addresses();
      return {
        version,
        pid: process.pid,
        startedAt,
        configFile: config.file,
        isDraining,
        listeners: [
          ...https.map((bound) => ({ kind: "https" as const, ...bound })),
          ...http.map((bound) => ({ kind: "http" as const, ...bound })),
          ...(observing === undefined ? [] : [{ kind: "metrics" as const, ...observing.bound }]),
        ],
        sites: reportSites(config.sites),
        quarantined: config.quarantined,
        certificates: countStates(scheduler.status()),
        openConnections: front.openConnections(),
        lastReload,
      };
    },
  };
  const admin = createAdminServer({ path: first.admin, actions, log });

  const closeAll = async (): Promise<void> => {
    tickets.stop();
    upstream.close();
    demo.close();
    await observing?.server.close();
    await admin.close();
  };

  try {
    await admin.listen();
    await front.relisten(first.listen);
    await observeOn(first.metrics?.listen);
  } catch (error) {
    front.destroy();
    await closeAll();
    throw error;
  }
  isListening = true;
  announce(first);
  metrics.reload(true);
  scheduler.setNames([...names]);
  log.info(
    {
      event: "edge.ready",
      version,
      ...front.addresses(),
      ...(observing === undefined ? {} : { metrics: [observing.bound] }),
      sites: names.size,
      state: first.state,
      caRoot: localRootFile(first),
    },
    "Gatehouse is ready",
  );

  return {
    addresses: () => front.addresses(),
    localRootFile: () => localRootFile(config),
    siteNames: () => [...names],
    reload,
    async drain({ withinMs }) {
      isDraining = true;
      await reloading;
      await Promise.all([front.drain({ withinMs }), scheduler.stop()]);
      await closeAll();
    },
    destroy: () => front.destroy(),
  };
}
