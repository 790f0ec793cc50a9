/**
 * Who does the proxy before us say it speaks for?
 * Owns: the strict reading of a PROXY protocol header, versions 1 and 2, in any pieces (haproxy's proxy-protocol.txt).
 * Never: decides whom to believe; a stranger can write these bytes too.
 */
import { isIPv4, isIPv6, SocketAddress } from "node:net";

export interface ProxyEndpoint {
  address: string;
  port: number;
}

export interface ProxyFacts {
  version: 1 | 2;
  /** Both undefined when the sender speaks for itself (LOCAL: a health check), or for what has no address (UNKNOWN, unix). */
  source: ProxyEndpoint | undefined;
  destination: ProxyEndpoint | undefined;
}

/** `undefined`: more bytes are needed; `size`: bytes of the header, behind which the connection begins. */
export type ParsedProxyHeader =
  { facts: ProxyFacts; size: number; broken?: undefined } | { broken: string; facts?: undefined } | undefined;

/** Section 2.1: the longest possible line, CRLF included. */
const MAX_V1 = 107;
/** The specification asks for 536 at least; TLVs with a name, a cipher and a common name fit four times into this. */
const MAX_V2 = 2_048;

const LINE_START = Buffer.from("PROXY ", "latin1");
const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const V2_HEADER = 16;
const CRC32C = 0x03;
const PORT = /^(?:0|[1-9]\d{0,4})$/;

/** @param bytes  everything that came so far; the caller keeps it and asks again with more */
export function parseProxyHeader(bytes: Buffer): ParsedProxyHeader {
  if (bytes.length === 0) return undefined;
  if (startsLike(bytes, SIGNATURE)) return parseV2(bytes);
  if (startsLike(bytes, LINE_START)) return parseV1(bytes);
  return { broken: "no PROXY header" };
}

/** Is one the beginning of the other? */
function startsLike(bytes: Buffer, start: Buffer): boolean {
  const length = Math.min(bytes.length, start.length);
  return bytes.compare(start, 0, length, 0, length) === 0;
}

function parseV1(bytes: Buffer): ParsedProxyHeader {
  const end = bytes.subarray(0, MAX_V1).indexOf("\r\n");
  if (end < 0) return bytes.length >= MAX_V1 ? { broken: "line too long" } : undefined;
  const size = end + 2;
  const words = bytes.toString("latin1", 0, end).split(" ");
  const [, family, from = "", to = "", fromPort = "", toPort = ""] = words;
  const none = { version: 1, source: undefined, destination: undefined } as const;
  // Whatever follows UNKNOWN is to be ignored (section 2.1).
  if (family === "UNKNOWN") return { facts: none, size };
  const isAddress = family === "TCP4" ? isIPv4 : family === "TCP6" ? isPlainIPv6 : undefined;
  if (isAddress === undefined) return { broken: "family" };
  if (words.length !== 6 || !isAddress(from) || !isAddress(to)) return { broken: "address" };
  if (!isPort(fromPort) || !isPort(toPort)) return { broken: "port" };
  const source = { address: canonical(from), port: Number(fromPort) };
  const destination = { address: canonical(to), port: Number(toPort) };
  return { facts: { version: 1, source, destination }, size };
}

const isPlainIPv6 = (text: string): boolean => isIPv6(text) && !text.includes("%");
const isPort = (text: string): boolean => PORT.test(text) && Number(text) <= 65_535;
const canonical = (address: string): string =>
  new SocketAddress({ address, family: isIPv4(address) ? "ipv4" : "ipv6" }).address;

/** Bytes of both addresses and ports, by the family byte (section 2.2); those of unix sockets name nobody on a network. */
const ADDRESS_BYTES: Partial<Record<number, number>> = {
  0: 0,
  0x11: 12,
  0x12: 12,
  0x21: 36,
  0x22: 36,
  0x31: 216,
  0x32: 216,
};

function parseV2(bytes: Buffer): ParsedProxyHeader {
  const command = bytes[12];
  if (command === undefined) return undefined;
  if (command >> 4 !== 2) return { broken: "version" };
  if (command !== 0x20 && command !== 0x21) return { broken: "command" };
  if (bytes.length < V2_HEADER) return undefined;
  const size = V2_HEADER + bytes.readUInt16BE(14);
  if (size > MAX_V2) return { broken: "header too long" };
  const family = bytes[13] ?? 0;
  const addressBytes = ADDRESS_BYTES[family];
  const isLocal = command === 0x20;
  // A LOCAL header's family and addresses are to be ignored whatever they are.
  if (addressBytes === undefined && !isLocal) return { broken: "family" };
  if (!isLocal && size < V2_HEADER + (addressBytes ?? 0)) return { broken: "address" };
  if (bytes.length < size) return undefined;
  const none = { version: 2, source: undefined, destination: undefined } as const;
  if (isLocal || family === 0) return { facts: none, size };
  const header = bytes.subarray(0, size);
  const broken = judgeTlvs(header, V2_HEADER + (addressBytes ?? 0));
  if (broken !== undefined) return { broken };
  const width = addressBytes === 12 ? 4 : addressBytes === 36 ? 16 : 0;
  if (width === 0) return { facts: none, size };
  const at = V2_HEADER + 2 * width;
  const source = { address: addressOf(header, V2_HEADER, width), port: header.readUInt16BE(at) };
  const destination = { address: addressOf(header, V2_HEADER + width, width), port: header.readUInt16BE(at + 2) };
  return { facts: { version: 2, source, destination }, size };
}

function addressOf(header: Buffer, at: number, width: 4 | 16): string {
  const bytes = header.subarray(at, at + width);
  if (width === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, group) => bytes.readUInt16BE(2 * group).toString(16));
  return canonical(groups.join(":"));
}

/** Type-length-values are skipped, but they must fill the header exactly, and a checksum must be right. */
function judgeTlvs(header: Buffer, from: number): string | undefined {
  let at = from;
  while (at < header.length) {
    if (header.length < at + 3) return "TLV";
    const length = header.readUInt16BE(at + 1);
    if (header.length < at + 3 + length) return "TLV";
    if (header[at] === CRC32C && (length !== 4 || crc32c(header, at + 3) !== header.readUInt32BE(at + 3)))
      return "checksum";
    at += 3 + length;
  }
  return undefined;
}

/** CRC-32C (RFC 3720 appendix B.4) of the header with its own four bytes taken as zero. Bit by bit: 2 KB at most, once. */
function crc32c(header: Buffer, zeroAt: number): number {
  let crc = 0xffffffff;
  for (const [at, byte] of header.entries()) {
    crc ^= at >= zeroAt && at < zeroAt + 4 ? 0 : byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) * 0x82f63b78);
  }
  return ~crc >>> 0;
}
