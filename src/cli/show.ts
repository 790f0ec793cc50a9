/**
 * `gatehouse show`, `report` and `acme account`: all there is to know about certificates and accounts.
 * Owns: reading a chain for people: names, keys, fingerprints, links.
 * Never: sees a private key.
 */
import { createHash, X509Certificate } from "node:crypto";
import type { AccountReport, AdminClient, CertificateDetails, CertificateStatus } from "../admin/client.ts";
import { isGatehouseError } from "../core/errors.ts";
import { asJson as statusJson, byTimeLeft } from "./certificates.ts";
import { EXIT } from "./exit-codes.ts";
import { span } from "./span.ts";
import { harmless, isoTime, paint, printJson, type Terminal } from "./terminal.ts";

type Facts = readonly (readonly [label: string, value: string | undefined])[];

const LABEL_WIDTH = 16;

function write(terminal: Terminal, title: string, facts: Facts): void {
  const { out } = terminal;
  out.write(`${paint(out, "bold", harmless(title))}\n`);
  for (const [label, value] of facts) {
    if (value !== undefined && value !== "") out.write(`  ${label.padEnd(LABEL_WIDTH)}${harmless(value)}\n`);
  }
}

export async function showCertificate(
  client: AdminClient,
  name: string,
  json: boolean,
  terminal: Terminal,
): Promise<number> {
  const details = await client.show({ name });
  const chain = chainOf(details.chainPem);
  if (json) {
    printJson(terminal, { ...detailsJson(details), chain: chain.map(linkJson) });
    return EXIT.ok;
  }
  write(terminal, name, detailFacts(details));
  for (const [at, link] of chain.entries()) {
    write(terminal, at === 0 ? "certificate" : `above it, ${at}`, [
      ["subject", oneLine(link.subject)],
      ["issuer", oneLine(link.issuer)],
      ["valid", `${isoTime(link.validFromDate.getTime())} to ${isoTime(link.validToDate.getTime())}`],
      ["serial", link.serialNumber],
      ["key", keyText(link)],
      ["SHA-256", link.fingerprint256],
      ["key SHA-256", keyDigest(link)],
      ["next in chain", nextText(chain, at)],
    ]);
  }
  return EXIT.ok;
}

/** One name, or all of them, least time left first. */
export async function reportCertificates(
  client: AdminClient,
  names: readonly string[],
  json: boolean,
  terminal: Terminal,
): Promise<number> {
  const statuses = [...(await client.certificates())]
    .sort(byTimeLeft)
    .filter(({ name }) => names.length === 0 || names.includes(name));
  // A name that is not there says so with its own code.
  for (const name of names) if (!statuses.some((one) => one.name === name)) await client.show({ name });
  const reports: Record<string, unknown>[] = [];
  for (const status of statuses) {
    const details = await client.show({ name: status.name }).catch((error: unknown) => {
      if (isGatehouseError(error, "GATEHOUSE_CERTIFICATE_PENDING")) return undefined;
      throw error;
    });
    if (json) reports.push(details === undefined ? statusJson(status, Date.now()) : detailsJson(details));
    else write(terminal, status.name, details === undefined ? statusFacts(status) : detailFacts(details));
  }
  if (json) printJson(terminal, { certificates: reports });
  return EXIT.ok;
}

export async function showAccounts(
  client: AdminClient,
  options: { json: boolean; rollOver: boolean },
  terminal: Terminal,
): Promise<number> {
  const accounts = await client.accounts({ rollOver: options.rollOver });
  if (options.json) {
    printJson(terminal, { accounts: accounts.map(accountJson) });
    return EXIT.ok;
  }
  if (accounts.length === 0) terminal.err.write("the embedded CA needs no account\n");
  if (options.rollOver && accounts.length > 0) terminal.err.write("each account has a new key\n");
  for (const { ca, url, email, place, savedAt } of accounts) {
    write(terminal, ca, [
      ["account", url ?? "none yet; the first order makes one"],
      ["e-mail", email ?? "none"],
      ["since", isoTime(savedAt)],
      ["kept in", `${place} in the state folder`],
    ]);
  }
  return EXIT.ok;
}

const accountJson = ({ ca, url, email, place, savedAt }: AccountReport) => ({
  ca,
  url: url ?? null,
  email: email ?? null,
  place,
  savedAt: isoTime(savedAt) ?? null,
});

function statusFacts(one: CertificateStatus): Facts {
  const now = Date.now();
  const ahead = (at: number | undefined) =>
    at === undefined ? undefined : `${isoTime(at)} (${at > now ? `in ${span(at - now)}` : `${span(now - at)} ago`})`;
  return [
    ["state", one.hasOwnFiles ? `${one.state}, own files` : one.isDisabled ? `${one.state}, disabled` : one.state],
    ["issuer", one.issuer],
    ["profile", one.profile],
    ["valid from", isoTime(one.notBefore)],
    ["expires", ahead(one.notAfter)],
    ["due", ahead(one.renewAt)],
    // It waits its turn, or for the router and the name to lead here.
    ["next try", one.nextTry !== undefined && one.nextTry <= now ? "now" : ahead(one.nextTry)],
    ["failures", one.consecutiveFailures === 0 ? undefined : `${one.consecutiveFailures} in a row`],
    ["last failure", one.lastFailure && `${isoTime(one.lastFailure.at)} ${one.lastFailure.code}`],
    ["it said", one.lastFailure?.message],
    ["next step", one.lastFailure?.hint],
  ];
}

function detailFacts({
  status,
  names,
  ca,
  serial,
  issuedAt,
  revokedAt,
  challenge,
  chainPem,
}: CertificateDetails): Facts {
  const [leaf] = chainOf(chainPem);
  return [
    ["names", names.join(", ")],
    ...statusFacts(status),
    ["CA", ca],
    ["proved by", challenge],
    ["issued", isoTime(issuedAt)],
    ["revoked", isoTime(revokedAt)],
    ["serial", serial],
    ["key", leaf && keyText(leaf)],
    ["SHA-256", leaf?.fingerprint256],
  ];
}

function detailsJson({ status, names, ca, serial, issuedAt, revokedAt, challenge, chainPem }: CertificateDetails) {
  const [leaf] = chainOf(chainPem);
  return {
    ...statusJson(status, Date.now()),
    names,
    ca,
    challenge: challenge ?? null,
    issuedAt: isoTime(issuedAt),
    revokedAt: isoTime(revokedAt) ?? null,
    serial,
    key: leaf === undefined ? null : keyText(leaf),
    sha256: leaf?.fingerprint256 ?? null,
  };
}

const linkJson = (link: X509Certificate) => ({
  subject: oneLine(link.subject),
  issuer: oneLine(link.issuer),
  notBefore: isoTime(link.validFromDate.getTime()),
  notAfter: isoTime(link.validToDate.getTime()),
  serial: link.serialNumber,
  key: keyText(link),
  sha256: link.fingerprint256,
  keySha256: keyDigest(link),
});

function chainOf(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

const oneLine = (text: string | undefined): string => (text ?? "none").replaceAll("\n", ", ");

function keyText({ publicKey }: X509Certificate): string {
  const { asymmetricKeyType: type = "", asymmetricKeyDetails: details } = publicKey;
  if (type === "rsa") return `RSA ${details?.modulusLength ?? ""}`;
  return type === "ec" ? `ECDSA ${details?.namedCurve ?? ""}` : type;
}

/** As HPKP and DANE (3 1 1) write it: of the SubjectPublicKeyInfo, in base64. */
const keyDigest = ({ publicKey }: X509Certificate): string =>
  createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("base64");

function nextText(chain: readonly X509Certificate[], at: number): string {
  const [link, above] = [chain[at], chain[at + 1]];
  if (link === undefined || above === undefined) return "none; a root that devices have";
  return link.checkIssued(above) && link.verify(above.publicKey) ? "signed it" : "DID NOT SIGN IT";
}
