/**
 * By which names may clients ask, and under which one is each certificate kept?
 * Owns: that table for one configuration, made in pieces.
 * Never: changes once it is made.
 */
import { isIP } from "node:net";
import type { SiteConfig } from "../config/model.ts";
import { inPieces } from "../core/pieces.ts";

export interface Roster {
  /** Under which certificates are kept. Of a site whose TLS goes through, the machine behind it has the certificate. */
  names: ReadonlySet<string>;
  /** Every name that clients may ask for, with the one its certificate is kept under; none: each name below it has its own. */
  asked: ReadonlyMap<string, string | undefined>;
  /** Sites that are addresses, with the name their certificate is kept under. */
  addresses: ReadonlyMap<string, string>;
  /** Names of sites that ask for a client certificate. */
  asking: ReadonlySet<string>;
}

export const NOBODY: Roster = { names: new Set(), asked: new Map(), addresses: new Map(), asking: new Set() };

export async function readRoster(sites: readonly SiteConfig[]): Promise<Roster> {
  const names = new Set<string>();
  const asked = new Map<string, string | undefined>();
  const addresses = new Map<string, string>();
  const asking = new Set<string>();
  await inPieces(sites, ({ name, names: further = [], onDemand, passthrough, clientCert }) => {
    if (clientCert !== undefined) asking.add(name);
    if (passthrough !== undefined) return;
    const kept = onDemand === undefined ? name : undefined;
    if (kept !== undefined) names.add(name);
    for (const each of [name, ...further]) {
      asked.set(each, kept);
      if (kept !== undefined && isIP(each) !== 0) addresses.set(each, kept);
    }
  });
  return { names, asked, addresses, asking };
}
