/**
 * How does a name get its certificate, the first and every later one?
 * Owns: the order of events: lock, still needed?, room on the disk, account, order, save, announce, unlock.
 * Never: decides when (the scheduler does), and never runs in a handshake.
 */
import { GatehouseError, errorText, isGatehouseError } from "../core/errors.ts";
import type { Clock } from "../core/time.ts";
import type { Logger } from "../observe/log.ts";
import type { BundleStore, CertificateBundle } from "../storage/bundles.ts";
import type { Storage } from "../storage/contract.ts";
import { type AccountOptions, createAcmeAccount } from "./account.ts";
import type { Challenges } from "./challenges.ts";
import { isDue } from "./due.ts";
import { isAccountGone } from "./explain.ts";
import { type OrderTools, obtainCertificate } from "./order.ts";
import { createPendingOrders } from "./pending-order.ts";
import type { AcmeWire } from "./wire.ts";

/** Another process at work on the same name needs this long at most: two polls and a dozen requests. */
const LOCK_WITHIN_MS = 300_000;

/** `asked`: a person wants a new one now, whatever the age of the old. */
export type IssueReason = "first" | "renewal" | "asked";

export interface IssuerOptions {
  directoryUrl: string;
  /** PEM of roots for the CA's own HTTPS. */
  roots?: string | undefined;
  email?: string | undefined;
  /** See `renewAt`. */
  renewAtShare?: number | undefined;
  userAgent?: string | undefined;
  storage: Storage;
  bundles: BundleStore;
  challenges: Challenges;
  clock: Clock;
  log: Logger;
  /** A new certificate: serve it from now on. */
  onIssued: (bundle: CertificateBundle) => void | Promise<void>;
  /** For tests: shorter deadlines. */
  wire?: AccountOptions["wire"];
}

export interface Issuer {
  /**
   * A certificate for the name: the stored one when it turns out that no new one is needed.
   *
   * @throws GATEHOUSE_ACME_* with `notBefore` where the CA said when to come back
   * @throws GATEHOUSE_STORAGE_FAILED before an order is spent, or after: the order is then continued at the next call
   */
  issue(name: string, reason: IssueReason, signal: AbortSignal): Promise<CertificateBundle>;
}

export function createIssuer(options: IssuerOptions): Issuer {
  const { directoryUrl, storage, bundles, challenges, clock, log } = options;
  const account = createAcmeAccount(options);
  const tools: OrderTools = {
    directoryUrl,
    pending: createPendingOrders(storage, directoryUrl),
    challenges,
    clock,
    log,
  };
  let hasSwept = false;

  async function sweepOnce(): Promise<void> {
    if (hasSwept) return;
    hasSwept = true;
    await challenges.sweep().catch((error: unknown) => {
      log.warn({ event: "acme.challenges.unswept", reason: errorText(error) }, "old challenge tokens were not removed");
    });
  }

  /** An account the CA has lost is made anew, once: its limit on new accounts is ten in three hours. */
  async function withAccount<T>(signal: AbortSignal, work: (wire: AcmeWire) => Promise<T>): Promise<T> {
    try {
      return await work(await account.open(signal));
    } catch (error) {
      if (!isAccountGone(error)) throw error;
      return work(await account.remake(signal));
    }
  }

  async function save(bundle: CertificateBundle): Promise<void> {
    try {
      await bundles.save(bundle);
    } catch (error) {
      // Serving it from memory beats not serving it; key and order are on disk, so the next try fetches it again.
      if (isGatehouseError(error, "GATEHOUSE_STORAGE_FAILED")) await options.onIssued(bundle);
      throw error;
    }
    await tools.pending.drop(bundle.name);
  }

  return {
    async issue(name, reason, signal) {
      refuseWildcard(name);
      const askedAt = clock.now();
      const lock = await storage.lock(`acme/${name}`, { withinMs: LOCK_WITHIN_MS, signal });
      try {
        const current = await bundles.load(name);
        const isNeeded =
          reason === "asked"
            ? current === undefined || current.issuedAt < askedAt
            : isDue(current, { ca: directoryUrl, share: options.renewAtShare, now: askedAt });
        if (!isNeeded && current !== undefined) return current;
        await storage.probe();
        await sweepOnce();
        const bundle = await withAccount(signal, (wire) => obtainCertificate(tools, wire, name, current, signal));
        await save(bundle);
        await options.onIssued(bundle);
        return bundle;
      } finally {
        await lock.release();
      }
    },
  };
}

/** HTTP-01 proves one host, so no CA signs a wildcard for it (RFC 8555 §8.3, and the Baseline Requirements). */
function refuseWildcard(name: string): void {
  if (!name.startsWith("*.")) return;
  throw new GatehouseError("GATEHOUSE_ACME_REFUSED", {
    message: `${name}: a wildcard certificate cannot be had by HTTP-01, the only way this version knows.`,
    hint: "List the names one by one, or use acme.ca: local.",
  });
}
