/**
 * Is this the head of a perfectly ordinary HTTP/2 request?
 * Owns: one walk over the fields as node:http2 gives them, and the head that goes to the target.
 * Never: repairs or refuses: what is not ordinary is for h2-request to judge, so this reader can only be too careful.
 */
import type { LimitsConfig } from "../../config/model.ts";
import { OURS, PER_CONNECTION } from "../rules/headers.ts";
import type { RequestHead } from "../rules/request-head.ts";
import { type ConnectionFacts, type HeadLimits, METHODS, SINGLE } from "./check-request.ts";

/** What a name means here; the bits above tell single fields apart. */
const KIND = 7;
const PASSES = 0;
const DROPPED = 1;
const STRANGE = 2;
const LENGTH = 3;
const AGENT = 4;
const COOKIE = 5;
const SINGLE_SHIFT = 3;

/** Dropped without a word by every lane; all others of these sets make a request one for h2-request. */
const QUIETLY_DROPPED = new Set(["forwarded", "x-real-ip", "x-request-id"]);
const OWN_KINDS = new Map([
  ["content-length", LENGTH],
  ["user-agent", AGENT],
  ["cookie", COOKIE],
]);

/** From the sets that the rules and the checks use, so that the lanes cannot differ in a name. */
function knownNames(): ReadonlyMap<string, number> {
  const names = new Map<string, number>();
  const single = [...SINGLE];
  for (const name of new Set([...PER_CONNECTION, ...OURS, ...single, "cookie"])) {
    const isStrange = (PER_CONNECTION.has(name) || OURS.has(name)) && !QUIETLY_DROPPED.has(name);
    const kind = OWN_KINDS.get(name) ?? (isStrange ? STRANGE : QUIETLY_DROPPED.has(name) ? DROPPED : PASSES);
    names.set(name, kind | ((single.indexOf(name) + 1) << SINGLE_SHIFT));
  }
  return names;
}
const NAMES = knownNames();

/** Narrower than a token: neither `_` nor anything rare. */
const PLAIN_NAME = /^[a-z][a-z0-9-]*$/;
const CONTROL = /[^\t\x20-\x7e\x80-\xff]/;
const TARGET = /^\/[\x21\x22\x24-\x5b\x5d-\x7e]*$/;
const COLON = 0x3a;
const P = 0x70;
const X = 0x78;

/** A head as the rules see it. Its list of fields is made when somebody asks: for most requests nobody does. */
class OrdinaryH2Head implements RequestHead {
  readonly version = "2";
  readonly method: string;
  readonly target: string;
  readonly authority: string;
  readonly host: string;
  readonly userAgent: string | undefined;
  readonly body: "none" | "length" | "chunked";
  readonly contentLength: number;
  readonly scheme: "http" | "https";
  readonly peerAddress: string;
  readonly peerPort: number;
  readonly localPort: number;
  readonly serverName: string | undefined;
  readonly tlsVersion: string | undefined;
  readonly seat: RequestHead["seat"];
  readonly #raw: readonly string[];

  constructor(reader: H2HeadReader, facts: ConnectionFacts, host: string, raw: readonly string[]) {
    this.method = reader.method;
    this.target = reader.target;
    this.authority = reader.authority;
    this.host = host;
    this.userAgent = reader.userAgent;
    this.body = reader.body;
    this.contentLength = reader.contentLength;
    this.scheme = facts.scheme;
    this.peerAddress = facts.peerAddress;
    this.peerPort = facts.peerPort;
    this.localPort = facts.localPort;
    this.serverName = facts.serverName;
    this.tlsVersion = facts.tlsVersion;
    this.seat = facts.seat;
    this.#raw = raw;
  }

  get headers(): readonly string[] {
    const flat = ["host", this.authority];
    for (let at = 0; at < this.#raw.length; at += 2) {
      const name = this.#raw[at] ?? "";
      if (name.charCodeAt(0) !== COLON) flat.push(name, this.#raw[at + 1] ?? "");
    }
    return flat;
  }
}

/** One per lane; what it says holds until the next `read`. */
export class H2HeadReader {
  method = "";
  target = "";
  authority = "";
  userAgent: string | undefined;
  body: "none" | "length" | "chunked" = "none";
  contentLength = 0;
  /** Names and values. */
  size = 0;
  #scheme = "";
  /** The lines for the target, and in two pieces what stands around the Cookie, which comes in crumbs. */
  #beforeCookie = "";
  #cookie = "";
  #lines = "";

  /** @returns false for a request that h2-request has to judge */
  read(raw: readonly string[], endsAtHead: boolean, limits: HeadLimits & Pick<LimitsConfig, "headSize">): boolean {
    this.method = "";
    this.target = "";
    this.authority = "";
    this.#scheme = "";
    this.userAgent = undefined;
    this.#beforeCookie = "";
    this.#cookie = "";
    let length = "";
    let lines = "";
    let seen = 0;
    let size = 0;
    let at = 0;
    // Pseudo headers first (RFC 9113 §8.3); a second one of a kind is found because there are four.
    for (; at < raw.length; at += 2) {
      const name = raw[at] as string;
      if (name.charCodeAt(0) !== COLON) break;
      const value = raw[at + 1] as string;
      size += name.length + value.length;
      if (!this.#takePseudo(name, value)) return false;
    }
    if (at !== 8 || (raw.length - at) >> 1 > limits.headFields - 1) return false;
    for (; at < raw.length; at += 2) {
      const name = raw[at] as string;
      const value = raw[at + 1] as string;
      const bytes = name.length + value.length;
      size += bytes;
      if (bytes > limits.fieldSize || CONTROL.test(value)) return false;
      const fact = NAMES.get(name);
      if (fact === undefined) {
        if (!PLAIN_NAME.test(name)) return false;
        const first = name.charCodeAt(0);
        if (first === P && name.startsWith("proxy-")) return false;
        if (first === X && name.startsWith("x-forwarded-")) continue;
        lines += `${name}: ${value}\r\n`;
        continue;
      }
      const bit = fact >> SINGLE_SHIFT;
      if (bit > 0) {
        const mask = 1 << bit;
        if ((seen & mask) !== 0) return false;
        seen |= mask;
      }
      const kind = fact & KIND;
      if (kind === STRANGE) return false;
      if (kind === DROPPED) continue;
      if (kind === LENGTH) {
        if (value === "") return false;
        length = value;
      } else if (kind === COOKIE) {
        if (this.#cookie !== "") {
          this.#cookie += `; ${value}`;
        } else {
          // An empty first crumb could not be told from none.
          if (value === "") return false;
          this.#beforeCookie = lines;
          this.#cookie = value;
          lines = "";
        }
      } else {
        if (kind === AGENT) this.userAgent = value;
        lines += `${name}: ${value}\r\n`;
      }
    }
    this.#lines = lines;
    this.size = size;
    if (size > limits.headSize || this.#cookie.length + 6 > limits.fieldSize) return false;
    if (this.target.length > limits.urlSize || !TARGET.test(this.target)) return false;
    return METHODS.has(this.method) && this.#takeFraming(length, endsAtHead);
  }

  #takePseudo(name: string, value: string): boolean {
    if (value === "") return false;
    if (name === ":method") this.method = value;
    else if (name === ":path") this.target = value;
    else if (name === ":authority") this.authority = value;
    else if (name === ":scheme") this.#scheme = value;
    else return false;
    return true;
  }

  #takeFraming(length: string, endsAtHead: boolean): boolean {
    this.body = endsAtHead ? "none" : "chunked";
    this.contentLength = 0;
    if (this.#scheme === "" || this.authority === "" || this.method === "" || this.target === "") return false;
    if (length === "") return true;
    // A length of nothing, or with nothing behind it, has more than one reading.
    if (endsAtHead || !/^[1-9]\d{0,14}$/.test(length)) return false;
    this.contentLength = Number(length);
    this.body = "length";
    return true;
  }

  /** For the rules. @param host  the authority, normalised */
  head(facts: ConnectionFacts, host: string, raw: readonly string[]): RequestHead {
    return new OrdinaryH2Head(this, facts, host, raw);
  }

  /**
   * The whole head for the target: the same fields in the same order as `requestHeaders` gives, framing last.
   * @param added  lines that the edge adds, each with its CRLF
   */
  forTarget(path: string, authority: string, added: string): string {
    const cookie = this.#cookie === "" ? "" : `${this.#beforeCookie}cookie: ${this.#cookie}\r\n`;
    const fields = `${cookie}${this.#lines}${added}`;
    return `${this.method} ${path} HTTP/1.1\r\nhost: ${authority}\r\n${fields}${framingLine(this)}\r\n`;
  }
}

/** Methods whose request without a body carries no Content-Length either (RFC 9110 §8.6). */
const BODYLESS = new Set(["GET", "HEAD", "OPTIONS", "DELETE"]);

/** Always said: a target may not guess where a body ends that came without a length. */
export function framingLine(head: Pick<RequestHead, "method" | "body" | "contentLength">): string {
  if (head.body === "length") return `content-length: ${head.contentLength}\r\n`;
  if (head.body === "chunked") return "transfer-encoding: chunked\r\n";
  return BODYLESS.has(head.method) ? "" : "content-length: 0\r\n";
}
