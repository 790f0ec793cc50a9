/**
 * Who is the client, when a proxy we trust may stand between?
 * Owns: the walk through X-Forwarded-For, the request id, IPv4-mapped peers.
 * Never: believes a peer that is not in trustedProxies.
 */
import { randomUUID } from "node:crypto";
import { isIP } from "node:net";
import { plainAddress } from "../../core/networks.ts";
import { markOf, returnsSaid } from "./passes.ts";
import type { Rules } from "./policy.ts";
import { type RequestHead, valuesOf } from "./request-head.ts";
import { splitAuthority } from "./routes.ts";

export interface ClientIdentity {
  /** The client as we believe it: the peer, or what a trusted peer says (right to left, first untrusted). */
  address: string;
  scheme: "http" | "https";
  /** Own id, or a trusted peer's X-Request-Id when it is well formed. */
  requestId: string;
  /**
   * One address. The chain behind it lost: Home Assistant and others then want every proxy of it in their own list,
   * and whoever needs the chain finds it at the proxy that made it.
   */
  forwardedFor: string;
  host: string;
  port: number;
  /** What Gatehouse calls itself in Forwarded. */
  by: string;
}

/** A chain longer than this is no chain of proxies; what is further left is not read. */
const MAX_HOPS = 32;

export function identifyClient(head: RequestHead, rules: Pick<Rules, "trusted" | "mark">): ClientIdentity {
  const peer = plainAddress(head.peerAddress);
  const own = splitAuthority(head.authority);
  const identity: ClientIdentity = {
    address: peer,
    scheme: head.scheme,
    requestId: "",
    forwardedFor: peer,
    host: own?.port === undefined ? head.host : `${head.host}:${own.port}`,
    port: own?.port ?? defaultPort(head.scheme),
    by: markOf(rules.mark, returnsSaid(head.forwarded, rules.mark)),
  };
  if (isTrusted(peer, rules)) believe(head, rules, identity);
  if (identity.requestId === "") identity.requestId = randomUUID();
  return identity;
}

function believe(head: RequestHead, rules: Pick<Rules, "trusted">, identity: ClientIdentity): void {
  const chain = listOf(head, "x-forwarded-for");
  let chosen = chain.length;
  for (let at = chain.length - 1; at >= Math.max(0, chain.length - MAX_HOPS); at--) {
    const address = addressOf(chain[at] ?? "");
    // What is no address was not written by a proxy: nothing left of it can be believed either.
    if (address === undefined) break;
    identity.address = address;
    chosen = at;
    if (!isTrusted(address, rules)) break;
  }
  identity.forwardedFor = identity.address;
  const schemes = listOf(head, "x-forwarded-proto");
  const scheme = (schemes.length === chain.length ? schemes[chosen] : schemes.at(-1))?.toLowerCase();
  if (scheme === "http" || scheme === "https") identity.scheme = scheme;
  const host = listOf(head, "x-forwarded-host").at(-1);
  const split = host === undefined ? undefined : splitAuthority(host);
  if (split !== undefined) identity.host = split.port === undefined ? split.host : `${split.host}:${split.port}`;
  const port = listOf(head, "x-forwarded-port").at(-1) ?? "";
  const named = split === undefined ? splitAuthority(head.authority)?.port : split.port;
  const isPort = /^\d{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65_535;
  identity.port = isPort ? Number(port) : (named ?? defaultPort(identity.scheme));
  const ids = valuesOf(head.headers, "x-request-id");
  if (ids.length === 1 && /^[\w.+/=:-]{1,128}$/.test(ids[0] ?? "")) identity.requestId = ids[0] ?? "";
}

function listOf(head: RequestHead, name: string): string[] {
  const values = valuesOf(head.headers, name);
  return values.length === 0
    ? []
    : values
        .join(",")
        .split(",")
        .map((text) => text.trim());
}

/** Some proxies write a port behind the address (`1.2.3.4:5678`, `[2001:db8::1]:443`); the address is what counts. */
function addressOf(text: string): string | undefined {
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(text)?.[1] ?? /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(text)?.[1] ?? text;
  return isIP(bare) !== 0 && !bare.includes("%") ? plainAddress(bare) : undefined;
}

/** Is what this peer says of others believed? `address` is plain (see plainAddress). */
export function isTrusted(address: string, rules: Pick<Rules, "trusted">): boolean {
  const family = isIP(address);
  return family !== 0 && rules.trusted.check(address, family === 6 ? "ipv6" : "ipv4");
}

const defaultPort = (scheme: "http" | "https"): number => (scheme === "https" ? 443 : 80);
