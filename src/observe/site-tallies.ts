/**
 * Which site's numbers are these?
 * Owns: one tally for each site of the configuration, those of sites that are leaving, and `_other` for the rest.
 * Never: counts (site-tally does).
 */
import { SiteTally } from "./site-tally.ts";

export interface SiteTallies {
  /** Names with their targets; kept, and asked when a site is first used. */
  set(wanted: ReadonlyMap<string, readonly string[]>): void;
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
  /** All of the configuration; of many sites, most are used by nobody. */
  let configured: ReadonlyMap<string, readonly string[]> = new Map();

  function use(name: string): SiteTally | undefined {
    const upstreams = configured.get(name);
    if (upstreams === undefined) return undefined;
    const tally = sites.get(name) ?? leaving.get(name) ?? new SiteTally();
    leaving.delete(name);
    tally.setUpstreams(upstreams);
    sites.set(name, tally);
    return tally;
  }

  return {
    set(wanted) {
      configured = wanted;
      for (const [name, tally] of sites) {
        if (wanted.has(name)) continue;
        sites.delete(name);
        if (!tally.isIdle) leaving.set(name, tally);
      }
      const known = [...sites.keys(), ...leaving.keys()].filter((name) => wanted.has(name));
      for (const name of wanted.size > MANY_SITES ? known : wanted.keys()) use(name);
    },
    of: (name) => (name === undefined ? other : (sites.get(name) ?? leaving.get(name) ?? use(name) ?? other)),
    forgetIfIdle(name) {
      if (name !== undefined && leaving.get(name)?.isIdle === true) leaving.delete(name);
    },
    *all() {
      yield* sites;
      yield [OTHER, other];
    },
  };
}
