/**
 * What does a scheduler promise, and what does it need?
 * Owns: the two interfaces.
 * Never: does anything.
 */
import type { Clock } from "../../core/time.ts";
import type { Logger } from "../../observe/log.ts";
import type { Metrics } from "../../observe/metrics.ts";
import type { BundleStore, CertificateBundle } from "../../storage/bundles.ts";
import type { Storage } from "../../storage/contract.ts";
import type { CertificateStatus } from "../certificate-status.ts";
import type { IssueReason } from "../issue.ts";
import type { RenewalInfo } from "./renewal-info.ts";

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
  /** What is under way, reading included, has ended. */
  settled(): Promise<void>;
  /** Abort what is under way (the order stays on disk and is continued) and wait for its end. */
  stop(): Promise<void>;
}

export interface SchedulerOptions {
  /** Directory URL, or `local`: failures are kept for this CA. */
  ca: string;
  /** A certificate that does not fit (another CA, other names) is due at once. Default: it is of `ca`. */
  fits?: ((bundle: CertificateBundle) => boolean) | undefined;
  issue: (name: string, reason: IssueReason, signal: AbortSignal) => Promise<CertificateBundle>;
  /** What the CA of this name says of renewals (RFC 9773). */
  renewalInfoOf?: ((ca: string) => RenewalInfo | undefined) | undefined;
  /** A certificate that another process has brought: serve it from now on. */
  onFound?: ((bundle: CertificateBundle) => void) | undefined;
  bundles: BundleStore;
  storage: Storage;
  clock: Clock;
  log: Logger;
  metrics?: Pick<Metrics, "certificate" | "acmeOrder" | "acmeConsecutiveFailures"> | undefined;
  /** Nothing by itself: people ask, and when nobody asks nothing happens. */
  onlyAsked?: boolean | undefined;
  /** See `renewAt`. */
  renewAtShare?: number | undefined;
  /** 0 … 1, for the jitter of the back-off. Default Math.random. */
  random?: () => number;
  /** For tests with a clock of their own. Default one minute. */
  tickMs?: number;
  /** Call once, `ms` from now; returns how to call it off. Default setTimeout. */
  timer?: (work: () => void, ms: number) => () => void;
}
