/**
 * What may a person ask about certificates, beside what happens by itself?
 * Owns: the answers to issue, revoke, disable, cleanup, show and accounts, put together from scheduler, CAs and storage;
 *   `bring` has those about certificates that come from elsewhere.
 * Never: words them for people (cli does), and never decides against the ledger.
 */
import type { AcmeAccount } from "../acme/account.ts";
import { createChallengeMemories } from "../acme/challenges/choose.ts";
import { type CertificateStatus, certificateStatus } from "../acme/certificate-status.ts";
import type { CertificateActions, CleanupReport, IssueOutcome } from "../admin/actions.ts";
import { errorText, GatehouseError } from "../core/errors.ts";
import { systemClock } from "../core/time.ts";
import type { Issuing } from "../issuing.ts";
import type { Logger } from "../observe/log.ts";
import type { BundleStore, CertificateBundle } from "../storage/bundles.ts";
import type { Storage } from "../storage/contract.ts";
import { createBringing } from "./bring.ts";
import type { DisabledNames } from "./disabled.ts";
import type { OwnFiles } from "./own-files.ts";
import type { Steps } from "./steps.ts";

/** A zone may take an hour to show a record; after that nobody waits any more. */
const WITHIN_MS = 75 * 60_000;

/** RFC 5280 §5.3.1, those that a subscriber may give. */
const REASONS: Readonly<Record<string, number>> = {
  unspecified: 0,
  keyCompromise: 1,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
};

export interface DeskTools {
  storage: Storage;
  bundles: BundleStore;
  disabled: DisabledNames;
  steps: Steps;
  log: Logger;
  /** The one of the configuration in force. */
  issuing(): Issuing;
  /** Names whose certificate comes from files of their own. */
  files: Pick<OwnFiles, "has" | "status">;
  /** Names that get certificates, disabled ones and those with files included. */
  names(): readonly string[];
  /** The site that has this as a further name. */
  siteOf(name: string): string | undefined;
  /** Names that the file has in whatever state: nothing of theirs is cleaned away. */
  keep(): ReadonlySet<string>;
  /** The set of names without the disabled ones has changed. */
  onNames(): void;
}

export interface Desk extends CertificateActions {
  /** Every name, disabled ones included. */
  certificates(): Promise<readonly CertificateStatus[]>;
}

export function createDesk(tools: DeskTools): Desk {
  const { storage, bundles, disabled, steps, log } = tools;

  function assertKnown(name: string): void {
    if (tools.names().includes(name)) return;
    const site = tools.siteOf(name);
    throw new GatehouseError("GATEHOUSE_CERTIFICATE_UNKNOWN_NAME", {
      message: `${name} is not a name that Gatehouse keeps a certificate for.`,
      hint:
        site === undefined
          ? "gatehouse ls shows the names there are; a new one goes under sites: in the configuration."
          : `It stands in the certificate of ${site}: write that name.`,
    });
  }

  /** Of a name with files of its own somebody else decides. */
  function assertOurs(name: string): void {
    assertKnown(name);
    if (tools.files.has(name)) throw ownFiles(name);
  }

  async function stored(name: string): Promise<CertificateBundle> {
    assertKnown(name);
    const bundle = await bundles.load(name);
    if (bundle !== undefined) return bundle;
    throw new GatehouseError("GATEHOUSE_CERTIFICATE_PENDING", {
      message: `There is no certificate for ${name} yet.`,
      hint: `gatehouse issue ${name} orders one; gatehouse ls says what the last try came to.`,
    });
  }

  const outcome = ({ name, issuer, notAfter }: CertificateBundle, is: "issued" | "kept"): IssueOutcome => ({
    name,
    outcome: is,
    issuer,
    notAfter,
  });

  async function rehearse(name: string): Promise<IssueOutcome> {
    if (await tools.issuing().rehearse(name, AbortSignal.timeout(WITHIN_MS))) {
      return { name, outcome: "rehearsed", issuer: undefined, notAfter: undefined };
    }
    throw new GatehouseError("GATEHOUSE_REQUEST_REFUSED", {
      message: "This CA has no staging that is known here.",
      hint: "letsencrypt has one; of another CA write it as acme.staging, or order without --staging.",
    });
  }

  async function statusOf(name: string): Promise<CertificateStatus> {
    const known = (await certificates()).find((each) => each.name === name);
    if (known !== undefined) return known;
    throw new GatehouseError("GATEHOUSE_DRAINING", { message: "The configuration is just changing; ask again." });
  }

  async function certificates(): Promise<readonly CertificateStatus[]> {
    const resting: CertificateStatus[] = [];
    for (const name of tools.names()) {
      if (tools.files.has(name)) {
        resting.push(tools.files.status(name));
        continue;
      }
      if (!disabled.has(name)) continue;
      const bundle = await bundles.load(name).catch(() => undefined);
      const times = { nextTry: undefined, renewAt: bundle?.notAfter ?? 0, now: systemClock.now() };
      resting.push({
        ...certificateStatus({ name, bundle, failure: undefined, heldBy: undefined }, times),
        isDisabled: true,
      });
    }
    return [...tools.issuing().status(), ...resting];
  }

  return {
    ...createBringing({ ...tools, assertOurs }),
    certificates,

    async issue({ name, force, really, staging }, tell) {
      assertOurs(name);
      const stop = steps.listen(name, tell);
      try {
        if (staging) return await rehearse(name);
        if (disabled.has(name)) {
          await disabled.remove(name);
          tools.onNames();
        }
        const held = await bundles.load(name);
        if (!force && held !== undefined && !tools.issuing().isDue(held)) return outcome(held, "kept");
        return outcome(await tools.issuing().renewNow(name, { really }), "issued");
      } finally {
        stop();
      }
    },

    async revoke({ name, reason }, tell) {
      const number = REASONS[reason];
      if (number === undefined) {
        throw new GatehouseError("GATEHOUSE_REQUEST_REFUSED", {
          message: `${reason} is no reason that a CA takes.`,
          hint: `Write one of ${Object.keys(REASONS).join(", ")}.`,
        });
      }
      assertOurs(name);
      const bundle = await stored(name);
      const isTold = await tools.issuing().revoke(bundle, number, AbortSignal.timeout(WITHIN_MS));
      await bundles.save({ ...bundle, revokedAt: systemClock.now() });
      const { serial } = bundle;
      log.warn({ event: "certificate.revoked", name, serial, reason, told: isTold }, "certificate taken back");
      tell({ text: "certificate taken back" });
      tools.issuing().lookAgain(name);
      if (disabled.has(name)) return { name, serial, isTold, next: "disabled", problem: undefined };
      const stop = steps.listen(name, tell);
      try {
        await tools.issuing().renewNow(name);
        return { name, serial, isTold, next: "issued", problem: undefined };
      } catch (error) {
        return { name, serial, isTold, next: "failed", problem: errorText(error) };
      } finally {
        stop();
      }
    },

    async disable({ name }) {
      assertOurs(name);
      const wasDisabled = disabled.has(name);
      if (!wasDisabled) {
        await disabled.add(name);
        tools.onNames();
        log.info({ event: "certificate.disabled", name }, "no further certificates are ordered for this name");
      }
      return { name, wasDisabled };
    },

    cleanup: ({ isRehearsal }) => cleanUp(tools, isRehearsal),

    async show({ name }) {
      const bundle = await stored(name);
      const { names, ca, serial, chainPem, issuedAt, revokedAt } = bundle;
      const { worked } = await createChallengeMemories(storage).read(name);
      return { status: await statusOf(name), names, ca, serial, chainPem, issuedAt, revokedAt, challenge: worked };
    },

    async accounts({ rollOver }) {
      const accounts = tools.issuing().accounts(tools.names());
      if (rollOver) await inTurn(accounts, (account) => account.rollOver(AbortSignal.timeout(WITHIN_MS)));
      return Promise.all(accounts.map((account) => account.facts()));
    },
  };
}

async function inTurn(accounts: readonly AcmeAccount[], work: (account: AcmeAccount) => Promise<void>): Promise<void> {
  for (const account of accounts) await work(account);
}

/** Everything kept by a name that the configuration no longer has. Accounts and the ledger stay: limits outlive names. */
async function cleanUp({ storage, bundles, keep, log }: DeskTools, isRehearsal: boolean): Promise<CleanupReport> {
  const kept = keep();
  const files = new Map<string, string[]>();
  for (const key of await storage.list("acme")) {
    const [, part] = /^acme\/(?:failures|proved|disabled|[^/]+\/orders)\/(.+)\.json$/.exec(key) ?? [];
    const name = part?.replaceAll("_", ":");
    if (name !== undefined && !kept.has(name)) files.set(name, [...(files.get(name) ?? []), key]);
  }
  const stored = (await bundles.list()).filter((name) => !kept.has(name));
  const removed: { name: string; files: number; notAfter: number | undefined }[] = [];
  for (const name of [...new Set([...stored, ...files.keys()])].sort()) {
    const others = files.get(name) ?? [];
    const bundle = stored.includes(name) ? await bundles.load(name).catch(() => undefined) : undefined;
    const own = stored.includes(name) ? (await storage.list(`certs/${name.replaceAll(":", "_")}`)).length : 0;
    if (!isRehearsal) {
      if (stored.includes(name)) await bundles.remove(name);
      for (const key of others) await storage.remove(key);
      log.info({ event: "certificate.cleaned", name, files: own + others.length }, "leftovers of a name removed");
    }
    removed.push({ name, files: own + others.length, notAfter: bundle?.notAfter });
  }
  return { removed };
}

const ownFiles = (name: string): GatehouseError =>
  new GatehouseError("GATEHOUSE_REQUEST_REFUSED", {
    message: `${name} has certificate files of its own (tls: in the configuration).`,
    hint: "Whoever writes those files renews them; a changed pair is served by itself. Without tls: it gets a certificate here.",
  });
