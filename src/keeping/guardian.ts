/**
 * Does every name really have what it should, and who hears of it when not?
 * Owns: the hourly handshake with our own listener for each name, the minute's look at dates and failures, the alerts.
 * Never: orders (the scheduler does) or sends (the notifier does).
 */
import type { CertificateStatus } from "../acme/certificate-status.ts";
import { errorText } from "../core/errors.ts";
import { inPieces } from "../core/pieces.ts";
import type { Clock } from "../core/time.ts";
import type { Logger } from "../observe/log.ts";
import type { CertificateSample, Metrics } from "../observe/metrics.ts";
import type { Notifier } from "../observe/notify.ts";
import type { CertificateBundle } from "../storage/bundles.ts";
import { alertKey, type AlertRules, certificateAlert } from "./certificate-alerts.ts";
import { checkServed, type OwnListener } from "./own-handshake.ts";

const LOOK_EVERY_MS = 60_000;
const SHAKE_EVERY_MS = 3_600_000;
/** The first round waits for first certificates. */
const FIRST_SHAKE_MS = 120_000;
/** The scheduler first writes down what it says. */
const SOON_MS = 500;
/** Ten thousand names take 100 s of an hour, and no visitor feels it. */
const BETWEEN_MS = 10;

export interface Guardian {
  start(): void;
  /** Something has changed: look at dates and failures within a second. */
  lookSoon(): void;
  /** All names, now. What is wrong, by name. */
  shakeHands(): Promise<ReadonlyMap<string, string>>;
  stop(): void;
}

export function createGuardian(options: {
  log: Logger;
  clock: Clock;
  metrics: Pick<Metrics, "watchCertificates">;
  notifier: Pick<Notifier, "raise" | "settle">;
  rules(): AlertRules;
  certificates(): Promise<readonly CertificateStatus[]>;
  /** Names that the https listener serves with a certificate of ours. */
  served(): readonly string[];
  /** Undefined: nothing listens for HTTPS. */
  listener(): OwnListener | undefined;
  bundle(name: string): Promise<CertificateBundle | undefined>;
  /** Serve the stored one again. */
  restore(bundle: CertificateBundle): void;
}): Guardian {
  const { log, clock, notifier } = options;
  const seen = new Map<string, { at: number; problem: string | undefined }>();
  const alerted = new Set<string>();
  let statuses: readonly CertificateStatus[] = [];
  let looking: NodeJS.Timeout | undefined;
  let shaking: NodeJS.Timeout | undefined;
  let soon: NodeJS.Timeout | undefined;
  let isStopped = false;

  options.metrics.watchCertificates(function* (): Iterable<CertificateSample> {
    for (const { name, nextTry } of statuses) {
      const last = seen.get(name);
      yield { name, nextTry, served: last && { ok: last.problem === undefined, at: last.at } };
    }
  });

  async function checkName(name: string, listener: OwnListener): Promise<string | undefined> {
    const bundle = await options.bundle(name);
    if (bundle === undefined) return undefined; // the scheduler is at it, and says so
    const problem = await checkServed(listener, bundle, clock.now());
    if (problem === undefined) return undefined;
    log.warn({ event: "guardian.mismatch", name, problem }, "not what is stored; the stored one is served again");
    options.restore(bundle);
    // Workers take it a moment later.
    await pause(500);
    const again = await options.bundle(name);
    return again && checkServed(listener, again, clock.now());
  }

  async function shakeHands(): Promise<ReadonlyMap<string, string>> {
    const listener = options.listener();
    const names = new Set(options.served());
    for (const name of seen.keys()) if (!names.has(name)) seen.delete(name);
    const problems = new Map<string, string>();
    if (listener === undefined) return problems;
    for (const name of names) {
      if (isStopped) break;
      const problem = await checkName(name, listener);
      seen.set(name, { at: clock.now(), problem });
      if (problem !== undefined) {
        problems.set(name, problem);
        log.error({ event: "guardian.failed", name, problem }, "visitors of this name do not get what is stored");
      }
      await pause(BETWEEN_MS);
    }
    log.info({ event: "guardian.checked", names: names.size, problems: problems.size }, "own certificates looked at");
    return problems;
  }

  async function look(): Promise<void> {
    statuses = await options.certificates();
    const rules = options.rules();
    const names = new Set<string>();
    await inPieces(statuses, (status) => {
      const { name } = status;
      names.add(name);
      const alert = certificateAlert(status, seen.get(name)?.problem, rules, clock.now());
      if (alert !== undefined) {
        alerted.add(name);
        notifier.raise(alert);
      } else if (status.state === "valid") {
        alerted.delete(name);
        notifier.settle(alertKey(name), "All is well with its certificate again.");
      }
    });
    for (const name of alerted) {
      if (names.has(name)) continue;
      alerted.delete(name);
      notifier.settle(alertKey(name), "The name is no longer in the configuration.");
    }
  }

  const attempt = (work: () => Promise<unknown>) => (): void => {
    work().catch((error: unknown) => {
      log.error({ event: "guardian.stumbled", reason: errorText(error) }, "the guardian stumbled and goes on");
    });
  };

  return {
    shakeHands,
    start() {
      const round = async (): Promise<void> => {
        try {
          await shakeHands();
          await look();
        } finally {
          if (!isStopped) shaking = setTimeout(attempt(round), SHAKE_EVERY_MS).unref();
        }
      };
      attempt(look)();
      looking = setInterval(attempt(look), LOOK_EVERY_MS).unref();
      shaking = setTimeout(attempt(round), FIRST_SHAKE_MS).unref();
    },
    lookSoon() {
      if (isStopped || looking === undefined || soon !== undefined) return;
      soon = setTimeout(() => {
        soon = undefined;
        attempt(look)();
      }, SOON_MS).unref();
    },
    stop() {
      isStopped = true;
      clearTimeout(soon);
      clearInterval(looking);
      clearTimeout(shaking);
    },
  };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
