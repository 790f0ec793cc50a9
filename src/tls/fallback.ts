/**
 * What does a client see that names no server?
 * Owns: the neutral self-signed certificate.
 * Never: tells anything: no site's name, no address, not even when the program was started.
 */
import { BasicConstraintsExtension } from "@peculiar/x509";
import { certificatePem, makeCertificate, newKeyPair, privateKeyPem } from "./certificate-maker.ts";

/** RFC 2606 §2: a name that is obviously invalid, so nobody takes it for a site. */
const COMMON_NAME = "invalid";
const NOT_BEFORE = Date.UTC(2020, 0, 1);
/** RFC 5280 §4.1.2.5: the date that stands for "no end". */
const NOT_AFTER = Date.UTC(9999, 11, 31, 23, 59, 59);

export interface FallbackCertificate {
  keyPem: string;
  certificatePem: string;
}

/** A new one at every start: kept in memory, so there is nothing to steal or to lose. Takes some milliseconds. */
export async function createFallback(): Promise<FallbackCertificate> {
  const { publicKey, privateKey } = await newKeyPair();
  const certificate = await makeCertificate({
    subject: COMMON_NAME,
    issuer: undefined,
    notBefore: NOT_BEFORE,
    notAfter: NOT_AFTER,
    publicKey,
    signingKey: privateKey,
    extensions: [new BasicConstraintsExtension(false, undefined, true)],
  });
  return { keyPem: privateKeyPem(privateKey), certificatePem: certificatePem(certificate) };
}
