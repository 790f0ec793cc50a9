/**
 * Is this home's IPv6 what it seems?
 * Owns: a lasting address, a way out, and what a published AAAA record is worth without them.
 * Never: claims that somebody gets in by IPv6: nobody inside can see that.
 */
import { resolve6 } from "node:dns/promises";
import { isIPv6 } from "node:net";
import { errorText } from "../core/errors.ts";
import type { Shown } from "../dns/shown.ts";
import { type Note, note } from "./finding.ts";
import { tryConnect } from "./listening.ts";

const CONNECT_WITHIN_MS = 3_000;

export interface Ipv6Look {
  /** The stable global address of this machine. */
  own: string | undefined;
  /** What DNS shows of our names, by name. */
  shown: ReadonlyMap<string, readonly Shown[]>;
  /** Hosts outside that are asked anyway: the CA, the witnesses. */
  urls: readonly string[];
  signal: AbortSignal;
}

export async function lookAtIpv6({ own, shown, urls, signal }: Ipv6Look): Promise<Note[]> {
  const published = [...shown].filter(([, servers]) => servers.some(({ ipv6 }) => ipv6.length > 0));
  const [named] = published.find(([, servers]) => servers.some(({ ipv6 }) => ipv6.includes(own ?? ""))) ?? [];
  if (own === undefined) {
    const seen = "This machine has no lasting IPv6 address; visitors come by IPv4.";
    // An AAAA record that leads elsewhere is named by the look at DNS.
    return [note("ok", "IPV6_NONE", { seen })];
  }
  let reason = "";
  for (const url of urls) {
    try {
      const host = await reachedByIpv6(url, signal);
      if (host === undefined) continue;
      const seen = `This machine is ${own}, and reaches ${host} by IPv6${named === undefined ? "; no name of ours is published with it" : ""}.`;
      return [note("ok", "IPV6_WORKS", { seen })];
    } catch (error) {
      signal.throwIfAborted();
      reason = `${new URL(url).hostname}: ${errorText(error)}`;
    }
  }
  if (reason === "") {
    const seen = `This machine is ${own}; nobody who is asked anyway has IPv6, so whether it leads out was not tried.`;
    return [note("unknown", "IPV6_NOT_TRIED", { seen })];
  }
  const seen = `This machine has the IPv6 address ${own}, but nothing outside is reached by it (${reason})`;
  if (named === undefined) {
    return [note("note", "IPV6_DEAD", { seen: `${seen}. No name of ours has an AAAA record, so no visitor is hurt.` })];
  }
  return [
    note("warning", "IPV6_DEAD", {
      subject: named,
      seen: `${seen}, and ${named} has it in DNS.`,
      why: "Visitors and CAs that have IPv6 try it first, and wait or give up.",
      next: `Remove the AAAA record of ${named} (ddns: ipv6: off keeps it away), or ask the provider about IPv6.`,
    }),
  ];
}

/** Undefined: it has no IPv6 address itself. @throws the network's error */
async function reachedByIpv6(url: string, signal: AbortSignal): Promise<string | undefined> {
  const { hostname, port } = new URL(url);
  const bare = hostname.replace(/^\[|\]$/g, "");
  const addresses = isIPv6(bare) ? [bare] : await resolve6(bare).catch(() => []);
  signal.throwIfAborted();
  const [address] = addresses;
  if (address === undefined) return undefined;
  await tryConnect(address, port === "" ? 443 : Number(port), CONNECT_WITHIN_MS, signal);
  return hostname;
}
