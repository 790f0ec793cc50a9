/**
 * What certificate answers the CA's question on port 443?
 * Owns: the certificates of open TLS-ALPN-01 challenges (RFC 8737), in memory and in storage.
 * Never: listens; the front asks `challengeCertificate` for handshakes that offer `acme-tls/1` and nothing else.
 *
 * In storage for the same reason as the tokens of port 80: every worker can answer, and so can a process that restarted.
 */
import { KeyObject, webcrypto } from "node:crypto";
import { isIPv4, isIPv6 } from "node:net";
import * as x509 from "@peculiar/x509";
import type { Clock } from "../../core/time.ts";
import type { Storage } from "../../storage/contract.ts";
import { isRecord } from "../problem.ts";
import { type Question, type Solver, digestOf } from "./solver.ts";

/** id-pe-acmeIdentifier (RFC 8737 §6.1). */
const ACME_IDENTIFIER = "1.3.6.1.5.5.7.1.31";
const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const FOLDER = "acme/alpn";
/** The names that a site, or the reverse name of an address, can have. As a storage key it can name nothing else. */
const NAME = /^[a-z0-9][a-z0-9.-]{0,252}$/;
/** Orders run one at a time with at most 100 names. */
const MAX_OPEN = 1_000;
/** Let's Encrypt forgets a pending authorization after seven days at most. */
const KEEP_MS = 7 * 86_400_000;
const DAY_MS = 86_400_000;
/** Strangers choose names, and each unknown one is a look into storage: more at once than this get no answer. */
const MAX_LOOKUPS = 32;

export interface ChallengeCertificate {
  keyPem: string;
  certificatePem: string;
}

export interface AlpnChallenges extends Solver {
  /** For a handshake that offers `acme-tls/1` alone; undefined when no challenge is open. Never rejects. */
  challengeCertificate(serverName: string): Promise<ChallengeCertificate | undefined>;
}

interface Open {
  token: string;
  certificate: ChallengeCertificate;
  wasAsked: boolean;
}

export function createAlpnChallenges({ storage, clock }: { storage: Storage; clock: Clock }): AlpnChallenges {
  const open = new Map<string, Open>();
  let lookups = 0;

  async function lookUp(name: string): Promise<ChallengeCertificate | undefined> {
    if (lookups >= MAX_LOOKUPS) return undefined;
    lookups++;
    try {
      return readKept(await storage.read(`${FOLDER}/${name}`), clock.now());
    } catch {
      return undefined; // a disk in trouble is reported by whoever writes to it
    } finally {
      lookups--;
    }
  }

  return {
    type: "tls-alpn-01",

    async present({ name, token, keyAuthorization }) {
      const certificate = await makeCertificate(name, digestOf(keyAuthorization), clock.now());
      const serverName = serverNameOf(name);
      const [oldest] = open.keys();
      if (open.size >= MAX_OPEN && oldest !== undefined) open.delete(oldest);
      open.set(serverName, { token, certificate, wasAsked: false });
      const kept = { version: 1, ...certificate, expires: clock.now() + KEEP_MS };
      await storage.write(`${FOLDER}/${serverName}`, JSON.stringify(kept));
    },

    wasAsked(question) {
      const entry = open.get(serverNameOf(question.name));
      return entry?.token === question.token && entry.wasAsked;
    },

    async remove({ name, token }: Question) {
      const serverName = serverNameOf(name);
      const entry = open.get(serverName);
      if (entry !== undefined && entry.token !== token) return;
      open.delete(serverName);
      await storage.remove(`${FOLDER}/${serverName}`);
    },

    async challengeCertificate(serverName) {
      const name = serverName.toLowerCase();
      if (!NAME.test(name)) return undefined;
      const entry = open.get(name);
      if (entry === undefined) return lookUp(name);
      entry.wasAsked = true;
      return entry.certificate;
    },

    async sweep() {
      for (const key of await storage.list(FOLDER)) {
        if (readKept(await storage.read(key), clock.now()) === undefined) await storage.remove(key);
      }
    },
  };
}

/** A CA asks for an address by its reverse name (RFC 8738 §6), because SNI holds no addresses. */
export function serverNameOf(name: string): string {
  if (isIPv4(name)) return `${name.split(".").reverse().join(".")}.in-addr.arpa`;
  if (!isIPv6(name)) return name.toLowerCase();
  return `${ipv6Digits(name).reverse().join(".")}.ip6.arpa`;
}

/** The 32 hexadecimal digits. The URL parser writes the short form, with an embedded IPv4 address as digits. */
function ipv6Digits(address: string): string[] {
  const [head = "", tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split("::");
  const groups = (text: string | undefined): string[] =>
    (text ?? "")
      .split(":")
      .filter((part) => part !== "")
      .map((part) => part.padStart(4, "0"));
  const [first, last] = [groups(head), groups(tail)];
  return [...first, ...Array.from({ length: 8 - first.length - last.length }, () => "0000"), ...last]
    .join("")
    .split("");
}

/** RFC 8737 §3: self-signed, this one name, and the digest in a critical extension. */
async function makeCertificate(name: string, digest: Buffer, now: number): Promise<ChallengeCertificate> {
  const { publicKey, privateKey } = await webcrypto.subtle.generateKey(P256, true, ["sign", "verify"]);
  const isAddress = isIPv4(name) || isIPv6(name);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      name: "CN=ACME challenge",
      keys: { publicKey, privateKey },
      signingAlgorithm: P256,
      notBefore: new Date(now - DAY_MS),
      notAfter: new Date(now + KEEP_MS),
      extensions: [
        new x509.SubjectAlternativeNameExtension([{ type: isAddress ? "ip" : "dns", value: name }]),
        // The extension's value is an OCTET STRING of its own: tag 4, length 32.
        new x509.Extension(ACME_IDENTIFIER, true, Buffer.concat([Buffer.from([4, digest.length]), digest])),
      ],
    },
    webcrypto,
  );
  return {
    keyPem: KeyObject.from(privateKey).export({ type: "pkcs8", format: "pem" }).toString(),
    certificatePem: `${certificate.toString("pem")}\n`,
  };
}

function readKept(bytes: Buffer | undefined, now: number): ChallengeCertificate | undefined {
  try {
    const data: unknown = JSON.parse(bytes?.toString("utf8") ?? "");
    if (!isRecord(data) || !(Number(data["expires"]) > now)) return undefined;
    const { keyPem, certificatePem } = data;
    if (typeof keyPem !== "string" || typeof certificatePem !== "string") return undefined;
    return { keyPem, certificatePem };
  } catch {
    return undefined;
  }
}
