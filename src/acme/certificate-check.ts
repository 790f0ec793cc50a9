/**
 * Is this the certificate we ordered?
 * Owns: names, key, dates and chain of what a CA delivered, before anything is served from it.
 * Never: fetches or keeps.
 */
import { X509Certificate, createPrivateKey } from "node:crypto";
import { isIPv6 } from "node:net";
import { errorText, GatehouseError } from "../core/errors.ts";

/** Leaf and two intermediates are usual; Pebble's tests go to five. */
const MAX_CHAIN = 10;
/** CAs backdate by an hour and home clocks drift by minutes; more than this is a clock that is wrong. */
const CLOCK_SKEW_MS = 3_600_000;

export interface CertificateFacts {
  names: readonly string[];
  /** Leaf first, normalised PEM. */
  chainPem: string;
  notBefore: number; // ms since 1970
  notAfter: number; // ms since 1970
  issuer: string;
  serial: string;
}

/** @throws GATEHOUSE_ACME_BAD_CERTIFICATE with the first thing that is wrong */
export function checkCertificate(
  chainPem: string,
  wanted: { names: readonly string[]; keyPem: string; now: number },
): CertificateFacts {
  const chain = parseChain(chainPem);
  const [leaf] = chain;
  if (leaf === undefined) throw bad("it holds no certificate");
  const names = namesOf(leaf);
  const ordered = wanted.names.map(spelled);
  const missing = ordered.filter((name) => !names.includes(name));
  const extra = names.filter((name) => !ordered.includes(name));
  if (missing.length > 0) throw bad(`it lacks ${missing.join(", ")}`);
  if (extra.length > 0) throw bad(`it holds names nobody ordered: ${extra.slice(0, 5).join(", ")}`);
  if (!leaf.checkPrivateKey(createPrivateKey(wanted.keyPem))) throw bad("it belongs to another key");
  // A leaf that says where its issuer's certificate is was not signed by a root: browsers go and fetch it, many clients not.
  if (chain.length === 1 && leaf.infoAccess?.includes("CA Issuers") === true) {
    throw bad("it came without the intermediate certificate that signed it");
  }
  const notBefore = Date.parse(leaf.validFrom);
  const notAfter = Date.parse(leaf.validTo);
  const clockHint = "Check this machine's clock; if it is right, the CA's is wrong.";
  if (!(notAfter > wanted.now)) throw bad(`it has expired on ${leaf.validTo}`, clockHint);
  if (!(notBefore <= wanted.now + CLOCK_SKEW_MS)) throw bad(`it begins only on ${leaf.validFrom}`, clockHint);
  for (const [at, certificate] of chain.entries()) {
    const issuer = chain[at + 1];
    if (issuer === undefined) break;
    if (!certificate.checkIssued(issuer) || !certificate.verify(issuer.publicKey)) {
      throw bad(`certificate ${at + 1} of its chain is not signed by certificate ${at + 2}`);
    }
  }
  return {
    names,
    chainPem: chain.map((certificate) => certificate.toString()).join(""),
    notBefore,
    notAfter,
    issuer: commonName(leaf.issuer),
    serial: leaf.serialNumber,
  };
}

function parseChain(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g) ?? [];
  const begun = pem.match(/-----BEGIN /g)?.length ?? 0;
  if (blocks.length !== begun) throw bad("its chain is cut short or holds something else");
  if (blocks.length > MAX_CHAIN) throw bad(`its chain has ${blocks.length} certificates`);
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (cause) {
    throw bad(`it cannot be read: ${errorText(cause)}`, undefined, cause);
  }
}

function namesOf(leaf: X509Certificate): string[] {
  // Node prints `DNS:a, IP Address:b`, and quotes an entry that could be mistaken for two: such a one is never ours.
  return (leaf.subjectAltName ?? "")
    .split(", ")
    .filter((entry) => entry !== "")
    .map((entry) => {
      if (entry.startsWith("DNS:")) return entry.slice("DNS:".length).toLowerCase();
      return entry.startsWith("IP Address:") ? spelled(entry.slice("IP Address:".length)) : entry;
    });
}

/** Node prints IPv6 addresses with all their zeros (`2001:DB8:0:…`), people without: one spelling for both. */
function spelled(name: string): string {
  return isIPv6(name) ? new URL(`http://[${name}]`).hostname.slice(1, -1) : name;
}

/** For people; the organisation where a CA's certificate has no common name. */
function commonName(subject: string): string {
  const part = (key: string): string | undefined => new RegExp(`^${key}=(.+)$`, "m").exec(subject)?.[1];
  return part("CN") ?? part("O") ?? subject.replaceAll("\n", ", ");
}

function bad(what: string, hint?: string, cause?: unknown): GatehouseError {
  return new GatehouseError("GATEHOUSE_ACME_BAD_CERTIFICATE", {
    message: `The certificate that the CA sent is not the one ordered: ${what}.`,
    hint: hint ?? "The one there was is kept; a new order follows. If it repeats, tell the CA.",
    cause,
  });
}
