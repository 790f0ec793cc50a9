/**
 * How do DNS messages look on the wire?
 * Owns: RFC 1035 §4 messages in both directions, for the few types that proving a name and updating a zone need.
 * Never: sends one (ask does) or signs one (tsig does).
 */

/** Types (RFC 1035 §3.2.2, RFC 3596, RFC 8945, RFC 8659) and the two that only questions have. */
export const RECORD_TYPES = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  TXT: 16,
  AAAA: 28,
  TSIG: 250,
  ANY: 255,
  CAA: 257,
} as const;
export type RecordType = keyof typeof RECORD_TYPES;

/** RFC 1035 §3.2.4, RFC 2136 §1.1. */
export const CLASSES = { IN: 1, NONE: 254, ANY: 255 } as const;

export const RCODES = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN"] as const;

export const OPCODE_QUERY = 0;
export const OPCODE_UPDATE = 5; // RFC 2136 §2.2

const HEADER_BYTES = 12;
const MAX_LABEL = 63;
const MAX_NAME = 255;
/** A message has at most 64 KB; a name of 255 bytes cannot have more jumps than this. */
const MAX_JUMPS = 64;
/** A zone's answer has a dozen records; an answer is a stranger's word until it is checked. */
const MAX_RECORDS = 500;

export interface DnsRecord {
  name: string;
  type: number;
  class: number;
  ttl: number; // seconds
  data: Buffer;
}

export interface DnsMessage {
  id: number;
  opcode: number;
  rcode: number;
  isResponse: boolean;
  isAuthoritative: boolean;
  isTruncated: boolean;
  questions: readonly { name: string; type: number; class: number }[];
  answers: readonly DnsRecord[];
  authority: readonly DnsRecord[];
  additional: readonly DnsRecord[];
  /** Where the last record of the message begins: what a TSIG does not cover. */
  lastRecordAt: number;
}

/** What came is no DNS message, or not one that answers. */
export class BadMessage extends Error {
  override readonly name = "BadMessage";
}

/** Upper and lower case are the same (RFC 1035 §2.3.3); the root is "". @throws BadMessage when it is no name */
export function encodeName(name: string): Buffer {
  const labels = name.replace(/\.$/, "").split(".");
  if (name === "" || name === ".") return Buffer.from([0]);
  const parts = labels.map((label) => {
    const bytes = Buffer.from(label.toLowerCase(), "latin1");
    if (bytes.length === 0 || bytes.length > MAX_LABEL) throw new BadMessage(`${name.slice(0, 100)} is no DNS name`);
    return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  });
  const whole = Buffer.concat([...parts, Buffer.from([0])]);
  if (whole.length > MAX_NAME) throw new BadMessage("a DNS name has at most 255 bytes");
  return whole;
}

export function encodeQuestion(name: string, type: number, recordClass: number = CLASSES.IN): Buffer {
  return Buffer.concat([encodeName(name), words(type, recordClass)]);
}

export function encodeRecord({ name, type, class: recordClass, ttl, data }: DnsRecord): Buffer {
  const head = Buffer.alloc(6);
  head.writeUInt32BE(ttl, 0);
  head.writeUInt16BE(data.length, 4);
  return Buffer.concat([encodeName(name), words(type, recordClass), head, data]);
}

/** Character strings of at most 255 bytes (RFC 1035 §3.3.14). */
export function encodeText(text: string): Buffer {
  const bytes = Buffer.from(text, "utf8");
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length || at === 0; at += 255) {
    const part = bytes.subarray(at, at + 255);
    parts.push(Buffer.from([part.length]), part);
  }
  return Buffer.concat(parts);
}

export interface Sections {
  id: number;
  opcode: number;
  recursionDesired: boolean;
  /** Encoded already; UPDATE calls them zone, prerequisites and update (RFC 2136 §2). */
  questions: readonly Buffer[];
  answers?: readonly Buffer[];
  authority?: readonly Buffer[];
}

export function encodeMessage({
  id,
  opcode,
  recursionDesired,
  questions,
  answers = [],
  authority = [],
}: Sections): Buffer {
  const flags = (opcode << 11) | (recursionDesired ? 0x0100 : 0);
  const head = words(id, flags, questions.length, answers.length, authority.length, 0);
  return Buffer.concat([head, ...questions, ...answers, ...authority]);
}

/** @throws BadMessage */
export function decodeMessage(bytes: Buffer): DnsMessage {
  try {
    return decode(bytes);
  } catch (error) {
    if (error instanceof BadMessage) throw error;
    throw new BadMessage("it is cut short"); // a RangeError of Buffer
  }
}

function decode(bytes: Buffer): DnsMessage {
  const flags = bytes.readUInt16BE(2);
  const counts = [4, 6, 8, 10].map((at) => bytes.readUInt16BE(at));
  const [questionCount = 0, ...recordCounts] = counts;
  if (counts.reduce((sum, count) => sum + count, 0) > MAX_RECORDS) throw new BadMessage("it has too many records");
  let at = HEADER_BYTES;
  const questions = Array.from({ length: questionCount }, () => {
    const { name, next } = decodeName(bytes, at);
    at = next + 4;
    return { name, type: bytes.readUInt16BE(next), class: bytes.readUInt16BE(next + 2) };
  });
  let lastRecordAt = at;
  const sections = recordCounts.map((count) =>
    Array.from({ length: count }, (): DnsRecord => {
      lastRecordAt = at;
      const { name, next } = decodeName(bytes, at);
      const length = bytes.readUInt16BE(next + 8);
      const start = next + 10;
      if (start + length > bytes.length) throw new BadMessage("it is cut short");
      at = start + length;
      const type = bytes.readUInt16BE(next);
      return {
        name,
        type,
        class: bytes.readUInt16BE(next + 2),
        ttl: bytes.readUInt32BE(next + 4),
        data: isNameType(type) ? encodeName(decodeName(bytes, start).name) : bytes.subarray(start, at),
      };
    }),
  );
  const [answers = [], authority = [], additional = []] = sections;
  return {
    id: bytes.readUInt16BE(0),
    opcode: (flags >> 11) & 0xf,
    rcode: flags & 0xf,
    isResponse: (flags & 0x8000) !== 0,
    isAuthoritative: (flags & 0x0400) !== 0,
    isTruncated: (flags & 0x0200) !== 0,
    questions,
    answers,
    authority,
    additional,
    lastRecordAt,
  };
}

/** Their data is a name, which may be compressed into the rest of the message (RFC 1035 §4.1.4). */
const isNameType = (type: number): boolean => type === RECORD_TYPES.NS || type === RECORD_TYPES.CNAME;

/** Lower case, without the dot at the end. */
export function decodeName(bytes: Buffer, from: number): { name: string; next: number } {
  const labels: string[] = [];
  let at = from;
  let next: number | undefined;
  let size = 0;
  for (let jumps = 0; ;) {
    const length = bytes.readUInt8(at);
    if (length === 0) return { name: labels.join(".").toLowerCase(), next: next ?? at + 1 };
    if (length >= 0xc0) {
      next ??= at + 2;
      at = bytes.readUInt16BE(at) & 0x3fff;
      if (++jumps > MAX_JUMPS) throw new BadMessage("a name in it goes in circles");
      continue;
    }
    size += length + 1;
    if (length > MAX_LABEL || size > MAX_NAME) throw new BadMessage("a name in it is too long");
    if (at + 1 + length > bytes.length) throw new BadMessage("it is cut short");
    labels.push(bytes.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
  }
}

/** The strings of a TXT record, joined (RFC 8555 §8.4 compares them so). */
export function decodeText(data: Buffer): string {
  const parts: Buffer[] = [];
  for (let at = 0; at < data.length;) {
    const length = data[at] ?? 0;
    parts.push(data.subarray(at + 1, at + 1 + length));
    at += 1 + length;
  }
  return Buffer.concat(parts).toString("utf8");
}

function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 2);
  for (const [at, value] of values.entries()) bytes.writeUInt16BE(value, at * 2);
  return bytes;
}
