/**
 * Who keeps the house while others open the door?
 * Owns: the keeping half of an edge, once per Gatehouse: storage, certificates and who signs them, the admin socket, the
 *   metrics listener, the companions, and the order in which a reload reaches all of them.
 * Never: touches a client's connection.
 */
import { setImmediate } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { createAlpnChallenges } from "../acme/challenges/alpn.ts";
import { createChallenges } from "../acme/challenges/port-80.ts";
import type { AdminActions, CompanionActions } from "../admin/actions.ts";
import { createAdminServer } from "../admin/server.ts";
import type { Keeper, Serving } from "../cluster/contract.ts";
import { countWorkers } from "../cluster/count.ts";
import type { Config } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import { systemClock } from "../core/time.ts";
import { createIssuing, issuingFacts, localRootFile } from "../issuing.ts";
import type { Logger } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Notifier } from "../observe/notify.ts";
import { type CertificateBundle, createBundleStore } from "../storage/bundles.ts";
import { createFileStorage } from "../storage/files.ts";
import { createAnswers } from "./answers.ts";
import { type Companion, joinCompanions } from "./companion.ts";
import { createDesk } from "./desk.ts";
import { createDeviceDesk } from "./devices.ts";
import { createDisabledNames } from "./disabled.ts";
import { createGuardian } from "./guardian.ts";
import { createGuests } from "./guests.ts";
import { askableNames, namesInFile, namesOf, ownNames } from "./names.ts";
import { ownListener } from "./own-handshake.ts";
import { createObserving } from "./observing.ts";
import { createOwnFiles } from "./own-files.ts";
import { createReloading, sayQuarantined, sayRestart } from "./reloading.ts";
import { createSteps } from "./steps.ts";
import type { WayIn } from "./way-in.ts";

export interface KeepingOptions {
  log: Logger;
  version: string;
  metrics: Metrics;
  /** Reads the file again. @throws GATEHOUSE_CONFIG_INVALID */
  load(): Promise<Config>;
  /** Built by edge, told in this order. */
  companions: readonly Companion[];
  /** Nothing is ordered by itself. */
  onlyAsked?: boolean;
  wayIn?: WayIn;
  /** Told of what needs a person. */
  notifier: Notifier;
  /** Answers of the companions, beside those that every Gatehouse gives. */
  actions: CompanionActions;
}

export interface Keeping extends Keeper {
  /** Opens everything, the serving half included. @throws what `startEdge` throws; then nothing is left open */
  start(serving: Serving): Promise<void>;
  config(): Config;
  /** One at a time. @throws what made it keep the old */
  reload(reason: string): Promise<void>;
  /** Reloads and orders come to their end while the other half drains. */
  drain(drainServing: () => Promise<void>): Promise<void>;
}

/** @throws GATEHOUSE_STORAGE_FAILED */
export async function createKeeping(first: Config, options: KeepingOptions): Promise<Keeping> {
  const { log, version, metrics, notifier } = options;
  const companions = joinCompanions(options.companions, log);
  const startedAt = systemClock.now();
  let config = first;
  let serving: Serving | undefined;
  let isDraining = false;
  let isListening = false;

  const storage = await createFileStorage(first.state, {
    leftovers: "leave",
    onWarning: (message, hint) => log.warn({ event: "storage.warning", hint }, message),
  });
  const stored = createBundleStore(storage, (name, generation, reason) =>
    log.error(
      { event: "certificate.damaged", name, generation, reason },
      "a stored certificate is damaged and was left out",
    ),
  );
  const files = createOwnFiles({ log, metrics, taken: serve, released: (name) => void bundleFor(name).then(serve) });
  const bundles = files.over(stored);
  const challenges = createChallenges({ storage, clock: systemClock });
  const alpn = createAlpnChallenges({ storage, clock: systemClock });
  const disabled = await createDisabledNames(storage);
  const steps = createSteps(log, () => guardian.lookSoon());
  const issuingFor = (wanted: Config) =>
    createIssuing(wanted, {
      storage,
      bundles,
      challenges,
      alpn,
      log: steps.log,
      onlyAsked: options.onlyAsked,
      wayIn: options.wayIn,
      metrics,
      version,
      onIssued: serve,
    });
  function serve(bundle: CertificateBundle | undefined): void {
    if (bundle === undefined) return;
    serving?.setBundle(bundle);
    companions.issued(bundle);
  }
  let scheduler = issuingFor(first);
  const guests = await createGuests({ storage, bundles, log, bundle: bundleFor, changed: () => orderFor(config) });
  const kept = (wanted: Config): string[] => [...new Set([...namesOf(wanted), ...guests.names()])];
  function orderFor(wanted: Config): void {
    guests.apply(wanted);
    scheduler.setNames(kept(wanted).filter((name) => !disabled.has(name) && !files.has(name)));
  }
  const desk = createDesk({
    storage,
    bundles,
    disabled,
    steps,
    log,
    files,
    issuing: () => scheduler,
    names: () => kept(config),
    siteOf: (name) => config.sites.find(({ names }) => names?.includes(name))?.name,
    keep: () => new Set([...namesInFile(config), ...guests.names()]),
    onNames: () => orderFor(config),
  });
  const reloading = createReloading({ load: options.load, swap, log, metrics, clock: systemClock });
  await notifier.remember({ load: () => storage.read(TOLD), save: (text) => storage.write(TOLD, text) });
  let closeAdmin: () => Promise<void> = async () => {};
  const guardian = createGuardian({
    log,
    clock: systemClock,
    metrics,
    notifier,
    rules: () => config.notify,
    certificates: () => desk.certificates(),
    served: () => askableNames([...ownNames(config), ...guests.names()]),
    listener: () => ownListener(serving?.addresses().https ?? [], config.proxyProtocolFrom),
    bundle: (name) => bundles.load(name),
    restore: (bundle) => serving?.setBundle(bundle),
  });

  const observing = createObserving({
    metrics: { scrape: async () => metrics.scrape(await serving?.numbers()) },
    readiness: () => ({
      isListening: isListening && serving?.problems().length === 0,
      isConfigured: true,
      isDraining,
    }),
    log,
  });
  const devices = createDeviceDesk({
    storage,
    log,
    isWanted: () => config.sites.some(({ clientCert }) => clientCert !== undefined),
    tell: (accepted) => serving?.setDevices(accepted),
  });

  async function swap(next: Config): Promise<void> {
    // Both open what is new before they close what is gone; when a port is taken, nothing has changed yet.
    const opened = await observing.open(next.metrics?.listen);
    try {
      await serving?.apply(next);
    } catch (error) {
      await opened?.server.close();
      throw error;
    }
    await observing.take(opened, next.metrics?.listen);
    await setImmediate(); // each of the steps below takes milliseconds with thousands of names
    const last = config;
    config = next;
    await files.apply(next);
    await devices.refresh();
    sayQuarantined(log, next);
    notifier.apply(next.notify);
    if (!isDeepStrictEqual(issuingFacts(next), issuingFacts(last))) {
      await scheduler.stop();
      scheduler = issuingFor(next);
    }
    await setImmediate();
    orderFor(next);
    await companions.apply(() => config);
    sayRestart(log, next, last, serving?.workers().length === 0 && countWorkers(next) > 1);
  }

  async function bundleFor(name: string): Promise<CertificateBundle | undefined> {
    try {
      return await bundles.load(name);
    } catch (error) {
      // One unreadable certificate must not keep the others from serving; the scheduler says it again and retries.
      log.error(
        { event: "certificate.unreadable", name, reason: errorText(error) },
        "a stored certificate cannot be read",
      );
      return undefined;
    }
  }

  async function closeAll(): Promise<void> {
    serving?.close();
    await observing.close();
    await closeAdmin();
  }

  return {
    bundle: bundleFor,
    wish: (name) => guests.wish(name),
    answerChallenge: (host, token) => challenges.answerChallenge(host, token),
    challengeCertificate: (serverName) => alpn.challengeCertificate(serverName),
    config: () => config,
    reload: (reason) => reloading.reload(reason),

    async start(given) {
      serving = given;
      const actions: AdminActions = {
        ...createAnswers({
          version,
          startedAt,
          config: () => config,
          serving: given,
          isListening: () => isListening,
          isDraining: () => isDraining,
          metricsBound: () => observing.bound(),
          certificates: () => scheduler.status(),
          lastReload: () => reloading.last(),
          reload: (reason) => reloading.reload(reason),
        }),
        ...desk,
        ...devices,
        testNotify: () => notifier.test(),
        ...options.actions,
      };
      const admin = createAdminServer({ path: first.admin, actions, log });
      closeAdmin = () => admin.close();
      try {
        await admin.listen();
        await files.apply(first);
        await devices.refresh();
        await given.apply(first);
        await observing.take(await observing.open(first.metrics?.listen), first.metrics?.listen);
      } catch (error) {
        given.destroy();
        await closeAll();
        throw error;
      }
      isListening = true;
      sayQuarantined(log, first);
      notifier.apply(first.notify);
      metrics.reload(true);
      orderFor(first);
      if (options.onlyAsked === true) await scheduler.settled();
      await companions.apply(() => config);
      guardian.start();
      log.info(
        {
          event: "edge.ready",
          version,
          ...given.addresses(),
          ...(observing.bound() === undefined ? {} : { metrics: [observing.bound()] }),
          sites: first.sites.length,
          state: first.state,
          caRoot: localRootFile(first),
        },
        "Gatehouse is ready",
      );
    },

    async drain(drainServing) {
      isDraining = true;
      guardian.stop();
      files.stop();
      notifier.stop();
      await reloading.settled();
      await Promise.all([companions.stop(), drainServing(), scheduler.stop(), guests.stop()]);
      await closeAll();
    },
  };
}

/** What was told to people and is not over yet. */
const TOLD = "notify/open.json";
