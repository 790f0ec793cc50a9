/**
 * Which certificate is due, and when do we try again?
 * Owns: the queue: who is next, one order at a time, waking up, names that come and go.
 * Never: speaks ACME (issue does) or serves. The rules are next door: `due` (lifetime share) and `failures` (back-off).
 */
import { errorText, GatehouseError, isGatehouseError } from "../core/errors.ts";
import type { Clock } from "../core/time.ts";
import type { Logger } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { BundleStore, CertificateBundle } from "../storage/bundles.ts";
import type { Storage } from "../storage/contract.ts";
import { isDue, renewAt } from "./due.ts";
import { type CertificateStatus, certificateStatus } from "./certificate-status.ts";
import { type FailureRecord, createFailureMemory, recordFailure } from "./failures.ts";
import type { IssueReason } from "./issue.ts";
import { reasonFor, type Waiting } from "./waiting.ts";

/**
 * Wake at least this often and ask the wall clock: timers do not count the hours a machine slept, and setTimeout
 * overflows after 24.8 days.
 */
const TICK_MS = 60_000;
/** A renewal that brought nothing newer is not repeated in a loop. */
const REST_MS = 60_000;

export interface Scheduler {
  /** The names to keep; called at start and at each reload. Names gone are dropped, new ones queued. */
  setNames(names: readonly string[]): void;
  status(): CertificateStatus[];
  /**
   * Order now, whatever the share of life. Resolves when done; rejects with the reason.
   *
   * @param options.really  also when the CA, or our ledger of its limits, says later
   */
  renewNow(name: string, options?: { really?: boolean }): Promise<CertificateBundle>;
  /** What is stored for this name was changed by somebody else: look again. */
  lookAgain(name: string): void;
  /** Abort what is under way (the order stays on disk and is continued) and wait for its end. */
  stop(): Promise<void>;
}

export interface SchedulerOptions {
  /** Directory URL, or `local`: failures are kept for this CA. */
  ca: string;
  /** A certificate that does not fit (another CA, other names) is due at once. Default: it is of `ca`. */
  fits?: ((bundle: CertificateBundle) => boolean) | undefined;
  issue: (name: string, reason: IssueReason, signal: AbortSignal) => Promise<CertificateBundle>;
  bundles: BundleStore;
  storage: Storage;
  clock: Clock;
  log: Logger;
  metrics?: Pick<Metrics, "certificate" | "acmeOrder" | "acmeConsecutiveFailures"> | undefined;
  /** See `renewAt`. */
  renewAtShare?: number | undefined;
  /** 0 … 1, for the jitter of the back-off. Default Math.random. */
  random?: () => number;
  /** For tests with a clock of their own. Default one minute. */
  tickMs?: number;
}

interface Entry {
  name: string;
  /** What storage knows has been read. */
  isLoaded: boolean;
  bundle: CertificateBundle | undefined;
  failure: FailureRecord | undefined;
  restUntil: number;
  heldBy: string | undefined;
  /** People waiting for `renewNow`. */
  waiting: Waiting[];
}

export function createScheduler(options: SchedulerOptions): Scheduler {
  const { ca, bundles, clock, log, metrics, renewAtShare: share, random = Math.random, tickMs = TICK_MS } = options;
  const { fits = (bundle: CertificateBundle) => bundle.ca === ca } = options;
  const memory = createFailureMemory(options.storage, ca);
  let entries = new Map<string, Entry>();
  /** In reverse order: the first is read first. */
  let unread: Entry[] = [];
  let underWay: { entry: Entry; controller: AbortController } | undefined;
  let working: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isStopped = false;

  /** Without a certificate at once; else by its life; after a failure not before its time. */
  function nextTry(entry: Entry): number {
    return Math.max(dueAt(entry), entry.failure?.nextTry ?? 0, entry.restUntil);
  }

  const dueAt = ({ bundle }: Entry): number => (bundle === undefined || !fits(bundle) ? 0 : renewAt(bundle, share));

  /** People first, then names that have nothing, in the order of the configuration, then the least time left. */
  function pickNext(now: number): Entry | undefined {
    const all = [...entries.values()];
    const due = all.filter((entry) => nextTry(entry) <= now);
    return (
      all.find((entry) => entry.waiting.length > 0) ??
      due.find((entry) => entry.bundle === undefined) ??
      due.sort((a, b) => (a.bundle?.notAfter ?? 0) - (b.bundle?.notAfter ?? 0))[0]
    );
  }

  async function load(entry: Entry): Promise<void> {
    entry.isLoaded = true;
    try {
      entry.bundle = await bundles.load(entry.name);
      entry.failure = await memory.load(entry.name, clock.now());
    } catch (error) {
      // Not knowing is no reason to order: look again later, like after any failure.
      await fail(entry, error);
    }
    report(entry);
  }

  async function attempt(entry: Entry): Promise<void> {
    const controller = new AbortController();
    underWay = { entry, controller };
    const before = entry.bundle?.serial;
    entry.heldBy = undefined;
    const reason: IssueReason = reasonFor(entry.waiting) ?? (entry.bundle === undefined ? "first" : "renewal");
    try {
      const bundle = await options.issue(entry.name, reason, controller.signal);
      entry.bundle = bundle;
      if (isDue(bundle, { fits, share, now: clock.now() })) entry.restUntil = clock.now() + REST_MS;
      if (bundle.serial !== before) {
        metrics?.acmeOrder("success", reason);
        const { name, serial, issuer, notAfter } = bundle;
        log.info({ event: "certificate.issued", name, reason, serial, issuer, notAfter }, "certificate issued");
      }
      await forgive(entry);
      for (const { resolve } of entry.waiting.splice(0)) resolve(bundle);
    } catch (error) {
      if (!controller.signal.aborted) await fail(entry, error);
      for (const { reject } of entry.waiting.splice(0)) reject(error);
    } finally {
      underWay = undefined;
      if (entries.get(entry.name) === entry) report(entry);
    }
  }

  async function forgive(entry: Entry): Promise<void> {
    if (entry.failure === undefined) return;
    entry.failure = undefined;
    await memory.clear(entry.name).catch((error: unknown) => unkept(entry.name, error));
  }

  /** Our own ledger knows that the CA would refuse: nobody was asked, so nothing failed. */
  function hold(entry: Entry, error: GatehouseError): void {
    const { name } = entry;
    entry.restUntil = error.notBefore ?? clock.now() + REST_MS;
    entry.heldBy = error.message;
    log.info(
      { event: "certificate.held", name, reason: error.message, nextTry: entry.restUntil },
      "a limit of the CA is near, the order waits",
    );
  }

  async function fail(entry: Entry, error: unknown): Promise<void> {
    if (isGatehouseError(error) && error.detail["local"] === true) return hold(entry, error);
    const { name, bundle, failure: before } = entry;
    const failure = recordFailure(error, { name, ca, before, bundle, now: clock.now(), random });
    entry.failure = failure;
    metrics?.acmeOrder("failure", failure.code.replace(/^GATEHOUSE_(?:ACME_)?/, "").toLowerCase());
    const { code, count, hint, nextTry } = failure;
    const isUrgent = failure.isRefusal || bundle === undefined || bundle.notAfter <= clock.now();
    log[isUrgent ? "error" : "warn"](
      { event: "certificate.failed", name, code, reason: failure.message, hint, failures: count, nextTry },
      "no certificate could be had",
    );
    await memory.save(failure).catch((cause: unknown) => unkept(name, cause));
  }

  function unkept(name: string, error: unknown): void {
    log.warn({ event: "acme.failures.unkept", name, reason: errorText(error) }, "the back-off could not be stored");
  }

  function report({ name, bundle, failure }: Entry): void {
    const facts = bundle && {
      notBefore: bundle.notBefore,
      notAfter: bundle.notAfter,
      source: URL.parse(bundle.ca)?.host ?? bundle.ca,
      renewAt: renewAt(bundle, share),
    };
    metrics?.certificate(name, facts);
    metrics?.acmeConsecutiveFailures(name, failure?.count ?? 0);
  }

  /** With thousands of names a search from the start for each of them would take seconds. */
  function nextUnread(): Entry | undefined {
    for (let entry = unread.pop(); entry !== undefined; entry = unread.pop()) {
      if (entries.get(entry.name) === entry) return entry;
    }
    return undefined;
  }

  async function work(): Promise<void> {
    for (;;) {
      if (isStopped) return;
      const unread = nextUnread();
      const next = unread === undefined ? pickNext(clock.now()) : undefined;
      if (unread !== undefined) await load(unread);
      else if (next !== undefined) await attempt(next);
      else return;
    }
  }

  function wake(): void {
    if (isStopped || working !== undefined) return;
    clearTimeout(timer);
    working = work()
      .catch((error: unknown) => {
        log.error({ event: "scheduler.stumbled", reason: errorText(error) }, "the scheduler stumbled and goes on");
      })
      .finally(() => {
        working = undefined;
        arm();
      });
  }

  /** The loop may have ended a moment before a name came: what is due already is seen at the next turn of the loop. */
  function arm(): void {
    if (isStopped) return;
    const now = clock.now();
    const soonest = Math.min(...[...entries.values()].map((entry) => (entry.waiting.length > 0 ? 0 : nextTry(entry))));
    timer = setTimeout(wake, Math.min(Math.max(soonest - now, 1), tickMs));
    timer.unref();
  }

  function turnAway(entry: Entry, why: string): void {
    const error = new GatehouseError("GATEHOUSE_CERTIFICATE_PENDING", { message: `${entry.name}: ${why}.` });
    if (underWay?.entry === entry) underWay.controller.abort(error);
    for (const { reject } of entry.waiting.splice(0)) reject(error);
  }

  return {
    setNames(names) {
      const kept = new Map<string, Entry>();
      for (const name of names) {
        const fresh = {
          name,
          isLoaded: false,
          bundle: undefined,
          failure: undefined,
          restUntil: 0,
          heldBy: undefined,
          waiting: [],
        };
        kept.set(name, entries.get(name) ?? fresh);
      }
      const gone = [...entries.values()].filter(({ name }) => !kept.has(name));
      entries = kept;
      unread = [...kept.values()].filter((entry) => !entry.isLoaded).reverse();
      for (const entry of gone) {
        turnAway(entry, "it is no longer in the configuration");
        metrics?.certificate(entry.name, undefined);
      }
      wake();
    },

    status: () =>
      [...entries.values()].map((entry) =>
        certificateStatus(entry, { nextTry: nextTry(entry), renewAt: dueAt(entry), now: clock.now() }),
      ),

    lookAgain(name) {
      const entry = entries.get(name);
      if (entry !== undefined) unread.push(entry);
      wake();
    },

    async renewNow(name, { really = false } = {}) {
      const entry = entries.get(name);
      if (entry === undefined || isStopped) {
        throw new GatehouseError("GATEHOUSE_CERTIFICATE_UNKNOWN_NAME", {
          message: `${name} is not a name that Gatehouse keeps a certificate for.`,
          hint: "`gatehouse ls` shows the names there are.",
        });
      }
      const { failure } = entry;
      if (!really && failure?.notBefore !== undefined && failure.notBefore > clock.now()) {
        throw new GatehouseError("GATEHOUSE_ACME_RATE_LIMITED", {
          message: `The CA asked to be left alone until ${new Date(failure.notBefore).toISOString()}: ${failure.message}`,
          hint: "Asking earlier only makes the wait longer.",
          notBefore: failure.notBefore,
        });
      }
      const { promise, resolve, reject } = Promise.withResolvers<CertificateBundle>();
      entry.waiting.push({ really, resolve, reject });
      wake();
      return promise;
    },

    async stop() {
      isStopped = true;
      clearTimeout(timer);
      for (const entry of entries.values()) turnAway(entry, "Gatehouse is stopping");
      await working;
    },
  };
}
