/**
 * Is this the head of a perfectly ordinary request?
 * Owns: the strict reading of an HTTP/1.1 request head from its bytes, and the head that goes to the target.
 * Never: repairs or refuses: what is not ordinary is for the compat lane to judge, so this parser can only be too careful.
 */
import { BROKEN, FieldScan, INCOMPLETE, withoutBlanks } from "../../rules/field-scan.ts";
import { isMarked } from "../../rules/passes.ts";
import type { RequestHead } from "../../rules/request-head.ts";
import { type ConnectionFacts, type HeadLimits, METHODS } from "../check-request.ts";
import type { HeadMemory, ReadFields } from "./memory.ts";
import {
  AGENT,
  DROPPED,
  ENCODING,
  FORWARDED,
  HOST,
  KIND,
  LENGTH,
  NAMES,
  PASSES,
  SINGLE_SHIFT,
  STRANGE,
} from "./names.ts";

/** A request for the compat lane. */
const NOT_ORDINARY = BROKEN;

/** Bytes of an origin-form target (RFC 9112 §3.2.1): visible ASCII without `#` and `\`, as check-request has it. */
const TARGET = new Uint8Array(256);
for (let byte = 0x21; byte <= 0x7e; byte++) TARGET[byte] = byte === 0x23 || byte === 0x5c ? 0 : 1;

const SPACE = 0x20;
const SLASH = 0x2f;
/** " HTTP/1.1\r\n" behind the target. */
const VERSION = Buffer.from(" HTTP/1.1\r\n");

/** Methods whose request without a body carries no Content-Length either. */
const BODYLESS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "DELETE"]);

/** Longest method of check-request is shorter. */
const MAX_METHOD = 24;

/** A head as the rules see it. Its list of fields is made when somebody asks: for most requests nobody does. */
class OrdinaryHead implements RequestHead {
  readonly version = "1.1";
  readonly host: string;
  readonly scheme: "http" | "https";
  readonly peerAddress: string;
  readonly peerPort: number;
  readonly localPort: number;
  readonly serverName: string | undefined;
  readonly tlsVersion: string | undefined;
  readonly seat: RequestHead["seat"];
  readonly device: RequestHead["device"];
  readonly method: string;
  readonly target: string;
  readonly authority: string;
  readonly userAgent: string | undefined;
  readonly body: "none" | "length" | "chunked";
  readonly contentLength: number;
  readonly #section: string;

  constructor(reader: HeadReader, facts: ConnectionFacts, host: string, section: string) {
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
    this.device = facts.device;
    this.#section = section;
  }

  get headers(): readonly string[] {
    const flat: string[] = [];
    for (const line of this.#section.split("\r\n")) {
      const colon = line.indexOf(":");
      if (colon > 0) flat.push(line.slice(0, colon), withoutBlanks(line.slice(colon + 1)));
    }
    return flat;
  }
}

/** One per connection; what it says holds until the next `read`. */
export class HeadReader {
  method = "";
  target = "";
  authority = "";
  userAgent: string | undefined;
  body: "none" | "length" | "chunked" = "none";
  contentLength = 0;
  /** The client said `Connection: close`. */
  isLast = false;
  #length = "";
  #isChunked = false;
  readonly #fields = new FieldScan({ underscores: false });
  /** Is the field left out of what the target sees? */
  readonly #isLeftOut = new Uint8Array(512);
  #text = "";
  #section = "";
  #passed = "";

  /**
   * @param memory  of the connection
   * @returns the position behind the head, INCOMPLETE or NOT_ORDINARY; names in `bytes` may be in lower case then
   */
  read(bytes: Buffer, limits: HeadLimits, memory?: HeadMemory): number {
    const end = bytes.length;
    let at = 0;
    while (at < end && at < MAX_METHOD && bytes[at] !== SPACE) at++;
    const methodEnd = at;
    if (at === MAX_METHOD) return NOT_ORDINARY;
    if (at === end) return INCOMPLETE;
    if (++at < end && bytes[at] !== SLASH) return NOT_ORDINARY;
    const targetEnd = Math.min(end, at + limits.urlSize + 1);
    while (at < targetEnd && TARGET[bytes[at] as number] === 1) at++;
    const lineEnd = at;
    if (lineEnd - methodEnd - 1 > limits.urlSize) return NOT_ORDINARY;
    for (const byte of VERSION) {
      if (at === end) return INCOMPLETE;
      if (bytes[at++] !== byte) return NOT_ORDINARY;
    }
    const known = memory?.find(bytes, at, limits);
    if (known !== undefined && memory !== undefined) {
      this.#recall(known);
      this.#takeLine(bytes.toString("latin1", 0, lineEnd), methodEnd, lineEnd);
      return METHODS.has(this.method) && this.#takeFraming() ? at + memory.length : NOT_ORDINARY;
    }
    const copy = memory?.copy(bytes, at);
    const done = this.#fields.scan(bytes, at, end);
    if (done <= 0) return done;
    const text = bytes.toString("latin1", 0, done);
    this.#text = text;
    this.#takeLine(text, methodEnd, lineEnd);
    if (!METHODS.has(this.method) || !this.#judge(bytes, limits)) return NOT_ORDINARY;
    this.#section = text.slice(at, done - 2);
    this.#passed = this.#passedOn(done - 2);
    if (copy !== undefined) memory?.keep(copy.subarray(0, done - at), this.#fieldsRead(), limits);
    return done;
  }

  #takeLine(text: string, methodEnd: number, lineEnd: number): void {
    this.method = text.slice(0, methodEnd);
    this.target = text.slice(methodEnd + 1, lineEnd);
  }

  #fieldsRead(): ReadFields {
    return {
      section: this.#section,
      passed: this.#passed,
      authority: this.authority,
      userAgent: this.userAgent,
      length: this.#length,
      isChunked: this.#isChunked,
      isLast: this.isLast,
    };
  }

  #recall(known: ReadFields): void {
    this.#section = known.section;
    this.#passed = known.passed;
    this.authority = known.authority;
    this.userAgent = known.userAgent;
    this.#length = known.length;
    this.#isChunked = known.isChunked;
    this.isLast = known.isLast;
  }

  #judge(bytes: Buffer, limits: HeadLimits): boolean {
    const { at, count } = this.#fields;
    if (count > limits.headFields) return false;
    const text = this.#text;
    let seen = 0;
    this.#length = "";
    this.#isChunked = false;
    this.authority = "";
    this.userAgent = undefined;
    this.isLast = false;
    for (let index = 0; index < count; index++) {
      const slot = index << 2;
      const start = at[slot] as number;
      const nameEnd = at[slot + 1] as number;
      const valueEnd = at[slot + 3] as number;
      // The colon does not count, and a blank or two make no difference: what is near the limit is for the other lane.
      if (valueEnd - start > limits.fieldSize) return false;
      const fact = NAMES.find(bytes, start, nameEnd);
      let isLeftOut = 0;
      if (fact === 0) {
        const first = bytes[start];
        // 'p' and 'x': the two families that go as a whole.
        if (first === 0x70 && text.startsWith("proxy-", start)) return false;
        if (first === 0x78 && text.startsWith("x-forwarded-", start)) isLeftOut = 1;
      } else {
        const bit = fact >> SINGLE_SHIFT;
        if (bit > 0) {
          const mask = 1 << bit;
          if ((seen & mask) !== 0) return false;
          seen |= mask;
        }
        const kind = fact & KIND;
        if (kind === STRANGE) return false;
        if (kind === AGENT) {
          this.userAgent = text.slice(at[slot + 2], valueEnd);
        } else if (kind !== PASSES) {
          isLeftOut = 1;
          if (kind === FORWARDED) {
            // Perhaps it has come back to us: that is counted where fields are read one by one.
            if (isMarked(text.slice(at[slot + 2], valueEnd))) return false;
          } else if (kind !== DROPPED) {
            // Blanks around what frames and routes are read in more than one way.
            if (this.#fields.isPlain[index] === 0) return false;
            const value = text.slice(at[slot + 2], valueEnd);
            if (kind === HOST) this.authority = value;
            else if (kind === LENGTH) this.#length = value === "" ? "?" : value;
            else if (kind === ENCODING) {
              if (value !== "chunked") return false;
              this.#isChunked = true;
            } else if (!this.#takeConnection(value)) return false;
          }
        }
      }
      this.#isLeftOut[index] = isLeftOut;
    }
    return this.authority !== "" && this.#takeFraming();
  }

  #takeConnection(value: string): boolean {
    if (value === "keep-alive" || value === "Keep-Alive") return true;
    // Anything else but this names fields, or upgrades.
    this.isLast = value === "close" || value === "Close";
    return this.isLast;
  }

  #takeFraming(): boolean {
    const length = this.#length;
    const isChunked = this.#isChunked;
    this.body = isChunked ? "chunked" : "none";
    this.contentLength = 0;
    if (length === "") return true;
    if (isChunked || !/^(?:0|[1-9]\d{0,14})$/.test(length)) return false;
    this.contentLength = Number(length);
    const isNothing = this.contentLength === 0 && (this.method === "GET" || this.method === "HEAD");
    if (!isNothing) this.body = "length";
    return true;
  }

  /** For the rules. @param host  the authority, normalised */
  head(facts: ConnectionFacts, host: string): RequestHead {
    return new OrdinaryHead(this, facts, host, this.#section);
  }

  /** The lines of the section that go on, as they stand or made plain. */
  #passedOn(sectionEnd: number): string {
    const fields = this.#fields;
    const { at, count } = fields;
    const text = this.#text;
    let out = "";
    /** Lines that stand as they shall go on are cut out in one piece. */
    let run = -1;
    for (let index = 0; index < count; index++) {
      const slot = index << 2;
      const start = at[slot] as number;
      if (this.#isLeftOut[index] === 0 && fields.isPlain[index] === 1) {
        if (run < 0) run = start;
        continue;
      }
      if (run >= 0) out += text.slice(run, start);
      run = -1;
      if (this.#isLeftOut[index] === 0) {
        out += `${text.slice(start, at[slot + 1])}: ${text.slice(at[slot + 2], at[slot + 3])}\r\n`;
      }
    }
    return run < 0 ? out : out + text.slice(run, sectionEnd);
  }

  /**
   * The whole head for the target: the same fields in the same order as `requestHeaders` gives.
   * @param added  lines that the edge adds, each with its CRLF
   */
  forTarget(path: string, authority: string, added: string): string {
    const out = `${this.method} ${path} HTTP/1.1\r\nhost: ${authority}\r\n${this.#passed}${added}`;
    if (this.body === "chunked") return `${out}transfer-encoding: chunked\r\n\r\n`;
    if (this.body === "length") return `${out}content-length: ${this.contentLength}\r\n\r\n`;
    // RFC 9110 §8.6: a method that expects a body says its zero, as node:http's client has it.
    return !BODYLESS.has(this.method) ? `${out}content-length: 0\r\n\r\n` : `${out}\r\n`;
  }
}
