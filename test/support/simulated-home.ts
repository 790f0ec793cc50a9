/**
 * A home in a clock of its own: scheduler, issuer, ledger and renewal information as Gatehouse joins them, on a disk in
 * memory and before simulated CAs. `live(ms)` lets time pass as fast as the work allows.
 */
import { createFallbackIssuer } from "../../src/acme/schedule/fallback.ts";
import { createHistories } from "../../src/acme/schedule/history.ts";
import { createIssuer } from "../../src/acme/issue.ts";
import { type RenewalInfo, createRenewalInfo } from "../../src/acme/schedule/renewal-info.ts";
import { createScheduler } from "../../src/acme/schedule/scheduler.ts";
import type { Scheduler } from "../../src/acme/schedule/contract.ts";
import type { Solver } from "../../src/acme/challenges/solver.ts";
import { type BundleStore, type CertificateBundle, createBundleStore } from "../../src/storage/bundles.ts";
import type { Storage } from "../../src/storage/contract.ts";
import { type LogLine, memoryLog } from "./acme-home.ts";
import { memoryStorage } from "./memory-storage.ts";
import type { SimulatedCa } from "./simulated-ca.ts";

export interface SimulatedHome {
  clock: { now(): number; set(ms: number): void };
  bundles: BundleStore;
  storage: Storage;
  lines: LogLine[];
  /** Everything that was ever announced. */
  announced: CertificateBundle[];
  scheduler(): Scheduler;
  start(names: readonly string[]): void;
  stop(): Promise<void>;
  /** @param until  look at it after each step and end early */
  live(ms: number, until?: () => boolean): Promise<void>;
}

export interface SimulatedHomeOptions {
  startAt: number;
  random: () => number;
  /** The first, and those that stand in for it. */
  cas: readonly { directoryUrl: string; ca: SimulatedCa }[];
  staging?: { directoryUrl: string; ca: SimulatedCa } | undefined;
  /** What one step of the CA's takes. Default 100 ms of the simulated time for each order. */
  orderMs?: number;
}

const solver = (type: Solver["type"]): Solver => ({
  type,
  present: async () => {},
  wasAsked: () => undefined,
  remove: async () => {},
  sweep: async () => {},
});

export function simulateHome({ startAt, random, cas, staging, orderMs = 5_000 }: SimulatedHomeOptions): SimulatedHome {
  let now = startAt;
  const clock = { now: () => now, set: (ms: number) => void (now = ms) };
  const storage = memoryStorage();
  const bundles = createBundleStore(storage);
  const { log, lines } = memoryLog();
  const announced: CertificateBundle[] = [];
  const renewalInfos = new Map<string, RenewalInfo>();
  let scheduler: Scheduler | undefined;
  let armed = Promise.withResolvers<{ at: number; work: () => void }>();

  const all = staging === undefined ? cas : [...cas, staging];
  const issuers = cas.map(({ directoryUrl, ca }) => {
    const renewalInfo = createRenewalInfo({ directoryUrl, info: ca.info, storage, clock, log, random });
    renewalInfos.set(directoryUrl, renewalInfo);
    return createIssuer({
      directoryUrl,
      storage,
      bundles,
      solvers: [solver("http-01"), solver("dns-01")],
      clock,
      log,
      info: ca.info,
      renewalInfo,
      staging: staging === undefined ? false : { directoryUrl: staging.directoryUrl },
      connect: (wire) => {
        const found = all.find((each) => each.directoryUrl === wire.directoryUrl);
        if (found === undefined) throw new Error(`no CA at ${wire.directoryUrl}`);
        return found.ca.connect();
      },
      onIssued: (bundle) => void announced.push(bundle),
    });
  });
  const [first, ...others] = issuers;
  if (first === undefined) throw new Error("a home needs a CA");
  const firstUrl = cas[0]?.directoryUrl ?? "";
  const histories = createHistories(firstUrl, storage, clock, log);
  const issuer = createFallbackIssuer({
    first,
    others: others.map((each, at) => ({ ca: cas[at + 1]?.directoryUrl ?? "", issuer: each })),
    failuresInARow: async (name) => (await histories.read(name)).failuresInARow,
    clock,
    log,
  });

  return {
    clock,
    bundles,
    storage,
    lines,
    announced,
    scheduler() {
      if (scheduler === undefined) throw new Error("not started");
      return scheduler;
    },
    start(names) {
      armed = Promise.withResolvers();
      const urls = new Set(cas.map(({ directoryUrl }) => directoryUrl));
      scheduler = createScheduler({
        ca: firstUrl,
        fits: ({ ca }) => urls.has(ca),
        issue: async (name, reason, signal) => {
          now += orderMs;
          return issuer.issue(name, reason, signal);
        },
        renewalInfoOf: (url) => renewalInfos.get(url),
        onFound: (bundle) => void announced.push(bundle),
        bundles,
        storage,
        clock,
        log,
        random,
        tickMs: 1_800_000,
        timer(work, ms) {
          armed.resolve({ at: now + ms, work });
          return () => {};
        },
      });
      scheduler.setNames(names);
    },
    async stop() {
      await scheduler?.stop();
    },
    async live(ms, until = () => false) {
      const end = now + ms;
      for (;;) {
        const { at, work } = await armed.promise;
        if (at > end || until()) break;
        now = Math.max(now, at);
        armed = Promise.withResolvers();
        work();
      }
      now = Math.max(now, end);
    },
  };
}
