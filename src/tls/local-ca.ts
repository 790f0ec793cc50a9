/**
 * Who vouches for a house that no public CA can see?
 * Owns: the embedded CA (`acme.ca: local`): its root, made once, and the leaves it signs.
 * Never: decides when a leaf is due (the scheduler does, as for any CA).
 *
 * The root is constrained as far as it can be without knowing tomorrow's sites: no CA below it (path length 0), keys
 * that sign certificates and nothing else, and server authentication as its only purpose, so that a stolen key cannot
 * sign programs or mail. No name constraints: a list of permitted names would have to be in the root before the sites
 * are known, and every new domain would ask each device in the house to trust a new root.
 */
import { X509Certificate, createPrivateKey, createPublicKey, webcrypto } from "node:crypto";
import { isIP } from "node:net";
import * as x509 from "@peculiar/x509";
import { GatehouseError } from "../core/errors.ts";
import { type Clock, systemClock } from "../core/time.ts";
import type { CertificateBundle } from "../storage/bundles.ts";
import type { Storage } from "../storage/contract.ts";
import { type KeyPair, P256, certificatePem, makeCertificate, newKeyPair, privateKeyPem } from "./certificate-maker.ts";

/** Key in the store; below the state folder it is the file to hand to curl and browsers. */
export const LOCAL_ROOT_KEY = "ca/local/root.pem";
const PRIVATE_KEY = "ca/local/key.pem";
const LOCK = "ca/local";
/** Making a root takes milliseconds; whoever holds the lock for longer than this is stuck. */
const LOCK_WITHIN_MS = 45_000;

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const ROOT_LIFE_MS = 3_652 * DAY_MS;
const LEAF_LIFE_MS = 90 * DAY_MS;
/** Clocks of televisions and cameras run behind. */
const BACKDATE_MS = HOUR_MS;
/** ub-common-name of RFC 5280 appendix A.1; a longer name stands in the alternative names alone. */
const MAX_COMMON_NAME = 64;

export interface LocalCa {
  /** What clients have to trust. */
  rootPem(): string;
  /** A leaf of 90 days with a fresh P-256 key. The first name is the site's; wildcards are taken like others. */
  issueLocal(names: readonly string[]): Promise<CertificateBundle>;
}

interface Root {
  certificate: x509.X509Certificate;
  pem: string;
  keys: KeyPair;
  commonName: string;
}

export interface LocalCaOptions {
  storage: Storage;
  clock?: Clock;
  /** A new root was made where there had been one: devices have to be told, or nothing of theirs changes. */
  onReplaced?: (reason: string) => void;
}

/** @throws GATEHOUSE_STORAGE_FAILED, GATEHOUSE_LOCK_TIMEOUT */
export async function createLocalCa(options: LocalCaOptions): Promise<LocalCa> {
  const { storage, clock = systemClock } = options;
  let root = await loadOrMake(options, clock.now());

  return {
    rootPem: () => root.pem,
    async issueLocal(names) {
      const [name] = names;
      if (name === undefined) {
        throw new GatehouseError("GATEHOUSE_NAME_REFUSED", { message: "a certificate needs a name" });
      }
      const now = clock.now();
      if (!isFresh(root.certificate, now)) root = await loadOrMake({ ...options, storage }, now);
      return issue(root, name, names, now);
    },
  };
}

async function issue(root: Root, name: string, names: readonly string[], now: number): Promise<CertificateBundle> {
  const keys = await newKeyPair();
  const hasSubject = name.length <= MAX_COMMON_NAME;
  const certificate = await makeCertificate({
    subject: hasSubject ? name : undefined,
    issuer: root.certificate.subjectName,
    notBefore: now - BACKDATE_MS,
    notAfter: Math.min(now + LEAF_LIFE_MS, root.certificate.notAfter.getTime()),
    publicKey: keys.publicKey,
    signingKey: root.keys.privateKey,
    extensions: [
      // RFC 5280 §4.2.1.6: critical where it is all there is.
      new x509.SubjectAlternativeNameExtension(
        names.map((value) => ({ type: isIP(value) === 0 ? ("dns" as const) : ("ip" as const), value })),
        !hasSubject,
      ),
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      await x509.AuthorityKeyIdentifierExtension.create(root.keys.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const chainPem = certificatePem(certificate);
  return {
    name,
    names: [...names],
    keyPem: privateKeyPem(keys.privateKey),
    chainPem,
    notBefore: certificate.notBefore.getTime(),
    notAfter: certificate.notAfter.getTime(),
    issuer: root.commonName,
    serial: new X509Certificate(chainPem).serialNumber,
    ca: "local",
    issuedAt: now,
  };
}

/** Can it sign a leaf that lives its whole life? (A clock that was in 1970 at the first start makes a root that cannot.) */
function isFresh(certificate: x509.X509Certificate, now: number): boolean {
  return certificate.notAfter.getTime() >= now + LEAF_LIFE_MS;
}

async function loadOrMake(options: LocalCaOptions, now: number): Promise<Root> {
  const found = await load(options.storage);
  if (found.root !== undefined && isFresh(found.root.certificate, now)) return found.root;

  const lock = await options.storage.lock(LOCK, { withinMs: LOCK_WITHIN_MS });
  try {
    const again = await load(options.storage); // whoever held the lock may have made it
    if (again.root !== undefined && isFresh(again.root.certificate, now)) return again.root;
    // The same key gives the same name and key identifier: a device that trusts the old root accepts what the new signs,
    // as long as the old one is in date.
    const keys = again.keys ?? (await newKeyPair());
    const root = await makeRoot(keys, now);
    // Key first: a key without a root gets one at the next start, a root without its key is worth nothing.
    if (again.keys === undefined) await options.storage.write(PRIVATE_KEY, privateKeyPem(keys.privateKey));
    await options.storage.write(LOCAL_ROOT_KEY, root.pem);
    if (again.reason !== undefined) options.onReplaced?.(again.reason);
    else if (again.root !== undefined) options.onReplaced?.("the old root is about to expire; the key is the same");
    return root;
  } finally {
    await lock.release();
  }
}

async function makeRoot(keys: KeyPair, now: number): Promise<Root> {
  const commonName = await commonNameFor(keys.publicKey);
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
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      await x509.AuthorityKeyIdentifierExtension.create(keys.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate, pem: certificatePem(certificate), keys, commonName };
}

/** Told apart in a browser's list when somebody has two of these, and the same for the same key. */
async function commonNameFor(publicKey: webcrypto.CryptoKey): Promise<string> {
  const digest = await webcrypto.subtle.digest("SHA-256", await webcrypto.subtle.exportKey("spki", publicKey));
  return `Gatehouse local CA ${Buffer.from(digest).toString("hex").slice(0, 8)}`;
}

interface Found {
  root?: Root;
  /** Also without a root. */
  keys?: KeyPair;
  /** Something was there and cannot be used. */
  reason?: string;
}

async function load(storage: Storage): Promise<Found> {
  const [keyBytes, rootBytes] = await Promise.all([storage.read(PRIVATE_KEY), storage.read(LOCAL_ROOT_KEY)]);
  if (keyBytes === undefined) return rootBytes === undefined ? {} : { reason: `${PRIVATE_KEY} is missing` };
  let keys: KeyPair;
  try {
    keys = await keysFrom(keyBytes.toString("utf8"));
  } catch {
    return { reason: `${PRIVATE_KEY} cannot be read` };
  }
  if (rootBytes === undefined) return { keys };
  const pem = rootBytes.toString("utf8");
  try {
    if (!new X509Certificate(pem).checkPrivateKey(createPrivateKey(keyBytes))) {
      return { keys, reason: `${LOCAL_ROOT_KEY} is not of the key ${PRIVATE_KEY}` };
    }
    const certificate = new x509.X509Certificate(pem);
    return { keys, root: { certificate, pem, keys, commonName: await commonNameFor(keys.publicKey) } };
  } catch {
    return { keys, reason: `${LOCAL_ROOT_KEY} cannot be read` };
  }
}

async function keysFrom(pem: string): Promise<KeyPair> {
  const key = createPrivateKey(pem);
  return {
    privateKey: key.toCryptoKey(P256, false, ["sign"]),
    publicKey: createPublicKey(key).toCryptoKey(P256, true, ["verify"]),
  };
}
