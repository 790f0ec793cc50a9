/**
 * Who are we to this CA?
 * Owns: the account key (P-256, never a certificate's) and the account's URL, made once and kept in storage.
 * Never: orders.
 *
 * Kept under `acme/<ca>/account/`: `key.pem`, written before the CA first hears of it, and `account.json`. Losing the
 * second costs one question; losing the first costs a new account (Let's Encrypt: 10 for each address in 3 hours).
 */
import { createPrivateKey } from "node:crypto";
import { errorText } from "../core/errors.ts";
import type { Clock } from "../core/time.ts";
import type { Logger } from "../observe/log.ts";
import type { Storage } from "../storage/contract.ts";
import { isRecord } from "./problem.ts";
import { generateKeyPem } from "./signing-request.ts";
import { type AcmeWire, type WireOptions, createAcmeWire, problemType } from "./wire.ts";

/** Making an account is a handful of requests of 30 s at most. */
const LOCK_WITHIN_MS = 180_000;

export interface AcmeAccount {
  /** A wire that speaks for the account. Asks the CA only when no account is on disk. */
  open(signal?: AbortSignal): Promise<AcmeWire>;
  /** The CA no longer knows the account: make it anew, with the same key unless the CA has banned that one. */
  remake(signal?: AbortSignal): Promise<AcmeWire>;
}

export interface AccountOptions {
  storage: Storage;
  directoryUrl: string;
  roots?: string | undefined;
  email?: string | undefined;
  userAgent?: string | undefined;
  clock: Clock;
  log: Logger;
  /** For tests: shorter deadlines. */
  wire?: Pick<WireOptions, "requestDeadlineMs" | "pollDeadlineMs"> | undefined;
}

/** The folder of one CA: its host, and its path unless that is the usual one, so that two CAs on a host stay apart. */
export function caFolder(directoryUrl: string): string {
  const { host, pathname } = new URL(directoryUrl);
  const path = pathname === "/directory" ? "" : pathname.replaceAll("/", "@");
  return `acme/${`${host}${path}`.replace(/[^A-Za-z0-9.@-]/g, "_").slice(0, 200)}`;
}

export function createAcmeAccount(options: AccountOptions): AcmeAccount {
  const { storage, directoryUrl, clock, log } = options;
  const folder = `${caFolder(directoryUrl)}/account`;
  const keyPlace = `${folder}/key.pem`;
  const accountPlace = `${folder}/account.json`;
  let opened: AcmeWire | undefined;

  const wireFor = (accountKeyPem: string, accountUrl: string | undefined): AcmeWire =>
    createAcmeWire({
      directoryUrl,
      accountKeyPem,
      accountUrl,
      clock,
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

  async function readUrl(): Promise<string | undefined> {
    const text = (await storage.read(accountPlace))?.toString("utf8");
    if (text === undefined) return undefined;
    try {
      const account: unknown = JSON.parse(text);
      const isOurs =
        isRecord(account) && account["directoryUrl"] === directoryUrl && typeof account["url"] === "string";
      return isOurs ? String(account["url"]) : undefined;
    } catch {
      return undefined; // the CA tells it again
    }
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
    const key = await readKey();
    if (key === undefined) return register(wireFor(await makeKey(), undefined), signal);
    const url = await readUrl();
    if (url !== undefined) return wireFor(key, url);
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
  };
}
