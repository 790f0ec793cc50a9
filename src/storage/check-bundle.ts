/**
 * Do this key and this chain make a certificate that can be served for this name?
 * Owns: the checks that stand between bytes on a disk, or from a CA, and a listener.
 * Never: judges the dates against today: an expired certificate still serves, for LAN users a wrong date beats no answer.
 */
import { type KeyObject, X509Certificate, createPrivateKey } from "node:crypto";
import { isIPv6 } from "node:net";
import { errorText } from "../core/errors.ts";

/** What the leaf says of itself. */
export interface LeafFacts {
  names: readonly string[];
  notBefore: number; // ms since 1970
  notAfter: number; // ms since 1970
  issuer: string;
  serial: string;
}

export type BundleCheck = { facts: LeafFacts } | { reason: string };

/** Real chains have two to four; a CA that sends more than this is broken, and clients give up earlier. */
const MAX_CHAIN = 10;
/** Ten certificates of 6 KB, doubled. */
const MAX_CHAIN_CHARS = 131_072;

const PEM_BLOCK = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

/** @param name the site the bundle is for; a wildcard site needs the wildcard itself in the leaf */
export function checkBundle(name: string, keyPem: string, chainPem: string): BundleCheck {
  const chain = readChain(chainPem);
  if (typeof chain === "string") return { reason: chain };
  const [leaf] = chain;
  if (leaf === undefined) return { reason: "the chain holds no certificate" };

  let key: KeyObject;
  try {
    key = createPrivateKey(keyPem);
  } catch (error) {
    return { reason: `the key cannot be read (${errorText(error)})` };
  }
  if (!leaf.checkPrivateKey(key)) return { reason: "the key is not the key of the certificate" };

  const unlinked = whereUnlinked(chain);
  if (unlinked !== undefined) return { reason: `certificate ${unlinked + 1} of the chain was not issued by the next` };

  const names = namesIn(leaf);
  if (!covers(names, name)) return { reason: `the certificate is for ${names.slice(0, 3).join(", ") || "no name"}` };

  const notBefore = Date.parse(leaf.validFrom);
  const notAfter = Date.parse(leaf.validTo);
  if (!(notBefore < notAfter)) return { reason: `its dates make no sense (${leaf.validFrom} to ${leaf.validTo})` };

  return { facts: { names, notBefore, notAfter, issuer: commonName(leaf.issuer), serial: leaf.serialNumber } };
}

/** Leaf first. A text says what is wrong. */
function readChain(chainPem: string): X509Certificate[] | string {
  if (chainPem.length > MAX_CHAIN_CHARS) return "the chain is longer than any chain";
  const blocks = chainPem.match(PEM_BLOCK) ?? [];
  if (blocks.length > MAX_CHAIN) return `the chain holds ${blocks.length} certificates`;
  // What is left once whole blocks are cut out is white space, or a torn block.
  if (chainPem.replace(PEM_BLOCK, "").includes("-----")) return "the chain ends in the middle of a certificate";
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (error) {
    return `the chain cannot be read (${errorText(error)})`;
  }
}

/** Signatures are checked, too: `checkIssued` alone compares names and key identifiers. */
function whereUnlinked(chain: readonly X509Certificate[]): number | undefined {
  for (const [at, each] of chain.entries()) {
    const next = chain[at + 1];
    if (next !== undefined && !(each.checkIssued(next) && each.verify(next.publicKey))) return at;
  }
  return undefined;
}

/** `DNS:a.example, IP Address:192.0.2.1`; names with odd bytes come quoted and are no names of ours. */
export function namesIn(leaf: X509Certificate): string[] {
  const entries = leaf.subjectAltName?.split(", ") ?? [];
  return entries.flatMap((entry) => {
    if (entry.includes('"')) return [];
    if (entry.startsWith("DNS:")) return [entry.slice("DNS:".length).toLowerCase()];
    return entry.startsWith("IP Address:") ? [shortAddress(entry.slice("IP Address:".length))] : [];
  });
}

/** Node prints IPv6 addresses with all their zeros; a site is named by the short form (RFC 5952). */
const shortAddress = (text: string): string =>
  isIPv6(text) ? new URL(`http://[${text}]`).hostname.slice(1, -1) : text;

/** By itself, or by a wildcard one label above it (RFC 9525 §6.3). */
export function covers(names: readonly string[], name: string): boolean {
  if (names.includes(name)) return true;
  const dot = name.indexOf(".");
  return dot > 0 && !name.startsWith("*") && names.includes(`*${name.slice(dot)}`);
}

/** Node gives one attribute a line. Some issuers have an organisation and no common name. */
function commonName(issuer: string): string {
  const lines = issuer.split("\n");
  const found = lines.find((line) => line.startsWith("CN=")) ?? lines.find((line) => line.startsWith("O="));
  return (found?.slice(found.indexOf("=") + 1) ?? lines[0] ?? "").slice(0, 200);
}
