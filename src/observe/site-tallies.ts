/**
 * Which site's numbers are these?
 * Owns: one tally for each site of the configuration, those of sites that are leaving, and `_other` for the rest.
 * Never: counts (site-tally does).
 */
import { SiteTally } from "./site-tally.ts";

export interface SiteTallies {
  set(wanted: readonly { name: string; upstreams: readonly string[] }[]): void;
  of(name: string | undefined): SiteTally;
  /** A site that left the configuration goes with its last exchange. */
  forgetIfIdle(name: string | undefined): void;
  all(): Iterable<[site: string, tally: SiteTally]>;
}

const OTHER = "_other";

/**
 * A site has some fifty series. Up to this many they are there from the start with 0, as Prometheus likes it; of more, a
 * site appears with its first request: 10,000 unused ones would be 27 MB and seconds of the loop for every scrape.
 */
const MANY_SITES = 100;

export function createSiteTallies(): SiteTallies {
  const other = new SiteTally();
  const sites = new Map<string, SiteTally>();
  /** Out of the configuration but with exchanges still running: their ends must meet their beginnings. */
  const leaving = new Map<string, SiteTally>();
  /** Of many sites, those that nobody asked for yet, with their targets. */
  const unused = new Map<string, readonly string[]>();

  function firstUse(name: string): SiteTally | undefined {
    const upstreams = unused.get(name);
    if (upstreams === undefined) return undefined;
    unused.delete(name);
    const tally = new SiteTally();
    tally.setUpstreams(upstreams);
    sites.set(name, tally);
    return tally;
  }

  return {
    set(wanted) {
      const names = new Set(wanted.map((site) => site.name));
      for (const [name, tally] of sites) {
        if (names.has(name)) continue;
        sites.delete(name);
        if (!tally.isIdle) leaving.set(name, tally);
      }
      unused.clear();
      for (const { name, upstreams } of wanted) {
        const known = sites.get(name) ?? leaving.get(name);
        if (known === undefined && wanted.length > MANY_SITES) {
          unused.set(name, upstreams);
          continue;
        }
        const tally = known ?? new SiteTally();
        leaving.delete(name);
        tally.setUpstreams(upstreams);
        sites.set(name, tally);
      }
    },
    of: (name) => (name === undefined ? other : (sites.get(name) ?? leaving.get(name) ?? firstUse(name) ?? other)),
    forgetIfIdle(name) {
      if (name !== undefined && leaving.get(name)?.isIdle === true) leaving.delete(name);
    },
    *all() {
      yield* sites;
      yield [OTHER, other];
    },
  };
}
