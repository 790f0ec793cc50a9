/**
 * How does a name get its certificate, the first and every later one?
 * Owns: the order of events: lock, still needed?, room on the disk, account, order, save, announce, unlock.
 * Never: decides when (the scheduler does), and never runs in a handshake.
 */
import { errorText, GatehouseError, isGatehouseError } from "../core/errors.ts";
import { type Clock, formatDuration } from "../core/time.ts";
import type { Logger } from "../observe/log.ts";
import type { BundleStore, CertificateBundle } from "../storage/bundles.ts";
import type { Storage } from "../storage/contract.ts";
import { type AccountOptions, type AcmeAccount, createAcmeAccount } from "./account.ts";
import { createProver } from "./authorize.ts";
import { createChallengeMemories } from "./challenges/choose.ts";
import { isDue } from "./schedule/due.ts";
import { isAccountGone } from "./explain.ts";
import { type OrderTools, type WantedCertificate, isSameSet, obtainCertificate } from "./order.ts";
import { createHistories, type Histories } from "./schedule/history.ts";
import { type Attempt, type Ledger, createLedger } from "./ledger/ledger.ts";
import { countedAccounts, countedWire } from "./ledger/wire.ts";
import { createPendingOrders } from "./pending-order.ts";
import { createRehearsal } from "./rehearsal.ts";
import { revokeCertificate } from "./revoke.ts";
import { type RenewalInfo, createRenewalInfo } from "./schedule/renewal-info.ts";
import type { KeyType } from "./signing-request.ts";
import type { ChallengeType, Solver } from "./challenges/solver.ts";
import { type AcmeInfo, createAcmeInfo } from "./wire/info.ts";
import { type AcmeWire, type ExternalAccount, createAcmeWire } from "./wire/wire.ts";

/** CAs backdate by an hour; more than that apart, and what one of the two says of dates is wrong. */
const MAX_SKEW_MS = 3_600_000;
/** Another process at work on the same name needs this long at most: two polls and a dozen requests. */
const LOCK_WITHIN_MS = 300_000;

/**
 * `asked`: a person wants a new one now, whatever the age of the old. `insisted`: and whatever the ledger says; what the CA
 * says counts all the same.
 */
export type IssueReason = "first" | "renewal" | "asked" | "insisted";

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
  /** What is known of this CA's limits. Default: what lies in storage. */
  ledger?: Ledger | undefined;
  histories?: Histories | undefined;
  /** What this CA tells everybody, and what it said of renewals. Default: over HTTPS, and kept in storage. */
  info?: AcmeInfo | undefined;
  renewalInfo?: RenewalInfo | undefined;
  /** Where the same CA lets us rehearse. Default: what is known of the CA; `false` for not at all. */
  staging?: { directoryUrl: string; roots?: string | undefined } | false | undefined;
  /** For tests: shorter deadlines, and a CA that is no server. */
  wire?: AccountOptions["wire"];
  connect?: AccountOptions["connect"];
}

export interface AcmeIssuer extends Issuer {
  /**
   * Take it back at the CA that signed it. Done already is as good.
   *
   * @param reason  a number of RFC 5280 §5.3.1
   * @throws GATEHOUSE_ACME_*
   */
  revoke(bundle: CertificateBundle, reason: number, signal: AbortSignal): Promise<void>;
  /** Prove the names of a certificate at the CA's staging; false: it has none. @throws GATEHOUSE_ACME_* */
  rehearse(name: string, signal: AbortSignal): Promise<boolean>;
  /** The accounts that these names use, each once. */
  accounts(names: readonly string[]): AcmeAccount[];
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

export function createIssuer(options: IssuerOptions): AcmeIssuer {
  const { directoryUrl, storage, bundles, clock, log } = options;
  const { namesOf = (name: string) => [name], emailOf = () => options.email } = options;
  const { ledger = createLedger(options), connect = createAcmeWire } = options;
  const { histories = createHistories(directoryUrl, storage, clock, log) } = options;
  const accounts = new Map<string | undefined, AcmeAccount>();
  const rehearsal = createRehearsal({ ...options, prover: () => prover, histories });
  const { roots, userAgent } = options;
  const { requestDeadlineMs } = options.wire ?? {};
  const { info = createAcmeInfo({ directoryUrl, roots, userAgent, clock, requestDeadlineMs }) } = options;
  const { renewalInfo = createRenewalInfo({ ...options, info }) } = options;
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
    const account = createAcmeAccount({
      ...options,
      email,
      isOwn: email !== options.email,
      connect: (wire) => countedAccounts(connect(wire), ledger),
    });
    accounts.set(email, account);
    return account;
  }

  function accountNameOf(name: string): string | undefined {
    const email = emailOf(name);
    return email === options.email ? undefined : email;
  }

  /**
   * A certificate that begins tomorrow by our clock would be thrown away, and the CA would have counted it. Without an
   * answer the time cannot be seen; then the order fails by itself.
   */
  async function seeTheTime(signal: AbortSignal): Promise<void> {
    const { skewMs = 0 } = await info.directory(signal);
    if (Math.abs(skewMs) <= MAX_SKEW_MS) return;
    throw new GatehouseError("GATEHOUSE_ACME_UNAVAILABLE", {
      message: `This machine's clock is ${formatDuration(Math.round(Math.abs(skewMs) / 60_000) * 60_000)} ${skewMs > 0 ? "ahead of" : "behind"} the CA's; nothing is ordered.`,
      hint: "Set the clock right (timedatectl set-ntp true); the order follows by itself.",
      detail: { road: "clock" },
    });
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
    attempt: Attempt,
    signal: AbortSignal,
  ): Promise<CertificateBundle> {
    const ask = () =>
      withAccount(wanted.name, signal, (wire) =>
        obtainCertificate(tools, countedWire(wire, ledger, attempt), wanted, current, signal),
      );
    try {
      return await ask();
    } catch (error) {
      if (!isGatehouseError(error, "GATEHOUSE_ACME_CHALLENGE_FAILED") || error.detail["another"] !== true) throw error;
      await histories.failed(attempt, error);
      log.warn(
        { event: "acme.challenge.failed", name: wanted.name, reason: error.message },
        "trying another challenge",
      );
      return ask();
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
    async rehearse(name, signal) {
      if (!rehearsal.isPossible) return false;
      const names = namesOf(name);
      prover.check(names);
      const account = accountNameOf(name);
      await rehearsal.now({ name, names, account, who: "person", isRenewal: false, isAdvised: false }, signal);
      return true;
    },
    accounts: (names) => [...new Set(names.map(accountFor))],
    async revoke(bundle, reason, signal) {
      const tools = {
        withAccount: (name: string, work: (wire: AcmeWire) => Promise<void>) => withAccount(name, signal, work),
        connect: (accountKeyPem: string) =>
          connect({ directoryUrl, accountKeyPem, isKeyAlone: true, clock, roots, userAgent, ...options.wire }),
      };
      await revokeCertificate(tools, bundle, reason, signal);
    },
    async issue(name, reason, signal) {
      const askedAt = clock.now();
      const lock = await storage.lock(`acme/${name.replaceAll(":", "_")}`, { withinMs: LOCK_WITHIN_MS, signal });
      try {
        const names = namesOf(name);
        const current = await bundles.load(name);
        const isOurs = current !== undefined && current.ca === directoryUrl;
        const advice = isOurs ? await renewalInfo.known(current) : undefined;
        const isNeeded =
          reason === "asked" || reason === "insisted"
            ? current === undefined || current.issuedAt < askedAt
            : isDue(current, {
                fits: ({ ca, revokedAt, names: held }) =>
                  ca === directoryUrl && revokedAt === undefined && isSameSet(held, names),
                share: options.renewAtShare,
                advised: advice?.renewAt,
                now: askedAt,
              });
        if (!isNeeded && current !== undefined) return current;
        prover.check(names);
        const isRenewal = isOurs && isSameSet(current.names, names);
        const who = reason === "insisted" ? "insists" : reason === "asked" ? "person" : "machine";
        const isAdvised = advice?.isOpen(askedAt) === true;
        const attempt: Attempt = { name, names, account: accountNameOf(name), who, isRenewal, isAdvised };
        await ledger.admit(attempt, []);
        await storage.probe();
        await tidy();
        const { key = "p256", profile, preferredChain } = options;
        const id =
          isOurs && names.some((each) => current.names.includes(each))
            ? await renewalInfo.replaces(current, signal)
            : undefined;
        const replaces =
          id === undefined || current === undefined
            ? undefined
            : { id, wasReplaced: () => renewalInfo.wasReplaced(current) };
        const wanted = { name, names, key, profile, preferredChain, replaces };
        const noted = <T>(work: Promise<T>): Promise<T> =>
          work.catch(async (error: unknown) => {
            if (!signal.aborted && !isLocal(error)) await histories.failed(attempt, error);
            throw error;
          });
        await noted(seeTheTime(signal));
        await rehearsal.ifItFailed(attempt, signal);
        const bundle = await noted(obtain(wanted, current, attempt, signal));
        await save(bundle);
        await histories.issued(attempt);
        await options.onIssued(bundle);
        return bundle;
      } finally {
        await lock.release();
      }
    },
  };
}

/** Told by our own ledger: the CA was not asked. */
const isLocal = (error: unknown): boolean => isGatehouseError(error) && error.detail["local"] === true;
