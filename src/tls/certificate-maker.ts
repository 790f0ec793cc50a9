/**
 * How is a certificate of our own put together?
 * Owns: P-256 keys, serials, dates, signing and PEM.
 * Never: decides what a certificate is for.
 */
import { KeyObject, randomBytes, webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

/** One key type everywhere: Node serves one type per SNI context (facts: TLS in Node). */
export const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

export type KeyPair = webcrypto.CryptoKeyPair;

export const newKeyPair = async (): Promise<KeyPair> => webcrypto.subtle.generateKey(P256, true, ["sign", "verify"]);

/** PKCS#8 PEM. */
export const privateKeyPem = (key: webcrypto.CryptoKey): string =>
  KeyObject.from(key).export({ type: "pkcs8", format: "pem" }).toString();

/** RFC 5280 §4.1.2.2: positive, not zero, at most 20 bytes. 128 random bits, and a first byte that is plainly positive. */
const newSerial = (): string => `01${randomBytes(16).toString("hex")}`;

export interface Wanted {
  /** Common name; none when undefined. */
  subject: string | undefined;
  /** The issuer's name as its certificate has it; undefined for a self-signed one. */
  issuer: x509.Name | undefined;
  notBefore: number; // ms since 1970
  notAfter: number; // ms since 1970
  publicKey: webcrypto.CryptoKey;
  signingKey: webcrypto.CryptoKey;
  extensions: x509.Extension[];
}

export async function makeCertificate(wanted: Wanted): Promise<x509.X509Certificate> {
  const subject = wanted.subject === undefined ? undefined : new x509.Name([{ CN: [wanted.subject] }]);
  const issuer = wanted.issuer ?? subject;
  return x509.X509CertificateGenerator.create({
    serialNumber: newSerial(),
    ...(subject === undefined ? {} : { subject }),
    ...(issuer === undefined ? {} : { issuer }),
    // Certificates count whole seconds.
    notBefore: new Date(Math.floor(wanted.notBefore / 1_000) * 1_000),
    notAfter: new Date(Math.floor(wanted.notAfter / 1_000) * 1_000),
    publicKey: wanted.publicKey,
    signingKey: wanted.signingKey,
    signingAlgorithm: P256,
    extensions: wanted.extensions,
  });
}

/** With the line end that PEM files have and the library leaves out. */
export const certificatePem = (certificate: x509.X509Certificate): string => `${certificate.toString("pem")}\n`;
