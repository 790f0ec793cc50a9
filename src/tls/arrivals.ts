/**
 * Of which sites has the certificate not been fetched yet, and who fetches it when a client comes?
 * Owns: that one fetch per name, shared by all handshakes that wait for it.
 * Never: orders or refuses: what storage does not have is pending, as it would have been at the start.
 *
 * A start with 10,000 names that read them all took half a minute. The loser: reading them behind the start, all the same;
 * it made the requests of that half minute half as dear again.
 */
import type { CertificateBundle } from "../storage/bundles.ts";

export interface Arrivals {
  /** These are fetched when they are asked for. */
  expect(names: Iterable<string>): void;
  /** No longer expected: it has come by itself, or the site has gone. */
  forget(name: string): void;
  /** Resolves when the name's certificate is there or known not to be; undefined when nothing is left to fetch. */
  arrival(name: string): Promise<void> | undefined;
}

export interface ArrivalsOptions {
  /** Must not reject. */
  fetch(name: string): Promise<CertificateBundle | undefined>;
  /** One that came and is still expected. */
  arrived(bundle: CertificateBundle): void;
}

export function createArrivals({ fetch, arrived }: ArrivalsOptions): Arrivals {
  /** As many as sites are configured, at most. */
  const expected = new Map<string, Promise<void> | undefined>();

  async function bring(name: string): Promise<void> {
    const bundle = await fetch(name);
    // It may have gone meanwhile, or a newer one may have been issued.
    if (expected.delete(name) && bundle !== undefined) arrived(bundle);
  }

  return {
    expect(names) {
      for (const name of names) expected.set(name, undefined);
    },
    forget(name) {
      expected.delete(name);
    },
    arrival(name) {
      if (!expected.has(name)) return undefined;
      const under = expected.get(name) ?? bring(name);
      // A fetch that ended at once has taken the name out again.
      if (expected.has(name)) expected.set(name, under);
      return under;
    },
  };
}
