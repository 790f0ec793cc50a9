/**
 * Which certificates stand in this text?
 * Owns: finding the blocks of a PEM file, whatever stands around them (RFC 7468 §2 allows explanatory text).
 * Never: judges what it finds.
 */
import { X509Certificate } from "node:crypto";

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+?-----END CERTIFICATE-----/g;

/** In the order of the text. @throws what node:crypto says of a block that is none */
export const pemCertificates = (text: string): X509Certificate[] =>
  (text.match(CERTIFICATE) ?? []).map((block) => new X509Certificate(block));

/** One after another, each with its line end. */
export const pemOf = (certificates: readonly X509Certificate[]): string =>
  certificates.map((one) => one.toString()).join("");
