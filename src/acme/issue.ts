/**
 * How does a name get its certificate, the first and every later one?
 * Owns: the order of events: lock, still needed?, room on the disk, account, order, save, announce, unlock.
 * Never: decides when (the scheduler does), and never runs in a handshake.
 */
import { errorText, isGatehouseError } from "../core/errors.ts";
import type { Clock } from "../core/time.ts";
import type { Logger } from "../observe/log.ts";
import type { BundleStore, CertificateBundle } from "../storage/bundles.ts";
import type { Storage } from "../storage/contract.ts";
import { type AccountOptions, type AcmeAccount, createAcmeAccount } from "./account.ts";
import { createProver } from "./authorize.ts";
import { createChallengeMemories } from "./choose-challenge.ts";
import { isDue } from "./due.ts";
import { isAccountGone } from "./explain.ts";
import { type OrderTools, type WantedCertificate, isSameSet, obtainCertificate } from "./order.ts";
import { createPendingOrders } from "./pending-order.ts";
import type { KeyType } from "./signing-request.ts";
import type { ChallengeType, Solver } from "./solver.ts";
import type { AcmeWire, ExternalAccount } from "./wire.ts";

/** Another process at work on the same name needs this long at most: two polls and a dozen requests. */
const LOCK_WITHIN_MS = 300_000;

/** `asked`: a person wants a new one now, whatever the age of the old. */
export type IssueReason = "first" | "renewal" | "asked";

export interface IssuerOptions {
  directoryUrl: string;
  /** PEM of roots for the CA's own HTTPS. */
  roots?: string | undefined;
  email?: string | undefined;
  /** External account binding, for CAs whose accounts begin on a website. */
  eab?: ExternalAccount | undefined;
  /** A site with an e-mail address of its own has an account of its own. Default: `email` for all. */
  emailOf?: ((name: string) => string | undefined) | undefined;
  /** What the certificate of this name holds besides. Default: the name alone. */
  namesOf?: ((name: string) => readonly string[]) | undefined;
  /** Default `auto`. */
  challenge?: "auto" | ChallengeType | undefined;
  /** Default `p256`. */
  key?: KeyType | undefined;
  profile?: string | undefined;
  preferredChain?: string | undefined;
  /** See `renewAt`. */
  renewAtShare?: number | undefined;
  userAgent?: string | undefined;
  storage: Storage;
  bundles: BundleStore;
  /** One for each kind of challenge that can be met here. */
  solvers: readonly Solver[];
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
  /** Remove what crashes left behind: tokens, certificates of challenges, records in a zone. Never rejects. */
  tidy(): Promise<void>;
}

export function createIssuer(options: IssuerOptions): Issuer {
  const { directoryUrl, storage, bundles, clock, log } = options;
  const { namesOf = (name: string) => [name], emailOf = () => options.email } = options;
  const accounts = new Map<string | undefined, AcmeAccount>();
  const prover = createProver({
    solvers: options.solvers,
    wanted: options.challenge,
    memories: createChallengeMemories(storage),
    clock,
    log,
  });
  const tools: OrderTools = { directoryUrl, pending: createPendingOrders(storage, directoryUrl), prover, clock, log };

  async function tidy(): Promise<void> {
    await prover.sweep().catch((error: unknown) => {
      log.warn({ event: "acme.challenges.unswept", reason: errorText(error) }, "old challenges were not all removed");
    });
  }

  function accountFor(name: string): AcmeAccount {
    const email = emailOf(name);
    const known = accounts.get(email);
    if (known !== undefined) return known;
    const account = createAcmeAccount({ ...options, email, isOwn: email !== options.email });
    accounts.set(email, account);
    return account;
  }

  /** An account the CA has lost is made anew, once: its limit on new accounts is ten in three hours. */
  async function withAccount<T>(name: string, signal: AbortSignal, work: (wire: AcmeWire) => Promise<T>): Promise<T> {
    const account = accountFor(name);
    try {
      return await work(await account.open(signal));
    } catch (error) {
      if (!isAccountGone(error)) throw error;
      return work(await account.remake(signal));
    }
  }

  /** A name that could not be proved one way is proved another way at once, if that has not failed before: once. */
  async function obtain(
    wanted: WantedCertificate,
    current: CertificateBundle | undefined,
    signal: AbortSignal,
  ): Promise<CertificateBundle> {
    const attempt = () =>
      withAccount(wanted.name, signal, (wire) => obtainCertificate(tools, wire, wanted, current, signal));
    try {
      return await attempt();
    } catch (error) {
      if (!isGatehouseError(error, "GATEHOUSE_ACME_CHALLENGE_FAILED") || error.detail["another"] !== true) throw error;
      log.warn(
        { event: "acme.challenge.failed", name: wanted.name, reason: error.message },
        "trying another challenge",
      );
      return attempt();
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
    tidy,
    async issue(name, reason, signal) {
      const askedAt = clock.now();
      const lock = await storage.lock(`acme/${name.replaceAll(":", "_")}`, { withinMs: LOCK_WITHIN_MS, signal });
      try {
        const names = namesOf(name);
        const current = await bundles.load(name);
        const isNeeded =
          reason === "asked"
            ? current === undefined || current.issuedAt < askedAt
            : isDue(current, {
                fits: (bundle) => bundle.ca === directoryUrl && isSameSet(bundle.names, names),
                share: options.renewAtShare,
                now: askedAt,
              });
        if (!isNeeded && current !== undefined) return current;
        prover.check(names);
        await storage.probe();
        await tidy();
        const { key = "p256", profile, preferredChain } = options;
        const bundle = await obtain({ name, names, key, profile, preferredChain }, current, signal);
        await save(bundle);
        await options.onIssued(bundle);
        return bundle;
      } finally {
        await lock.release();
      }
    },
  };
}
