/**
 * A client names nobody, because it was given an address (RFC 6066 §3 keeps addresses out of SNI): which site does it mean?
 * Owns: the choice among the sites that are addresses, by the address the client came to.
 * Never: chooses among sites with names: whoever does not name one learns of none.
 */
import { isIP } from "node:net";
import { isInsideAddress } from "../core/networks.ts";

/**
 * @param addresses  address → the name its certificate is kept under
 * @param local  the address that the client came to, plain
 */
export function siteAt(addresses: ReadonlyMap<string, string>, local: string): string | undefined {
  const own = addresses.get(local);
  if (own !== undefined || !isInsideAddress(local)) return own;
  // Behind a router that translates, no machine has the public address itself: where there is only one, that one is meant.
  const family = isIP(local);
  const others = [...addresses].filter(([address]) => isIP(address) === family);
  return others.length === 1 ? others[0]?.[1] : undefined;
}
