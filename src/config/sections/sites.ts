/**
 * What does one entry under `sites` come to?
 * Owns: what two settings of a site mean together (to and routes, redirect and status, upstreamTls and its targets).
 * Never: knows of other sites.
 */
import { isIP } from "node:net";
import { isInsideAddress } from "../../core/networks.ts";
import type { PassthroughConfig, RouteConfig, SiteConfig, TargetConfig, UpstreamTls } from "../model.ts";
import { resolveOnDemand } from "./on-demand.ts";
import { isEmail } from "../values/readings.ts";
import type { DeclaredSite, DeclaredUpstreamTls } from "../schema.ts";
import type { Resolver } from "../values/secrets.ts";
import type { Target } from "../values/targets.ts";

const DEFAULT_TLS: UpstreamTls = { verify: true, roots: undefined, serverName: undefined };

/** `name` is checked already. Undefined when something was reported. */
export async function resolveSite(
  name: string,
  declared: DeclaredSite,
  resolver: Resolver,
): Promise<SiteConfig | undefined> {
  const before = resolver.problems.length;
  const routes = await resolveRoutes(declared, resolver);
  const redirect = resolveRedirect(name, declared, resolver);
  const passthrough = resolvePassthrough(declared, resolver);
  const responseHeaders = resolveHeaders(declared, resolver);
  const onDemand = resolveOnDemand(name, declared, resolver);
  if (isIP(name) !== 0 && declared.clientCert !== undefined) {
    // RFC 6066 §3: and who is asked is decided by the name in the first message.
    resolver.report(
      ["clientCert"],
      "a client of an address sends no name, so it cannot be asked",
      "give the site a name",
      "key",
    );
  }
  if (onDemand !== undefined && declared.tls !== undefined) {
    resolver.report(
      ["tls"],
      "onDemand gets a certificate for each name, and here is one for all",
      "remove one of the two",
      "key",
    );
  }
  const email = declared.email && (await resolver.secret(declared.email, ["email"]));
  if (email !== undefined && !isEmail(email)) {
    resolver.report(["email"], "is not an e-mail address", "write me@example.org", "value");
  }
  if (resolver.problems.length > before) return undefined;
  return {
    name,
    onDemand,
    email,
    routes,
    passthrough,
    tls: declared.tls && { cert: resolver.path(declared.tls.cert), key: resolver.path(declared.tls.key) },
    clientCert: declared.clientCert,
    redirect,
    maxBody: declared.maxBody,
    timeouts: {
      connectMs: declared.timeouts.connect,
      firstByteMs: declared.timeouts.firstByte,
      idleMs: declared.timeouts.idle,
      tunnelIdleMs: declared.timeouts.tunnelIdle,
    },
    forwardingHeaders: declared.forwardingHeaders,
    responseHeaders,
  };
}

async function resolveRoutes(declared: DeclaredSite, resolver: Resolver): Promise<RouteConfig[]> {
  const siteTls = await resolveTls(declared.upstreamTls, resolver, ["upstreamTls"]);
  const routes: RouteConfig[] = [];
  let usesSiteTls = false;
  const targetOf = (target: Target, own: UpstreamTls | undefined): TargetConfig => {
    if (target.kind === "https" && own === undefined) usesSiteTls = true;
    return { ...target, tls: own ?? siteTls ?? DEFAULT_TLS };
  };

  if (declared.to !== undefined) routes.push({ prefix: "/", target: targetOf(declared.to, undefined), strip: false });
  for (const [prefix, route] of Object.entries(declared.routes ?? {})) {
    if (prefix === "/" && declared.to !== undefined) {
      resolver.report(["routes", prefix], "both to and the route / take everything", "remove one of them", "key");
    }
    const own = await resolveTls(route.upstreamTls, resolver, ["routes", prefix, "upstreamTls"]);
    if (own !== undefined && route.to.kind !== "https") tlsForNothing(resolver, ["routes", prefix, "upstreamTls"]);
    routes.push({ prefix, target: targetOf(route.to, own), strip: route.strip });
  }
  if (siteTls !== undefined && !usesSiteTls) tlsForNothing(resolver, ["upstreamTls"]);
  if (routes.length === 0 && declared.redirect === undefined && declared.passthrough === undefined) {
    resolver.report(
      [],
      "has no target",
      "write `name: host:port`, or to, routes, redirect or passthrough below it",
      "key",
    );
  }
  // Longest first; the order of the file decides nothing.
  return routes.sort((a, b) => b.prefix.length - a.prefix.length || (a.prefix < b.prefix ? -1 : 1));
}

function tlsForNothing(resolver: Resolver, path: readonly string[]): void {
  resolver.report(
    path,
    "has no https target to apply to",
    "write https://host:port as the target, or remove it",
    "key",
  );
}

async function resolveTls(
  declared: DeclaredUpstreamTls,
  resolver: Resolver,
  path: readonly string[],
): Promise<UpstreamTls | undefined> {
  if (declared === undefined) return undefined;
  const { verify, roots, serverName } = declared;
  if (!verify && roots !== undefined) {
    resolver.report([...path, "roots"], "roots are not looked at with verify: false", "remove one of them", "key");
  }
  return { verify, serverName, roots: roots && (await resolver.certificates(roots, [...path, "roots"])) };
}

function resolvePassthrough(declared: DeclaredSite, resolver: Resolver): PassthroughConfig | undefined {
  const { passthrough: target, proxyProtocol } = declared;
  if (target === undefined) {
    if (proxyProtocol !== undefined) {
      resolver.report(
        ["proxyProtocol"],
        "goes with passthrough; other targets get X-Forwarded-For",
        "remove it",
        "key",
      );
    }
    return undefined;
  }
  for (const other of ["to", "routes", "redirect", "upstreamTls", "tls", "clientCert"] as const) {
    if (declared[other] === undefined) continue;
    resolver.report([other], "cannot be looked into: passthrough does not end TLS", "remove one of the two", "key");
  }
  if (isIP(target.host) !== 0 && !isInsideAddress(target.host)) {
    resolver.report(
      ["passthrough"],
      `${target.host} is a public address, and Gatehouse leads to machines inside`,
      "write the machine's private address",
      "value",
    );
  }
  return { target, proxyProtocol, isPublic: false, idleMs: declared.timeouts.tunnelIdle };
}

function resolveRedirect(name: string, declared: DeclaredSite, resolver: Resolver): SiteConfig["redirect"] {
  const { redirect, status } = declared;
  if (redirect === undefined) {
    if (status !== undefined)
      resolver.report(
        ["status"],
        "is the status of a redirect, and there is none",
        "add redirect, or remove it",
        "key",
      );
    return undefined;
  }
  if (declared.to !== undefined || declared.routes !== undefined) {
    resolver.report(["redirect"], "a site that redirects forwards nothing", "remove redirect, or to and routes", "key");
  }
  const isSame = /^https:\/\/([^/{?#:]+)(?::443)?\{path\}/i.exec(redirect)?.[1]?.toLowerCase() === name;
  if (isSame) resolver.report(["redirect"], "redirects to itself", "write another host", "value");
  return { to: redirect, status: status ?? 308 };
}

function resolveHeaders(declared: DeclaredSite, resolver: Resolver): ReadonlyMap<string, string | null> {
  if (Object.keys(declared.headers.response).length === 0) return NO_HEADERS;
  const headers = new Map<string, string | null>();
  for (const [name, value] of Object.entries(declared.headers.response)) {
    const path = ["headers", "response", name];
    const key = name.toLowerCase();
    if (headers.has(key))
      resolver.report(
        path,
        "this header stands here twice",
        "header names are the same in upper and lower case",
        "key",
      );
    headers.set(key, value);
  }
  return unchangeable(headers);
}

/** Of the thousands of sites that some have, few set any. */
const NO_HEADERS = unchangeable(new Map<string, string | null>());

/** Object.freeze does not reach what a Map holds. */
function unchangeable<K, V>(map: Map<K, V>): ReadonlyMap<K, V> {
  const refuse = () => {
    throw new TypeError("the configuration is frozen");
  };
  for (const verb of ["set", "delete", "clear"]) Object.defineProperty(map, verb, { value: refuse });
  return map;
}
