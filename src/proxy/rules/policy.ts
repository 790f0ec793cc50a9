/**
 * May this request go on, and as what?
 * Owns: the one decision each lane asks for: forward, redirect or refuse.
 * Never: does any of them.
 */
import { BlockList } from "node:net";
import type { Config, PassthroughConfig, RouteConfig, SiteConfig } from "../../config/model.ts";
import type { ErrorCode } from "../../core/errors.ts";
import { createNetworkSet, type NetworkSet } from "../../core/networks.ts";
import { MAX_RETURNS, returnsSaid } from "./passes.ts";
import type { RequestHead } from "./request-head.ts";
import { createRouteTable, normaliseHost, prepareRouteTable, type RouteTable, withoutPrefix } from "./routes.ts";

/** Everything the rules know; built beside the old one at a reload and swapped by one assignment. */
export interface Rules {
  routes: RouteTable;
  /** What this Gatehouse, all its workers, calls itself to its targets. */
  mark: string;
  /** Peers whose forwarding headers are believed. */
  trusted: BlockList;
  /** Does the certificate of one name cover the other? For 421 (RFC 9110 §7.4): same site or covered by the same bundle. */
  sameConnection(serverName: string, host: string): boolean;
  /** Is this client asked for a certificate, by the name in its first message? */
  asksDevice(serverName: string): boolean;
  /** Is any site's? Then the first message of each TLS connection is read before TLS is. */
  hasDeviceSites: boolean;
  /** Does a connection with this name belong to this very site? */
  isOwn(serverName: string, site: SiteConfig): boolean;
  /** A name whose TLS goes through to its machine. */
  passthrough(serverName: string): PassthroughSite | undefined;
  /** Is there any? Then the first message of each TLS connection is read before TLS is. */
  hasPassthrough: boolean;
  /** Does this peer begin with a PROXY header? Undefined when nobody does. */
  proxyPeers: NetworkSet | undefined;
}

export interface PassthroughSite {
  name: string;
  passthrough: PassthroughConfig;
}

/** `refuse` is any answer of our own; the one that is no error is 204 for `OPTIONS *`. */
export type Decision =
  | { kind: "forward"; site: SiteConfig; route: RouteConfig; /** path and query for the target */ path: string }
  | { kind: "redirect"; site: SiteConfig | undefined; status: 301 | 302 | 307 | 308; location: string }
  | { kind: "refuse"; site: SiteConfig | undefined; status: number; code: ErrorCode };

/** Server names that are remembered with their site. */
const MAX_KNOWN_NAMES = 1_000;

/** The same as `createRules`, of thousands of sites: the loop serves while they are made. */
export async function prepareRules(config: Config, mark: string): Promise<Rules> {
  return createRules(config, mark, await prepareRouteTable(config.sites));
}

/** @param mark  hexadecimal, nobody else's, the same in all workers */
export function createRules(config: Config, mark: string, routes: RouteTable = createRouteTable(config.sites)): Rules {
  const trusted = new BlockList();
  for (const cidr of config.trustedProxies) {
    const [address = "", bits] = cidr.split("/");
    const family = address.includes(":") ? "ipv6" : "ipv4";
    if (bits === undefined) trusted.addAddress(address, family);
    else trusted.addSubnet(address, Number(bits), family);
  }
  /** Site by SNI. Asked for every request of a connection with the same name, which is a stranger's choice below a star. */
  const known = new Map<string, SiteConfig | undefined>();
  function siteUnder(serverName: string): SiteConfig | undefined {
    let site = known.get(serverName);
    if (site === undefined) {
      const name = normaliseHost(serverName);
      site = name === undefined ? undefined : routes.site(name);
      if (known.size >= MAX_KNOWN_NAMES) known.clear();
      known.set(serverName, site);
    }
    return site;
  }
  return {
    routes,
    mark,
    trusted,
    hasPassthrough: config.sites.some((site) => site.passthrough !== undefined),
    proxyPeers: config.proxyProtocolFrom.length === 0 ? undefined : createNetworkSet(config.proxyProtocolFrom),
    passthrough(serverName) {
      const site = routes.site(serverName);
      return site?.passthrough === undefined ? undefined : { name: site.name, passthrough: site.passthrough };
    },
    hasDeviceSites: config.sites.some((site) => site.clientCert !== undefined),
    asksDevice: (serverName) => siteUnder(serverName)?.clientCert !== undefined,
    isOwn: (serverName, site) => siteUnder(serverName) === site,
    sameConnection(serverName, host) {
      const site = siteUnder(serverName);
      if (site === undefined) return false;
      // Each name below its star has a certificate of its own.
      if (site.onDemand !== undefined) return normaliseHost(serverName) === host;
      return isCoveredBy(site.name, host) || (site.names?.some((name) => isCoveredBy(name, host)) ?? false);
    },
  };
}

/** A certificate carries the names of its site and no other; a star stands for one label (RFC 9525 §6.3). */
function isCoveredBy(certificateName: string, host: string): boolean {
  if (!certificateName.startsWith("*.")) return certificateName === host;
  const dot = host.indexOf(".");
  return dot > 0 && host.slice(dot + 1) === certificateName.slice(2);
}

export function decide(head: RequestHead, rules: Rules, options: { draining: boolean }): Decision {
  // Listeners are closed by now: what still comes on a kept connection is told to come back on a new one.
  if (options.draining) return refuse(503, "GATEHOUSE_DRAINING");
  // 421 even for a name that is ours: the client believes in a certificate that does not speak for it. Without SNI
  // there is no such belief, so an unknown name is simply not here.
  if (head.serverName !== undefined && !rules.sameConnection(head.serverName, head.host)) return refuse(421);
  const site = rules.routes.site(head.host);
  if (site === undefined) return refuse(404);
  if (returnsSaid(head.forwarded, rules.mark) > MAX_RETURNS) return refuse(508, "GATEHOUSE_LOOP", site);
  if (site.clientCert !== undefined) {
    // The connection of a wildcard's other name was not asked for a certificate: a new one will be (RFC 9110 §15.5.20).
    if (head.serverName !== undefined && !rules.isOwn(head.serverName, site)) {
      return refuse(421, "GATEHOUSE_REQUEST_REFUSED", site);
    }
    if (site.clientCert === "required" && head.device?.owner() === undefined) {
      return refuse(403, "GATEHOUSE_CLIENT_CERT_REQUIRED", site);
    }
  }
  // RFC 9110 §9.3.7: `*` asks about the server, not about a resource of any target.
  if (head.target === "*") return refuse(head.method === "OPTIONS" ? 204 : 400, "GATEHOUSE_REQUEST_REFUSED", site);
  // Reached over another site's connection: the client has to open one to the machine itself (RFC 9110 §15.5.20).
  if (site.passthrough !== undefined) return refuse(421, "GATEHOUSE_REQUEST_REFUSED", site);
  if (site.redirect !== undefined) {
    const { to, status } = site.redirect;
    return { kind: "redirect", site, status, location: to.replaceAll("{path}", () => head.target) };
  }
  const route = rules.routes.route(site, head.target);
  if (route === undefined) return refuse(404, "GATEHOUSE_REQUEST_REFUSED", site);
  if (site.maxBody > 0 && head.body === "length" && head.contentLength > site.maxBody) {
    return refuse(413, "GATEHOUSE_REQUEST_REFUSED", site);
  }
  return { kind: "forward", site, route, path: route.strip ? withoutPrefix(head.target, route.prefix) : head.target };
}

function refuse(status: number, code: ErrorCode = "GATEHOUSE_REQUEST_REFUSED", site?: SiteConfig): Decision {
  return { kind: "refuse", site, status, code };
}
