/**
 * Who are we to this CA?
 * Owns: the account key (P-256, never a certificate's) and the account's URL, made once and kept in storage.
 * Never: orders.
 *
 * Kept under `acme/<ca>/account/`: `key.pem`, written before the CA first hears of it, and `account.json`. Losing the
 * second costs one question; losing the first costs a new account (Let's Encrypt: 10 for each address in 3 hours). A site
 * with an e-mail address of its own has `account-<hash of the address>/`. While a key is changed the new one lies in
 * `key-next.pem`; after a crash the CA says which of the two it knows.
 */
import { createHash, createPrivateKey } from "node:crypto";
import { errorText } from "../core/errors.ts";
import type { Clock } from "../core/time.ts";
import type { Logger } from "../observe/log.ts";
import type { Storage } from "../storage/contract.ts";
import { isRecord } from "./problem.ts";
import { generateKeyPem } from "./signing-request.ts";
import { type AcmeWire, type ExternalAccount, type WireOptions, createAcmeWire, problemType } from "./wire/wire.ts";

/** Making an account is a handful of requests of 30 s at most. */
const LOCK_WITHIN_MS = 180_000;

export interface AcmeAccount {
  /** A wire that speaks for the account. Asks the CA only when no account is on disk. */
  open(signal?: AbortSignal): Promise<AcmeWire>;
  /** The CA no longer knows the account: make it anew, with the same key unless the CA has banned that one. */
  remake(signal?: AbortSignal): Promise<AcmeWire>;
  /** A new key for the same account (RFC 8555 §7.3.5): orders under way and certificates are untouched by it. */
  rollOver(signal?: AbortSignal): Promise<void>;
  /** What is on disk, without asking anybody. */
  facts(): Promise<AccountFacts>;
}

export interface AccountFacts {
  ca: string;
  url: string | undefined;
  email: string | undefined;
  /** Its folder in storage. */
  place: string;
  savedAt: number | undefined;
}

export interface AccountOptions {
  storage: Storage;
  directoryUrl: string;
  roots?: string | undefined;
  email?: string | undefined;
  /** The account of one site's own e-mail address, beside the one that the others share. */
  isOwn?: boolean | undefined;
  eab?: ExternalAccount | undefined;
  userAgent?: string | undefined;
  clock: Clock;
  log: Logger;
  /** For tests: shorter deadlines. */
  wire?: Pick<WireOptions, "requestDeadlineMs" | "pollDeadlineMs"> | undefined;
  /** How the CA is spoken to. Default: over HTTPS. */
  connect?: ((options: WireOptions) => AcmeWire) | undefined;
}

/** The folder of one CA: its host, and its path unless that is the usual one, so that two CAs on a host stay apart. */
export function caFolder(directoryUrl: string): string {
  const { host, pathname } = new URL(directoryUrl);
  const path = pathname === "/directory" ? "" : pathname.replaceAll("/", "@");
  return `acme/${`${host}${path}`.replace(/[^A-Za-z0-9.@-]/g, "_").slice(0, 200)}`;
}

export function createAcmeAccount(options: AccountOptions): AcmeAccount {
  const { storage, directoryUrl, clock, log, connect = createAcmeWire } = options;
  const folder = `${caFolder(directoryUrl)}/account${options.isOwn === true ? `-${shortHash(options.email)}` : ""}`;
  const nextKeyPlace = `${folder}/key-next.pem`;
  const keyPlace = `${folder}/key.pem`;
  const accountPlace = `${folder}/account.json`;
  let opened: AcmeWire | undefined;

  const wireFor = (accountKeyPem: string, accountUrl: string | undefined): AcmeWire =>
    connect({
      directoryUrl,
      accountKeyPem,
      accountUrl,
      clock,
      eab: options.eab,
      roots: options.roots,
      userAgent: options.userAgent,
      ...options.wire,
    });

  async function readKey(): Promise<string | undefined> {
    const pem = (await storage.read(keyPlace))?.toString("utf8");
    if (pem === undefined) return undefined;
    try {
      createPrivateKey(pem);
      return pem;
    } catch (error) {
      const kept = `${folder}/key-damaged-${clock.now()}.pem`;
      await storage.write(kept, pem);
      log.warn(
        { event: "acme.account.damaged", kept, reason: errorText(error) },
        "account key is unreadable, a new account is made",
      );
      return undefined;
    }
  }

  async function makeKey(): Promise<string> {
    const pem = await generateKeyPem();
    await storage.write(keyPlace, pem);
    return pem;
  }

  async function readAccount(): Promise<(Pick<AccountFacts, "email" | "savedAt"> & { url: string }) | undefined> {
    const text = (await storage.read(accountPlace))?.toString("utf8");
    if (text === undefined) return undefined;
    try {
      const account: unknown = JSON.parse(text);
      if (!isRecord(account) || account["directoryUrl"] !== directoryUrl) return undefined;
      const { url, email, savedAt } = account;
      if (typeof url !== "string") return undefined;
      return {
        url,
        email: typeof email === "string" ? email : undefined,
        savedAt: typeof savedAt === "number" ? savedAt : undefined,
      };
    } catch {
      return undefined; // the CA tells it again
    }
  }

  /** A crash while the key was changed: the CA alone knows which of the two counts. */
  async function settleKeyChange(signal: AbortSignal | undefined): Promise<void> {
    const next = (await storage.read(nextKeyPlace))?.toString("utf8");
    if (next === undefined) return;
    if ((await wireFor(next, undefined).findAccount(signal)) !== undefined) await storage.write(keyPlace, next);
    await storage.remove(nextKeyPlace);
  }

  /** The address in the configuration has changed. A CA that refuses the new one must not stand in a certificate's way. */
  async function updateContact(wire: AcmeWire, url: string, signal: AbortSignal | undefined): Promise<void> {
    try {
      await wire.updateContact({ email: options.email }, signal);
    } catch (error) {
      signal?.throwIfAborted();
      log.warn(
        { event: "acme.account.contact", ca: directoryUrl, reason: errorText(error) },
        "the CA did not take the new e-mail address; it is not asked again",
      );
    }
    await remember(url);
  }

  async function register(wire: AcmeWire, signal: AbortSignal | undefined): Promise<AcmeWire> {
    const terms = await wire.termsOfService(signal);
    const url = await wire.createAccount({ email: options.email }, signal);
    await remember(url);
    log.info({ event: "acme.account.made", ca: directoryUrl, url, terms }, "account made, terms of service agreed to");
    return wire;
  }

  const remember = (url: string): Promise<void> =>
    storage.write(
      accountPlace,
      `${JSON.stringify({ version: 1, url, directoryUrl, email: options.email, savedAt: clock.now() }, undefined, 2)}\n`,
    );

  async function openFromDisk(signal: AbortSignal | undefined): Promise<AcmeWire> {
    await settleKeyChange(signal);
    const key = await readKey();
    if (key === undefined) return register(wireFor(await makeKey(), undefined), signal);
    const known = await readAccount();
    if (known !== undefined) {
      const wire = wireFor(key, known.url);
      if (known.email !== options.email) await updateContact(wire, known.url, signal);
      return wire;
    }
    const wire = wireFor(key, undefined);
    const found = await wire.findAccount(signal);
    if (found === undefined) return register(wire, signal);
    await remember(found);
    return wire;
  }

  async function remakeOnDisk(signal: AbortSignal | undefined): Promise<AcmeWire> {
    log.warn({ event: "acme.account.gone", ca: directoryUrl }, "the CA no longer knows our account, making a new one");
    await storage.remove(accountPlace);
    const key = (await readKey()) ?? (await makeKey());
    try {
      return await register(wireFor(key, undefined), signal);
    } catch (error) {
      // The key of a deactivated account stays refused for ever (RFC 8555 §7.3.6).
      if (problemType(error) !== "unauthorized") throw error;
      return register(wireFor(await makeKey(), undefined), signal);
    }
  }

  async function rollOverOnDisk(signal: AbortSignal | undefined): Promise<AcmeWire> {
    const wire = await openFromDisk(signal);
    const next = await generateKeyPem();
    await storage.write(nextKeyPlace, next);
    await wire.changeKey(next, signal);
    await storage.write(keyPlace, next);
    await storage.remove(nextKeyPlace);
    log.info({ event: "acme.account.rekeyed", ca: directoryUrl }, "the account has a new key");
    return wire;
  }

  /** Two processes on one state folder would make two accounts; the second one looks again. */
  async function locked(work: () => Promise<AcmeWire>, signal: AbortSignal | undefined): Promise<AcmeWire> {
    const lock = await storage.lock("acme-account", { withinMs: LOCK_WITHIN_MS, ...(signal && { signal }) });
    try {
      return (opened = await work());
    } finally {
      await lock.release();
    }
  }

  return {
    async open(signal) {
      return opened ?? locked(() => openFromDisk(signal), signal);
    },
    remake: (signal) => locked(() => remakeOnDisk(signal), signal),
    async facts() {
      const known = await readAccount();
      return { ca: directoryUrl, url: known?.url, email: options.email, place: folder, savedAt: known?.savedAt };
    },
    async rollOver(signal) {
      await locked(() => rollOverOnDisk(signal), signal);
    },
  };
}

const shortHash = (text: string | undefined): string =>
  createHash("sha256")
    .update(text ?? "")
    .digest("hex")
    .slice(0, 12);
