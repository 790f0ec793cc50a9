/**
 * What does a visitor of this name get to see?
 * Owns: one TLS handshake with our own listener, and comparing what it shows with what is stored.
 * Never: asks anything of a site, or believes its own eyes over the store.
 */
import { X509Certificate } from "node:crypto";
import { connect as connectTcp, isIP, isIPv6, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { Bound } from "../cluster/contract.ts";
import { errorText } from "../core/errors.ts";
import { createNetworkSet } from "../core/networks.ts";
import { proxyHeader } from "../core/proxy-protocol.ts";
import type { CertificateBundle } from "../storage/bundles.ts";

const WITHIN_MS = 10_000;

export interface OwnListener extends Bound {
  /** Peers that must begin with a PROXY header (CIDRs); we may be among them. */
  proxyProtocolFrom: readonly string[];
}

/** The first one stands for all: they share their contexts. */
export const ownListener = ([bound]: readonly Bound[], proxyProtocolFrom: readonly string[]): OwnListener | undefined =>
  bound && { ...bound, proxyProtocolFrom };

/** What is wrong, in words; undefined when it shows the stored certificate whole and in date. */
export async function checkServed(
  listener: OwnListener,
  bundle: CertificateBundle,
  now: number,
): Promise<string | undefined> {
  const [leaf, ...above] = chainOf(bundle.chainPem);
  if (leaf === undefined) return "the stored chain is empty";
  const broken = above.findIndex((link, at) => {
    const below = at === 0 ? leaf : above[at - 1];
    return below === undefined || !below.checkIssued(link) || !below.verify(link.publicKey);
  });
  if (broken >= 0) return `link ${broken + 1} of the stored chain did not sign the one below it`;
  const stale = above.find((link) => link.validToDate.getTime() <= now);
  if (stale !== undefined) return `an intermediate certificate (${oneLine(stale.subject)}) has expired`;
  try {
    const shown = await handshake(listener, nameToAsk(bundle.name));
    if (shown.fingerprint256 === leaf.fingerprint256) return undefined;
    return `the listener shows the certificate with serial ${shown.serialNumber}, stored is ${leaf.serialNumber}`;
  } catch (error) {
    return `no handshake with our own listener: ${errorText(error)}`;
  }
}

/** Some name that a wildcard covers; for an address none, since SNI has no place for one. */
const nameToAsk = (name: string): string => (isIP(name) === 0 ? name.replace(/^\*\./, "gatehouse-check.") : "");

const oneLine = (text: string): string => text.replaceAll("\n", ", ");

const chainOf = (pem: string): X509Certificate[] =>
  (pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? []).map(
    (one) => new X509Certificate(one),
  );

async function handshake(listener: OwnListener, servername: string): Promise<X509Certificate> {
  const raw = await opened(listener);
  return new Promise((resolve, reject) => {
    // Whether it is the right one is judged by comparing; no root says that better.
    const socket = connectTls({ socket: raw, servername, rejectUnauthorized: false, ALPNProtocols: ["http/1.1"] });
    const timer = setTimeout(() => end(new Error("it took too long")), WITHIN_MS);
    const end = (error: Error): void => {
      clearTimeout(timer);
      raw.destroy();
      reject(error);
    };
    socket.on("error", end);
    socket.on("close", () => end(new Error("it closed the connection")));
    socket.on("secureConnect", () => {
      const shown = socket.getPeerX509Certificate();
      if (shown === undefined) {
        end(new Error("it shows no certificate"));
        return;
      }
      resolve(shown);
      // Our last word of the handshake is not on its way yet: a connection cut here would be one that never finished.
      socket.resume();
      socket.end();
    });
  });
}

async function opened({ host, port, proxyProtocolFrom }: OwnListener): Promise<Socket> {
  const address = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  const raw = connectTcp({ host: address, port });
  raw.on("error", () => {});
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("nobody took the connection")), WITHIN_MS);
    raw.once("connect", () => {
      clearTimeout(timer);
      resolve();
    });
    raw.once("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
  });
  const own = raw.localAddress ?? (isIPv6(address) ? "::1" : "127.0.0.1");
  if (createNetworkSet(proxyProtocolFrom).has(own)) {
    const ends = { sourceAddress: own, sourcePort: raw.localPort ?? 0, destinationAddress: own, destinationPort: port };
    raw.write(proxyHeader("v2", ends));
  }
  return raw;
}
