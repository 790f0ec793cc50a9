/**
 * Which name, and which protocols, does a TLS client ask for in its first message?
 * Owns: the strict reading of a ClientHello out of records in any pieces (RFC 8446 §4.1.2 and §5.1, RFC 6066 §3, RFC 7301 §3.1).
 * Never: decrypts, answers, or keeps bytes; what it calls broken OpenSSL may still take, never the other name.
 */

export interface ClientHello {
  /** In lower case; undefined when the client named none. With ECH this is the outer, public name. */
  serverName: string | undefined;
  /** ALPN, in the client's order; empty without it. */
  protocols: readonly string[];
  /** It brings a ticket, of TLS 1.3 (RFC 8446 §4.2.11) or before (RFC 5077 §3.2). Ours or not, nobody knows here. */
  hasTicket: boolean;
}

/** `undefined`: more bytes are needed. `broken`: a fixed word, nothing of what the client wrote. */
export type ParsedHello =
  { hello: ClientHello; broken?: undefined } | { broken: string; hello?: undefined } | undefined;

/** Bytes, record headers included. The largest honest ones, with post-quantum key shares and a ticket, have about 4,000. */
export const MAX_CLIENT_HELLO = 16_384;

const RECORD_HEADER = 5;
/** Type and length (RFC 8446 §4). */
const MESSAGE_HEADER = 4;
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const ALPN = 16;
const SESSION_TICKET = 35;
const PRE_SHARED_KEY = 41;
/** RFC 1035 §2.3.4, without the trailing dot. */
const MAX_NAME = 253;

/**
 * What has once been said of the first bytes holds whatever follows, so how a ClientHello is cut into packets decides nothing.
 * @param bytes  everything that came so far; the caller keeps it and asks again with more
 */
export function parseClientHello(bytes: Buffer): ParsedHello {
  const message = collect(bytes.length > MAX_CLIENT_HELLO ? bytes.subarray(0, MAX_CLIENT_HELLO) : bytes);
  if (message === undefined) return bytes.length >= MAX_CLIENT_HELLO ? { broken: "too long" } : undefined;
  if (typeof message === "string") return { broken: message };
  const hello = readHello(new Reader(message));
  return typeof hello === "string" ? { broken: hello } : { hello };
}

/** The handshake message behind its header; undefined while it is not whole, a word when it never will be. */
function collect(bytes: Buffer): Buffer | string | undefined {
  const pieces: Buffer[] = [];
  let have = 0;
  /** What the records say they hold; more than `have` while the last one is on its way. */
  let announced = 0;
  /** Of the message with its header; undefined while that is not whole. */
  let need: number | undefined;
  let at = 0;
  while (at < bytes.length) {
    if (bytes[at] !== HANDSHAKE) return "not a handshake";
    // The minor version says nothing (RFC 8446 §5.1): 1 and 3 are both everyday.
    if ((bytes[at + 1] ?? 3) !== 3) return "record version";
    if (at + RECORD_HEADER > bytes.length) return undefined;
    const length = bytes.readUInt16BE(at + 3);
    // Empty handshake fragments are forbidden, and would cost the sender nothing (RFC 8446 §5.1).
    if (length === 0 || length > MAX_CLIENT_HELLO) return "record length";
    const piece = bytes.subarray(at + RECORD_HEADER, at + RECORD_HEADER + length);
    pieces.push(piece);
    have += piece.length;
    announced += length;
    at += RECORD_HEADER + length;
    if (need === undefined && have > 0) {
      const start = joined(pieces);
      if (start[0] !== CLIENT_HELLO) return "not a ClientHello";
      if (have < MESSAGE_HEADER) continue;
      need = MESSAGE_HEADER + start.readUIntBE(1, 3);
      if (need === MESSAGE_HEADER) return "too short";
      if (need > MAX_CLIENT_HELLO) return "too long";
    }
    // Nothing may follow before the server has answered (RFC 8446 §5.1: no message spans a key change).
    if (need !== undefined && announced > need) return "bytes behind the ClientHello";
    if (have === need) return joined(pieces).subarray(MESSAGE_HEADER);
  }
  return undefined;
}

/** One piece, which is nearly always all there is, is not copied. */
const joined = (pieces: readonly Buffer[]): Buffer =>
  pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces);

function readHello(reader: Reader): ClientHello | string {
  const version = reader.uint16();
  reader.skip(32);
  const session = reader.vector8();
  const suites = reader.vector16();
  const compressions = reader.vector8();
  if (reader.isShort) return "too short";
  if (version >> 8 !== 3) return "version";
  if (session.length > 32) return "session id";
  if (suites.length === 0 || suites.length % 2 !== 0) return "cipher suites";
  if (compressions.length === 0) return "compression";
  let serverName: string | undefined;
  let protocols: readonly string[] = [];
  let hasTicket = false;
  // TLS 1.2 and older may end here (RFC 5246 §7.4.1.2).
  if (reader.left === 0) return { serverName, protocols, hasTicket };
  const extensions = new Reader(reader.vector16());
  if (reader.isShort || reader.left > 0) return "extensions";
  const seen = new Set<number>();
  while (extensions.left > 0) {
    const type = extensions.uint16();
    const body = extensions.vector16();
    if (extensions.isShort) return "extensions";
    if (seen.has(type)) return "an extension twice";
    seen.add(type);
    if (type === SERVER_NAME) {
      serverName = readServerName(body);
      if (serverName === undefined) return "server name";
    } else if (type === ALPN) {
      const names = readProtocols(body);
      if (names === undefined) return "protocols";
      protocols = names;
    } else if (type === PRE_SHARED_KEY || (type === SESSION_TICKET && body.length > 0)) {
      hasTicket = true;
    }
  }
  return { serverName, protocols, hasTicket };
}

/** Exactly one host name, as OpenSSL has it: a list of two would be read differently by different servers. */
function readServerName(body: Buffer): string | undefined {
  const outer = new Reader(body);
  const list = new Reader(outer.vector16());
  const type = list.uint8();
  const name = list.vector16();
  if (outer.isShort || outer.left > 0 || list.isShort || list.left > 0 || type !== 0) return undefined;
  const text = name.toString("latin1").toLowerCase();
  return text.length <= MAX_NAME && /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?$/.test(text) ? text : undefined;
}

function readProtocols(body: Buffer): string[] | undefined {
  const outer = new Reader(body);
  const list = new Reader(outer.vector16());
  if (outer.isShort || outer.left > 0 || list.left === 0) return undefined;
  const names: string[] = [];
  while (list.left > 0) {
    const name = list.vector8();
    if (list.isShort || name.length === 0) return undefined;
    names.push(name.toString("latin1"));
  }
  return names;
}

/** Reads big-endian fields and never past the end: then it says so, once and for all. */
class Reader {
  isShort = false;
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  skip(count: number): number {
    const from = this.#at;
    if (count > this.left) this.isShort = true;
    this.#at = Math.min(this.#bytes.length, from + count);
    return from;
  }

  uint8(): number {
    return this.#bytes[this.skip(1)] ?? 0;
  }

  uint16(): number {
    return (this.uint8() << 8) | this.uint8();
  }

  vector8(): Buffer {
    return this.#take(this.uint8());
  }

  vector16(): Buffer {
    return this.#take(this.uint16());
  }

  #take(count: number): Buffer {
    const from = this.skip(count);
    return this.#bytes.subarray(from, this.#at);
  }
}
