/**
 * Which headers does the other side see?
 * Owns: what is stripped and what is added, in both directions.
 * Never: writes to a socket.
 */
import { isIPv6 } from "node:net";
import type { SiteConfig } from "../../config/model.ts";
import type { ClientIdentity } from "./client-identity.ts";
import { deviceFields } from "./device.ts";
import type { RequestHead } from "./request-head.ts";
import { splitAuthority } from "./routes.ts";

export { type ClientIdentity, identifyClient } from "./client-identity.ts";

/**
 * Fields of one connection (RFC 9110 §7.6.1) and framing, which the sender writes afresh. Every `proxy-…` field goes
 * too: they speak to proxies, and `Proxy` itself becomes HTTP_PROXY in a CGI target (httpoxy).
 */
export const PER_CONNECTION: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
  "expect",
  "content-length",
]);

/** Nobody may have these removed by naming them in Connection: they route or frame the message (RFC 9110 §7.6.1). */
const NEVER_NOMINATED = new Set(["host", "content-length", "transfer-encoding", "close", "keep-alive"]);

/** Ours to say. The whole x-forwarded- family goes: -Scheme, -Ssl, -Prefix and their like are believed somewhere too. */
export const OURS: ReadonlySet<string> = new Set(["host", "forwarded", "x-real-ip", "x-request-id"]);

const isPerConnection = (name: string): boolean => PER_CONNECTION.has(name) || name.startsWith("proxy-");

/** Fields that may not stand behind a body (RFC 9110 §6.5.1): framing, routing, and what decides about the message. */
const NEVER_TRAILERS = new Set([
  "host",
  "authorization",
  "cookie",
  "set-cookie",
  "content-encoding",
  "content-type",
  "content-range",
  "cache-control",
  "max-forwards",
  "location",
  "forwarded",
  "alt-svc",
]);

/**
 * Flat name, value list for the target: exactly one Host, hop-by-hop and Connection-named fields gone, forwarding headers
 * ours, names with `_` dropped, no framing headers (the sender sets them), no upgrade headers (the upgrade adds its own).
 */
export function requestHeaders(head: RequestHead, client: ClientIdentity, site: SiteConfig): string[] {
  const out = ["host", canonicalAuthority(head)];
  const nominated = nominatedBy(head.headers);
  for (let at = 0; at < head.headers.length; at += 2) {
    const name = head.headers[at] ?? "";
    if (isPerConnection(name) || OURS.has(name) || name.startsWith("x-forwarded-") || nominated.has(name)) continue;
    // `X_Forwarded_For` and `X-Forwarded-For` are one variable to CGI, WSGI and PHP.
    if (name.includes("_")) continue;
    out.push(name, head.headers[at + 1] ?? "");
  }
  if (site.forwardingHeaders) out.push(...forwardingFields(client));
  out.push(...deviceFields(head, site), "x-request-id", client.requestId);
  return out;
}

/** What the target is told of the client, as a flat list; the request id is another field. */
export function forwardingFields(client: ClientIdentity): string[] {
  return [
    "x-forwarded-for",
    client.forwardedFor,
    "x-forwarded-proto",
    client.scheme,
    "x-forwarded-host",
    client.host,
    "x-forwarded-port",
    String(client.port),
    "forwarded",
    forwardedField(client),
    "x-real-ip",
    client.address,
  ];
}

/** Flat list for the client: hop-by-hop and Connection-named fields, Alt-Svc, framing gone; the site's own set or removed. */
export function responseHeaders(raw: readonly string[], site: SiteConfig): string[] {
  const out: string[] = [];
  const nominated = nominatedBy(raw);
  for (let at = 0; at < raw.length; at += 2) {
    const name = (raw[at] ?? "").toLowerCase();
    // Alt-Svc of a target would send the client to a port that is not ours.
    if (isPerConnection(name) || name === "alt-svc" || nominated.has(name) || site.responseHeaders.has(name)) continue;
    out.push(name, raw[at + 1] ?? "");
  }
  for (const [name, value] of site.responseHeaders) if (value !== null) out.push(name, value);
  return out;
}

/** The trailers that may go on, as a flat list with names in lower case. */
export function relayedTrailers(raw: readonly string[]): string[] {
  const out: string[] = [];
  for (let at = 0; at < raw.length; at += 2) {
    const name = (raw[at] ?? "").toLowerCase();
    if (isPerConnection(name) || NEVER_TRAILERS.has(name) || OURS.has(name) || name.startsWith("x-forwarded-"))
      continue;
    if (name.includes("_")) continue;
    out.push(name, raw[at + 1] ?? "");
  }
  return out;
}

/** The name as routed, with the port as sent: `A.TEST.:8443` reaches the target as `a.test:8443`, one spelling of one host. */
export function canonicalAuthority(head: Pick<RequestHead, "authority" | "host">): string {
  const port = splitAuthority(head.authority)?.port;
  return port === undefined ? head.host : `${head.host}:${port}`;
}

function nominatedBy(headers: readonly string[]): Set<string> {
  const named = new Set<string>();
  for (let at = 0; at < headers.length; at += 2) {
    if (headers[at]?.toLowerCase() !== "connection") continue;
    for (const token of (headers[at + 1] ?? "").split(",")) {
      const name = token.trim().toLowerCase();
      if (!NEVER_NOMINATED.has(name)) named.add(name);
    }
  }
  return named;
}

/** RFC 7239 §4 and §6: what is no token is quoted, an IPv6 address stands in brackets. */
function forwardedField(client: ClientIdentity): string {
  const address = isIPv6(client.address) ? `"[${client.address}]"` : client.address;
  const host = /^[\w.-]+$/.test(client.host) ? client.host : `"${client.host}"`;
  return `for=${address};host=${host};proto=${client.scheme};${client.by}`;
}
