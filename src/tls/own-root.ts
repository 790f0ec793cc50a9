/**
 * How does this house come to a root of its own, and keep it?
 * Owns: key and certificate of one root in the state folder: made once, under a lock, and made anew when it cannot be used.
 * Never: signs for anybody (local-ca and client-ca do).
 *
 * A root is constrained as far as it can be without knowing tomorrow's names: no CA below it (path length 0), keys that
 * sign certificates and nothing else, and one purpose alone, so that a stolen key cannot sign programs or mail. No name
 * constraints: a list of permitted names would have to be in the root before the sites are known, and every new domain
 * would ask each device in the house to trust a new root.
 */
import { X509Certificate, createPrivateKey, createPublicKey, webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";
import type { Clock } from "../core/time.ts";
import type { Storage } from "../storage/contract.ts";
import { type KeyPair, P256, certificatePem, makeCertificate, newKeyPair, privateKeyPem } from "./certificate-maker.ts";

/** Making a root takes milliseconds; whoever holds the lock for longer than this is stuck. */
const LOCK_WITHIN_MS = 45_000;
const DAY_MS = 86_400_000;
const ROOT_LIFE_MS = 3_652 * DAY_MS;

export interface Root {
  certificate: x509.X509Certificate;
  pem: string;
  keys: KeyPair;
  commonName: string;
}

export interface OwnRootOptions {
  storage: Storage;
  clock: Clock;
  /** Keys `root.pem` and `key.pem` lie below it; the lock has its name. */
  folder: string;
  /** What the certificates below it are for. */
  purpose: x509.ExtendedKeyUsage;
  /** Its name, before the digest of its key. */
  label: string;
  /** A root that cannot sign for this long any more gets a successor, ms. */
  freshForMs: number;
  /** A new root was made where there had been one. */
  onReplaced?: ((reason: string) => void) | undefined;
}

export interface OwnRoot {
  /** As of the last `fresh`. */
  current(): Root;
  /** One that can sign a leaf of a whole life today. @throws GATEHOUSE_STORAGE_FAILED, GATEHOUSE_LOCK_TIMEOUT */
  fresh(): Promise<Root>;
}

/** @throws GATEHOUSE_STORAGE_FAILED, GATEHOUSE_LOCK_TIMEOUT */
export async function openOwnRoot(options: OwnRootOptions): Promise<OwnRoot> {
  const { clock, freshForMs } = options;
  /** A clock that was in 1970 at the first start makes a root that cannot. */
  const isFresh = ({ certificate }: Root): boolean => certificate.notAfter.getTime() >= clock.now() + freshForMs;
  let root = await loadOrMake(options, isFresh);
  return {
    current: () => root,
    async fresh() {
      if (!isFresh(root)) root = await loadOrMake(options, isFresh);
      return root;
    },
  };
}

const keyFile = ({ folder }: OwnRootOptions): string => `${folder}/key.pem`;
const rootFile = ({ folder }: OwnRootOptions): string => `${folder}/root.pem`;

async function loadOrMake(options: OwnRootOptions, isFresh: (root: Root) => boolean): Promise<Root> {
  const { storage, folder, clock } = options;
  const found = await load(options);
  if (found.root !== undefined && isFresh(found.root)) return found.root;

  const lock = await storage.lock(folder, { withinMs: LOCK_WITHIN_MS });
  try {
    const again = await load(options); // whoever held the lock may have made it
    if (again.root !== undefined && isFresh(again.root)) return again.root;
    // The same key gives the same name and key identifier: a device that trusts the old root accepts what the new signs,
    // as long as the old one is in date.
    const keys = again.keys ?? (await newKeyPair());
    const root = await makeRoot(options, keys, clock.now());
    // Key first: a key without a root gets one at the next start, a root without its key is worth nothing.
    if (again.keys === undefined) await storage.write(keyFile(options), privateKeyPem(keys.privateKey));
    await storage.write(rootFile(options), root.pem);
    if (again.reason !== undefined) options.onReplaced?.(again.reason);
    else if (again.root !== undefined) options.onReplaced?.("the old root is about to expire; the key is the same");
    return root;
  } finally {
    await lock.release();
  }
}

async function makeRoot({ purpose, label }: OwnRootOptions, keys: KeyPair, now: number): Promise<Root> {
  const commonName = await commonNameFor(label, keys.publicKey);
  const certificate = await makeCertificate({
    subject: commonName,
    issuer: undefined,
    notBefore: now - DAY_MS,
    notAfter: now + ROOT_LIFE_MS,
    publicKey: keys.publicKey,
    signingKey: keys.privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      new x509.ExtendedKeyUsageExtension([purpose]),
      await x509.AuthorityKeyIdentifierExtension.create(keys.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate, pem: certificatePem(certificate), keys, commonName };
}

/** Told apart in a browser's list when somebody has two of these, and the same for the same key. */
async function commonNameFor(label: string, publicKey: webcrypto.CryptoKey): Promise<string> {
  const digest = await webcrypto.subtle.digest("SHA-256", await webcrypto.subtle.exportKey("spki", publicKey));
  return `${label} ${Buffer.from(digest).toString("hex").slice(0, 8)}`;
}

interface Found {
  root?: Root;
  /** Also without a root. */
  keys?: KeyPair;
  /** Something was there and cannot be used. */
  reason?: string;
}

async function load(options: OwnRootOptions): Promise<Found> {
  const { storage, label } = options;
  const [keyName, rootName] = [keyFile(options), rootFile(options)];
  const [keyBytes, rootBytes] = await Promise.all([storage.read(keyName), storage.read(rootName)]);
  if (keyBytes === undefined) return rootBytes === undefined ? {} : { reason: `${keyName} is missing` };
  let keys: KeyPair;
  try {
    keys = await keysFrom(keyBytes.toString("utf8"));
  } catch {
    return { reason: `${keyName} cannot be read` };
  }
  if (rootBytes === undefined) return { keys };
  const pem = rootBytes.toString("utf8");
  try {
    if (!new X509Certificate(pem).checkPrivateKey(createPrivateKey(keyBytes))) {
      return { keys, reason: `${rootName} is not of the key ${keyName}` };
    }
    const certificate = new x509.X509Certificate(pem);
    return { keys, root: { certificate, pem, keys, commonName: await commonNameFor(label, keys.publicKey) } };
  } catch {
    return { keys, reason: `${rootName} cannot be read` };
  }
}

async function keysFrom(pem: string): Promise<KeyPair> {
  const key = createPrivateKey(pem);
  return {
    privateKey: key.toCryptoKey(P256, false, ["sign"]),
    publicKey: createPublicKey(key).toCryptoKey(P256, true, ["verify"]),
  };
}
