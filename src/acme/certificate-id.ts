/**
 * What does a CA call a certificate of its own?
 * Owns: the identifier of RFC 9773 §4.1: authority key identifier and serial number.
 * Never: asks for anything.
 */
import { X509Certificate } from "node:crypto";
import { AuthorityKeyIdentifierExtension, X509Certificate as ParsedCertificate } from "@peculiar/x509";

/** Undefined for a certificate without an authority key identifier: its CA has no renewal information. */
export function certificateId(chainPem: string): string | undefined {
  try {
    const leaf = new X509Certificate(chainPem);
    const authority = new ParsedCertificate(leaf.raw).getExtension(AuthorityKeyIdentifierExtension)?.keyId;
    if (authority === undefined) return undefined;
    // The contents of the DER integer: a leading zero where the highest bit would make it negative.
    const serial = Buffer.from(
      leaf.serialNumber.padStart(leaf.serialNumber.length + (leaf.serialNumber.length % 2), "0"),
      "hex",
    );
    const content = (serial[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), serial]) : serial;
    return `${Buffer.from(authority, "hex").toString("base64url")}.${content.toString("base64url")}`;
  } catch {
    return undefined;
  }
}
