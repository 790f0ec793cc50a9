/**
 * Which certificate is due, and when do we try again?
 * Owns: the queue: who is next, one order at a time, waking up, names that come and go.
 * Never: speaks ACME (issue does) or serves. The rules are next door: `due` (lifetime share) and `failures` (back-off).
 */
import { errorText, GatehouseError, isGatehouseError } from "../../core/errors.ts";
import type { CertificateBundle } from "../../storage/bundles.ts";
import { renewAt } from "./due.ts";
import { certificateStatus } from "../certificate-status.ts";
import { createFailureMemory, recordFailure } from "./failures.ts";
import type { IssueReason } from "../issue.ts";
import { type Leadership, createLeadership } from "./leadership.ts";
import { nextTry, pickNext, pickToAsk, soonest } from "./queue.ts";
import type { Scheduler, SchedulerOptions } from "./contract.ts";
import { type Entry, newEntry } from "./entry.ts";
import { reasonFor } from "./waiting.ts";

/**
 * Wake at least this often and ask the wall clock: timers do not count the hours a machine slept, and setTimeout
 * overflows after 24.8 days.
 */
const TICK_MS = 60_000;
/** A renewal that brought nothing newer is not repeated in a loop. */
const REST_MS = 60_000;
/** Questions about renewal times between two looks for something more urgent. */
const ASK_AT_ONCE = 25;
/** Where another process schedules: what is due is looked for this often, everything else each hour. */
const LOOK_AGAIN_MS = 60_000;
const LOOK_AT_ALL_MS = 3_600_000;

export function createScheduler(options: SchedulerOptions): Scheduler {
  const { ca, bundles, clock, log, metrics, renewAtShare: share, random = Math.random, tickMs = TICK_MS } = options;
  const { fits = (bundle: CertificateBundle) => bundle.ca === ca } = options;
  const memory = createFailureMemory(options.storage, ca);
  let entries = new Map<string, Entry>();
  /** In reverse order: the first is read first. */
  let unread: Entry[] = [];
  let underWay: { entry: Entry; controller: AbortController } | undefined;
  let working: Promise<void> | undefined;
  let callOff = (): void => {};
  let leadership: Leadership | undefined;
  const stopping = new AbortController();
  const { timer = unheldTimer, renewalInfoOf = () => undefined, onFound = () => {} } = options;
  let isStopped = false;

  async function load(entry: Entry): Promise<void> {
    const isFirst = entry.readAt === 0;
    entry.readAt = clock.now();
    try {
      const bundle = await bundles.load(entry.name);
      if (!isFirst && bundle !== undefined && bundle.serial !== entry.bundle?.serial) onFound(bundle);
      await take(entry, bundle);
      entry.failure = await memory.load(entry.name, clock.now());
    } catch (error) {
      // Not knowing is no reason to order: look again later, like after any failure.
      await fail(entry, error);
    }
    report(entry);
  }

  async function take(entry: Entry, bundle: CertificateBundle | undefined): Promise<void> {
    const renewalInfo = bundle === undefined ? undefined : renewalInfoOf(bundle.ca);
    entry.advice = bundle === undefined ? undefined : await renewalInfo?.known(bundle);
    if (bundle?.serial !== entry.bundle?.serial) entry.askAt = renewalInfo?.firstAskAt() ?? Number.POSITIVE_INFINITY;
    entry.bundle = bundle;
    entry.dueAt = dueAt(entry);
  }

  function dueAt({ bundle, advice }: Entry): number {
    return bundle === undefined || !fits(bundle) ? 0 : renewAt(bundle, share, advice?.renewAt);
  }

  /** Some at a time. False when nobody was to be asked. */
  async function ask(): Promise<boolean> {
    const some = pickToAsk(entries.values(), clock.now(), ASK_AT_ONCE);
    for (const entry of some) {
      const { bundle } = entry;
      const renewalInfo = bundle === undefined ? undefined : renewalInfoOf(bundle.ca);
      if (bundle === undefined || renewalInfo === undefined) entry.askAt = Number.POSITIVE_INFINITY;
      else {
        const { advice, askAgainAt } = await renewalInfo.ask(bundle, stopping.signal);
        entry.advice = advice;
        entry.askAt = Math.max(askAgainAt, clock.now() + REST_MS);
        entry.dueAt = dueAt(entry);
        report(entry);
      }
      if (isStopped) break;
    }
    return some.length > 0;
  }

  async function attempt(entry: Entry): Promise<void> {
    const controller = new AbortController();
    underWay = { entry, controller };
    const before = entry.bundle?.serial;
    const startedAt = clock.now();
    entry.heldBy = undefined;
    const reason: IssueReason = reasonFor(entry.waiting) ?? (entry.bundle === undefined ? "first" : "renewal");
    try {
      const bundle = await options.issue(entry.name, reason, controller.signal);
      await take(entry, bundle);
      if (entry.dueAt <= clock.now()) entry.restUntil = clock.now() + REST_MS;
      if (bundle.serial !== before && bundle.issuedAt < startedAt) onFound(bundle);
      else if (bundle.serial !== before) {
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

  function report({ name, bundle, failure, advice }: Entry): void {
    const facts = bundle && {
      notBefore: bundle.notBefore,
      notAfter: bundle.notAfter,
      source: URL.parse(bundle.ca)?.host ?? bundle.ca,
      renewAt: renewAt(bundle, share, advice?.renewAt),
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
      const unread = nextUnread() ?? nextStale();
      const next = unread === undefined ? pickNext(mine(), clock.now()) : undefined;
      if (unread !== undefined) await load(unread);
      else if (next !== undefined) await attempt(next);
      else if (leadership?.isLeader() !== true || !(await ask())) return;
    }
  }

  /** People are served by whichever process they ask; the rest is for the one that schedules. */
  function mine(): Iterable<Entry> {
    const all = entries.values();
    return leadership?.isLeader() === true ? all : [...all].filter(({ waiting }) => waiting.length > 0);
  }

  /** Where another process schedules, what it brought is found on the disk. */
  function nextStale(): Entry | undefined {
    if (leadership?.isLeader() !== false) return undefined;
    const now = clock.now();
    for (const entry of entries.values()) {
      if (now - entry.readAt >= (nextTry(entry) <= now ? LOOK_AGAIN_MS : LOOK_AT_ALL_MS)) return entry;
    }
    return undefined;
  }

  function wake(): void {
    if (isStopped || working !== undefined) return;
    callOff();
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
    const at = leadership?.isLeader() === true ? soonest(entries.values()) : soonest(mine());
    callOff = timer(wake, Math.min(Math.max(at - now, 1), tickMs));
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
        kept.set(name, entries.get(name) ?? newEntry(name));
      }
      const gone = [...entries.values()].filter(({ name }) => !kept.has(name));
      entries = kept;
      unread = [...kept.values()].filter(({ readAt }) => readAt === 0).reverse();
      for (const entry of gone) {
        turnAway(entry, "it is no longer in the configuration");
        metrics?.certificate(entry.name, undefined);
      }
      if (options.onlyAsked !== true) leadership ??= createLeadership(options.storage, log, wake);
      wake();
    },

    status: () =>
      [...entries.values()].map((entry) =>
        certificateStatus(entry, { nextTry: nextTry(entry), renewAt: entry.dueAt, now: clock.now() }),
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

    settled: async () => working,

    async stop() {
      isStopped = true;
      callOff();
      stopping.abort(new Error("Gatehouse is stopping"));
      for (const entry of entries.values()) turnAway(entry, "Gatehouse is stopping");
      await working;
      await leadership?.stop();
    },
  };
}

/** It must not keep a process alive that has nothing else to do. */
function unheldTimer(work: () => void, ms: number): () => void {
  const timeout = setTimeout(work, ms);
  timeout.unref();
  return () => clearTimeout(timeout);
}
