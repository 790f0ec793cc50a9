/**
 * Which CAs does a domain allow to sign for a name?
 * Owns: finding the CAA records that count (RFC 8659 §3), and reading them.
 * Never: knows a CA.
 */
import { type DnsRecord, RECORD_TYPES } from "./message.ts";
import type { Zones } from "./zones.ts";

export interface CaaRecord {
  /** Lower case: issue, issuewild, iodef, … */
  tag: string;
  /** For issue and issuewild: who may; "" is nobody. */
  issuer: string;
  /** RFC 8657 and whatever a CA invents: `validationmethods`, `accounturi`. Names are lower case. */
  parameters: ReadonlyMap<string, string>;
  /** A CA that does not know the tag must refuse (§4.1). */
  isCritical: boolean;
}

export interface CaaFound {
  /** The domain that the records stand at. */
  at: string;
  records: readonly CaaRecord[];
}

/**
 * The records of the name, or of the nearest domain above it that has some (§3); undefined when none does. Asks once a
 * label, so at most 127 times, and a home's name has three.
 *
 * @throws GATEHOUSE_DNS_FAILED when nobody answers: a CA refuses then, too; the signal's reason
 */
export async function findCaa(
  zones: Pick<Zones, "records">,
  name: string,
  signal: AbortSignal,
): Promise<CaaFound | undefined> {
  const labels = name.replace(/^\*\./, "").split(".");
  for (let from = 0; from < labels.length; from++) {
    const at = labels.slice(from).join(".");
    const answers = await zones.records(at, "CAA", signal);
    const records = answers.filter(({ type }) => type === RECORD_TYPES.CAA).flatMap((one) => readCaa(one));
    if (records.length > 0) return { at, records };
  }
  return undefined;
}

/** §4.1: flags, the length of the tag, the tag, the value. What is cut short counts as a tag that nobody knows. */
function readCaa({ data }: DnsRecord): CaaRecord[] {
  const size = data[1] ?? 0;
  const tag = data.toString("latin1", 2, 2 + size).toLowerCase();
  const [issuer = "", ...rest] = data.toString("latin1", 2 + size).split(";");
  const parameters = new Map<string, string>();
  for (const one of rest) {
    const at = one.indexOf("=");
    if (at > 0) parameters.set(one.slice(0, at).trim().toLowerCase(), one.slice(at + 1).trim());
  }
  return [{ tag, issuer: issuer.trim().toLowerCase(), parameters, isCritical: ((data[0] ?? 0) & 0x80) !== 0 }];
}
