/**
 * Has this machine another address at home than it had?
 * Owns: what is remembered of it (`home/address` in the state folder), and what a new one does to that.
 * Never: finds an address (gateway does) or decides what it means.
 */
export const HOME_ADDRESS_KEY = "home/address";

/** Times in ms since 1970. */
export interface HomeAddress {
  address: string;
  since: number;
  /** The one before, which forwards by hand and trusted proxies may still have. */
  before: { address: string; until: number } | undefined;
}

/** Undefined: nothing (that can be read) is kept. */
export function readHomeAddress(bytes: Uint8Array | undefined): HomeAddress | undefined {
  try {
    const { address, since, before } = JSON.parse(Buffer.from(bytes ?? []).toString("utf8")) as Partial<HomeAddress>;
    if (typeof address !== "string" || typeof since !== "number") return undefined;
    const isWhole = typeof before?.address === "string" && typeof before.until === "number";
    return { address, since, before: isWhole ? before : undefined };
  } catch {
    return undefined;
  }
}

/** What to remember from now on; the same object when nothing is new. Back at the one before, nothing has changed. */
export function movedTo(known: HomeAddress | undefined, address: string, now: number): HomeAddress {
  if (known === undefined) return { address, since: now, before: undefined };
  if (known.address === address) return known;
  const before = known.before?.address === address ? undefined : { address: known.address, until: now };
  return { address, since: now, before };
}
