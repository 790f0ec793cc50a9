/**
 * How does a name server of one's own take a change?
 * Owns: dynamic updates (RFC 2136), signed with TSIG when there is a key, to bind, knot, PowerDNS and their like.
 * Never: transfers a zone.
 */
import { randomInt } from "node:crypto";
import { isIPv6 } from "node:net";
import { type Clock, systemClock } from "../core/time.ts";
import { errorText } from "../core/errors.ts";
import { askDns, overTcp } from "./ask.ts";
import { type DnsProvider, type ProviderSettings, SHORT_TTL } from "./contract.ts";
import {
  CLASSES,
  OPCODE_UPDATE,
  RECORD_TYPES,
  decodeMessage,
  encodeMessage,
  encodeQuestion,
  encodeRecord,
  encodeText,
} from "./message.ts";
import { failed, refused } from "./refusals.ts";
import { type TsigKey, signRequest, whyNotBelieved } from "./tsig.ts";
import { isWithin } from "./zones.ts";

type Settings = Extract<ProviderSettings, { kind: "rfc2136" }>;

/** What an update can be answered with that a person has to look at (RFC 2136 §2.2). */
const REFUSALS: Readonly<Record<number, string>> = {
  1: "FORMERR: it does not understand the update",
  4: "NOTIMP: it takes no updates",
  5: "REFUSED: this key may not change this name (bind: update-policy or allow-update)",
  9: "NOTAUTH: it does not answer for this zone, or does not know the key",
  10: "NOTZONE: the name does not lie in the zone",
};

export function createRfc2136(settings: Settings, clock: Clock = systemClock): DnsProvider {
  const { server } = settings;
  const key: TsigKey | undefined = settings.key && {
    name: settings.key.name,
    algorithm: settings.key.algorithm,
    secret: Buffer.from(settings.key.secret, "base64"),
  };
  const where = `${server.host}:${server.port}`;

  /** The server knows its zones: each parent is asked for until it answers for one with authority. */
  async function zoneOf(name: string, signal: AbortSignal): Promise<string> {
    if (settings.zone !== undefined) {
      if (isWithin(name, settings.zone)) return settings.zone;
      throw refused(
        `${name} does not lie in ${settings.zone}`,
        "Correct rfc2136.zone, or remove it: the server knows.",
      );
    }
    for (let at = name; at !== ""; at = at.slice(at.indexOf(".") + 1)) {
      const { answers, isAuthoritative } = await askServer(at, signal);
      const isZone = answers.some((record) => record.type === RECORD_TYPES.SOA && record.name === at);
      if (isZone && isAuthoritative) return at;
      if (!at.includes(".")) break;
    }
    throw refused(`the name server ${where} has no zone for ${name}`, "Check rfc2136.server, or write rfc2136.zone.");
  }

  async function askServer(name: string, signal: AbortSignal) {
    try {
      return await askDns(server, { name, type: "SOA", recurse: false }, signal);
    } catch (error) {
      signal.throwIfAborted();
      throw failed(`the name server ${where} does not answer`, error);
    }
  }

  async function update(name: string, records: readonly Buffer[], signal: AbortSignal): Promise<void> {
    const zone = await zoneOf(name, signal);
    const message = encodeMessage({
      id: randomInt(0x1_0000),
      opcode: OPCODE_UPDATE,
      recursionDesired: false,
      questions: [encodeQuestion(zone, RECORD_TYPES.SOA)],
      authority: records,
    });
    const signed = key && signRequest(message, key, clock);
    let answer: Buffer;
    let rcode: number;
    let doubt: string | undefined;
    try {
      answer = await overTcp(server, signed?.bytes ?? message, signal);
      ({ rcode } = decodeMessage(answer));
      doubt = key && signed && whyNotBelieved(answer, signed, key, clock);
    } catch (error) {
      signal.throwIfAborted();
      throw failed(`the name server ${where} could not be told about ${name}`, errorText(error));
    }
    const hint = "Check rfc2136.key (name, algorithm, secret) against the server's, and what it lets this key change.";
    if (doubt !== undefined) throw refused(`the name server ${where} did not take the update: ${doubt}`, hint);
    if (rcode === 0) return;
    const refusal = REFUSALS[rcode];
    if (refusal === undefined) throw failed(`the name server ${where} answered the update with code ${rcode}`);
    throw refused(`the name server ${where} did not take the update: ${refusal}`, hint);
  }

  const one = (name: string, type: number, recordClass: number, ttl: number, data: Buffer): Buffer =>
    encodeRecord({ name, type, class: recordClass, ttl, data });

  return {
    kind: "rfc2136",
    oneAtATimeMs: 0,
    present: (name, value, signal) =>
      update(name, [one(name, RECORD_TYPES.TXT, CLASSES.IN, SHORT_TTL, encodeText(value))], signal),
    // Class NONE deletes the one record, class ANY all of the type (RFC 2136 §2.5).
    clear: (name, value, signal) =>
      update(name, [one(name, RECORD_TYPES.TXT, CLASSES.NONE, 0, encodeText(value))], signal),
    async setAddresses(name, { ipv4, ipv6 }, signal) {
      const sets = [
        [RECORD_TYPES.A, ipv4],
        [RECORD_TYPES.AAAA, ipv6],
      ] as const;
      const records = sets.flatMap(([type, address]) =>
        address === undefined
          ? []
          : [
              one(name, type, CLASSES.ANY, 0, Buffer.alloc(0)),
              one(name, type, CLASSES.IN, SHORT_TTL, addressBytes(address)),
            ],
      );
      await update(name, records, signal);
      return "shown";
    },
  };
}

function addressBytes(address: string): Buffer {
  if (!isIPv6(address)) return Buffer.from(address.split(".").map(Number));
  const [head = "", tail = ""] = new URL(`http://[${address}]`).hostname.slice(1, -1).split("::");
  const groups = (text: string): number[] =>
    text === "" ? [] : text.split(":").map((part) => Number.parseInt(part, 16));
  const [first, last] = [groups(head), groups(tail)];
  const bytes = Buffer.alloc(16);
  for (const [at, group] of first.entries()) bytes.writeUInt16BE(group, at * 2);
  for (const [at, group] of last.entries()) bytes.writeUInt16BE(group, 16 - (last.length - at) * 2);
  return bytes;
}
