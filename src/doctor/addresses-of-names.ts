/**
 * Does DNS lead visitors of our names to this home?
 * Owns: comparing A and AAAA, as the zone's own servers show them, with the public addresses.
 * Never: writes a record.
 */
import { isIP } from "node:net";
import type { Config } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import { shownAddresses, type Shown } from "../dns/shown.ts";
import { createZones } from "../dns/zones.ts";
import { kindOf } from "../network/addresses.ts";
import type { PublicAddress } from "../network/public-ip.ts";
import { type Note, note } from "./finding.ts";

const MAX_NAMES = 32;
/** RFC 6761, RFC 6762, RFC 8375, RFC 9476-like: no public zone has them. */
const NEVER_PUBLIC = /(?:^|\.)(?:localhost|local|internal|test|example|invalid|home\.arpa|onion)$/;

/** A name that no public DNS can know. */
export const neverPublic = (name: string): boolean =>
  NEVER_PUBLIC.test(name) || !name.includes(".") || isIP(name) !== 0;

export interface NamesLook {
  notes: readonly Note[];
  /** What DNS shows of each name that was asked about. */
  shown: ReadonlyMap<string, readonly Shown[]>;
}

export async function lookAtNames(
  config: Config,
  names: readonly string[],
  seen: PublicAddress | undefined,
  signal: AbortSignal,
): Promise<NamesLook> {
  const { resolvers, nameServers } = config.dns;
  const zones = createZones({ resolvers, nameServers });
  const all = new Map<string, readonly Shown[]>();
  const notes = await Promise.all(
    names.slice(0, MAX_NAMES).map(async (name) => {
      if (neverPublic(name)) {
        const seen = `${name} is a name for this network alone; public DNS does not know it.`;
        return [note("ok", "DNS_NOT_PUBLIC", { subject: name, seen })];
      }
      try {
        const shown = await shownAddresses(zones, name.replace("*", "gatehouse-doctor"), signal);
        all.set(name, shown);
        return judgeName({ name, shown, seen, isAtHome: config.acme.directoryUrl === undefined });
      } catch (error) {
        signal.throwIfAborted();
        const seen = `DNS was not asked about ${name}: ${errorText(error)}`;
        return [note("unknown", "DNS_NOT_ASKED", { subject: name, seen })];
      }
    }),
  );
  if (names.length > MAX_NAMES) {
    const seen = `${names.length - MAX_NAMES} more names were not asked; gatehouse doctor NAME asks about one.`;
    notes.push([note("unknown", "DNS_NOT_ASKED", { seen })]);
  }
  return { notes: notes.flat(), shown: all };
}

export interface NameSeen {
  name: string;
  shown: readonly Shown[];
  seen: Pick<PublicAddress, "ipv4" | "ipv6"> | undefined;
  /** Certificates are our own CA's: the name may be for this home alone. */
  isAtHome: boolean;
}

export function judgeName({ name: subject, shown, seen, isAtHome }: NameSeen): Note[] {
  const why = "Visitors are led to what DNS says, and the CA asks there, too.";
  if (shown.length === 0) {
    return [note("unknown", "DNS_SILENT", { subject, seen: `No name server of ${subject} answers from here.` })];
  }
  const ipv4 = [...new Set(shown.flatMap((one) => one.ipv4))];
  const ipv6 = [...new Set(shown.flatMap((one) => one.ipv6))];
  const target = seen?.ipv4 ?? "the public address of this home";
  const grave = isAtHome ? "note" : "error";
  if (ipv4.length === 0 && ipv6.length === 0) {
    const next = `Make an A record: ${subject} A ${target}.`;
    return [note(grave, "DNS_NO_ADDRESS", { subject, seen: `${subject} has no address in DNS.`, why, next })];
  }
  const notes: Note[] = [];
  const inside = ipv4.filter((address) => kindOf(address) !== "public");
  const foreign = ipv4.filter((address) => kindOf(address) === "public" && address !== seen?.ipv4);
  if (inside.length > 0) {
    notes.push(
      note(grave, "DNS_PRIVATE", {
        subject,
        seen: `${subject} has the address ${inside.join(", ")} in DNS, which only this network can reach.`,
        why,
        next: `Set its A record to ${target}.`,
      }),
    );
  }
  if (foreign.length > 0 && seen?.ipv4 !== undefined) {
    notes.push(
      note(isAtHome ? "warning" : "error", "DNS_STALE", {
        subject,
        seen: `${subject} has the address ${foreign.join(", ")} in DNS, and this home has ${seen.ipv4}.`,
        why,
        next: `Set its A record to ${seen.ipv4}. Is whoever keeps it (dynamic DNS) still running?`,
      }),
    );
  }
  const strange = ipv6.filter((address) => address !== seen?.ipv6);
  if (strange.length > 0) {
    const have = seen?.ipv6;
    notes.push(
      note("warning", "DNS_IPV6_ELSEWHERE", {
        subject,
        seen: `${subject} has the IPv6 address ${strange.join(", ")} in DNS, and this machine ${have === undefined ? "has no lasting one" : `has ${have}`}.`,
        why: "Visitors and CAs that have IPv6 try that address first.",
        next: have === undefined ? "Remove the AAAA record." : `Set its AAAA record to ${have}, or remove it.`,
      }),
    );
  }
  if (notes.length > 0) return notes;
  const lists = [...new Set(shown.map((one) => [...one.ipv4, ...one.ipv6].join(" ")))];
  if (lists.length > 1) {
    const next = "Wait a few minutes; if it stays so, one of them does not get the zone's changes.";
    return [
      note("warning", "DNS_SERVERS_DISAGREE", {
        subject,
        seen: `The name servers of ${subject} show different addresses: ${lists.join(" and ")}.`,
        why,
        next,
      }),
    ];
  }
  const all = [...ipv4, ...ipv6].join(", ");
  if (ipv4.length > 0 && seen?.ipv4 === undefined) {
    const words = `${subject} has the address ${all} in DNS; the public address to compare it with is not known.`;
    return [note("unknown", "DNS_NOT_COMPARED", { subject, seen: words })];
  }
  return [note("ok", "DNS_RIGHT", { subject, seen: `${subject} leads here: ${all}.` })];
}
