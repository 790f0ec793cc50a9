/**
 * Who vouches for a house that no public CA can see?
 * Owns: the embedded CA (`acme.ca: local`): the leaves that its root signs.
 * Never: decides when a leaf is due (the scheduler does, as for any CA).
 */
import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import * as x509 from "@peculiar/x509";
import { GatehouseError } from "../core/errors.ts";
import { type Clock, systemClock } from "../core/time.ts";
import type { CertificateBundle } from "../storage/bundles.ts";
import type { Storage } from "../storage/contract.ts";
import { certificatePem, makeCertificate, newKeyPair, privateKeyPem } from "./certificate-maker.ts";
import { openOwnRoot, type Root } from "./own-root.ts";

const FOLDER = "ca/local";
/** Key in the store; below the state folder it is the file to hand to curl and browsers. */
export const LOCAL_ROOT_KEY = `${FOLDER}/root.pem`;

const HOUR_MS = 3_600_000;
const LEAF_LIFE_MS = 90 * 24 * HOUR_MS;
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

export interface LocalCaOptions {
  storage: Storage;
  clock?: Clock;
  /** A new root was made where there had been one: devices have to be told, or nothing of theirs changes. */
  onReplaced?: (reason: string) => void;
}

/** @throws GATEHOUSE_STORAGE_FAILED, GATEHOUSE_LOCK_TIMEOUT */
export async function createLocalCa({ storage, clock = systemClock, onReplaced }: LocalCaOptions): Promise<LocalCa> {
  const root = await openOwnRoot({
    storage,
    clock,
    folder: FOLDER,
    purpose: x509.ExtendedKeyUsage.serverAuth,
    label: "Gatehouse local CA",
    freshForMs: LEAF_LIFE_MS,
    onReplaced,
  });
  return {
    rootPem: () => root.current().pem,
    async issueLocal(names) {
      const [name] = names;
      if (name === undefined) {
        throw new GatehouseError("GATEHOUSE_NAME_REFUSED", { message: "a certificate needs a name" });
      }
      return issue(await root.fresh(), name, names, clock.now());
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
