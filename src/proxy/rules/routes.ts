/**
 * Which site, and which of its routes, takes this host and path?
 * Owns: exact host before wildcard (one label), then the longest path prefix; the grammar of an authority.
 * Never: looks at headers or sockets.
 */
import { isIPv6 } from "node:net";
import type { RouteConfig, SiteConfig } from "../../config/model.ts";
import { inPieces } from "../../core/pieces.ts";

export interface RouteTable {
  /** `host` is normalised (see normaliseHost). O(1) in the number of sites. */
  site(host: string): SiteConfig | undefined;
  /** `path` may carry its query. */
  route(site: SiteConfig, path: string): RouteConfig | undefined;
}

export function createRouteTable(sites: readonly SiteConfig[]): RouteTable {
  const { add, table } = openRouteTable();
  for (const site of sites) add(site);
  return table;
}

/** The same, of thousands of sites: the loop serves while it is made. */
export async function prepareRouteTable(sites: readonly SiteConfig[]): Promise<RouteTable> {
  const { add, table } = openRouteTable();
  await inPieces(sites, add);
  return table;
}

function openRouteTable(): { add(site: SiteConfig): void; table: RouteTable } {
  const exact = new Map<string, SiteConfig>();
  /** Keyed by what follows the star's label: `*.lab.test` → `lab.test`. */
  const wildcards = new Map<string, SiteConfig>();
  /** Of sites with more than one, longest prefix first. */
  const routes = new Map<SiteConfig, readonly RouteConfig[]>();
  const name = (site: SiteConfig, written: string): void => {
    if (written.startsWith("*.")) wildcards.set(written.slice(2), site);
    else exact.set(isIPv6(written) ? `[${written}]` : written, site);
  };
  return {
    add(site) {
      name(site, site.name);
      for (const further of site.names ?? []) name(site, further);
      if (site.routes.length > 1) {
        routes.set(
          site,
          site.routes.toSorted((a, b) => b.prefix.length - a.prefix.length),
        );
      }
    },
    table: {
      site(host) {
        const named = exact.get(host);
        if (named !== undefined) return named;
        const dot = host.indexOf(".");
        return dot > 0 ? wildcards.get(host.slice(dot + 1)) : undefined;
      },
      route(site, path) {
        const all = site.routes.length > 1 ? routes.get(site) : site.routes;
        const first = all?.[0];
        // Most sites have this one alone, and every path begins with it.
        if (first?.prefix === "/" && path.startsWith("/")) return first;
        return all?.find(({ prefix }) => covers(prefix, pathOnly(path)));
      },
    },
  };
}

/**
 * Is the path below the prefix, on a segment boundary? `/api/` takes `/api/x` and `/api` itself (a link without its
 * slash should not land on another machine), never `/apix`. Nothing is decoded: what a target would make of `%2e` is
 * its own business, and decoding twice is how guards are walked around.
 */
function covers(prefix: string, path: string): boolean {
  const stem = prefix.endsWith("/") ? prefix.slice(0, -1) : prefix;
  return path.startsWith(stem) && (path.length === stem.length || path[stem.length] === "/");
}

function pathOnly(path: string): string {
  const query = path.indexOf("?");
  return query < 0 ? path : path.slice(0, query);
}

/** Cuts a prefix that covers the path: `/api/x?y` → `/x?y`, `/api` → `/`. */
export function withoutPrefix(path: string, prefix: string): string {
  const rest = path.slice(prefix.endsWith("/") ? prefix.length - 1 : prefix.length);
  return rest.startsWith("/") ? rest : `/${rest}`;
}

/** LDH labels of 1 to 63, joined by dots, one trailing dot allowed (RFC 1123 §2.1). */
const NAME = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.?$/i;
/** RFC 1035 §2.3.4, without the trailing dot. */
const MAX_NAME = 253;

/**
 * `Ha.Example.org.:8443` → host `ha.example.org`, port 8443; undefined when it is no valid authority.
 * An empty port (`a.test:`) means the default one (RFC 9110 §4.2.1).
 */
export function splitAuthority(authority: string): { host: string; port: number | undefined } | undefined {
  // 253 + dot + colon + port; longer text is refused before a pattern sees it.
  if (authority.length === 0 || authority.length > MAX_NAME + 7) return undefined;
  const colon = authority.startsWith("[") ? authority.indexOf(":", authority.indexOf("]")) : authority.indexOf(":");
  const name = colon < 0 ? authority : authority.slice(0, colon);
  const digits = colon < 0 ? "" : authority.slice(colon + 1);
  if (!/^\d{0,5}$/.test(digits) || Number(digits) > 65_535) return undefined;
  const port = digits === "" ? undefined : Number(digits);
  if (name.startsWith("[")) {
    const inside = name.slice(1, -1);
    // One address has many spellings, and a site only one.
    return name.endsWith("]") && isIPv6(inside) && !inside.includes("%")
      ? { host: new URL(`http://${name}`).hostname, port }
      : undefined;
  }
  if (!NAME.test(name)) return undefined;
  const host = (name.endsWith(".") ? name.slice(0, -1) : name).toLowerCase();
  return host.length <= MAX_NAME ? { host, port } : undefined;
}

/** `Ha.Example.org.:8443` → `ha.example.org`; undefined when it is no valid authority (strict grammar, ≤ 253, port ≤ 65535). */
export function normaliseHost(authority: string): string | undefined {
  return splitAuthority(authority)?.host;
}
