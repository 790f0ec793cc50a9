/**
 * Is this the head of a perfectly ordinary HTTP/2 request?
 * Owns: one walk over the fields as the decoder gives them, and the head that goes to the target.
 * Never: repairs or refuses: what is not ordinary is for h2/request to judge, so this reader can only be too careful.
 */
import type { LimitsConfig } from "../../../config/model.ts";
import type { RequestHead } from "../../rules/request-head.ts";
import { type ConnectionFacts, type HeadLimits, METHODS } from "../check-request.ts";
import { AGENT, COOKIE, DROPPED, type Field, LENGTH, PASSES, PSEUDO } from "../http2/field.ts";

const TARGET = /^\/[\x21\x22\x24-\x5b\x5d-\x7e]*$/;

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
  readonly device: RequestHead["device"];
  readonly #fields: readonly Field[];

  constructor(reader: H2HeadReader, facts: ConnectionFacts, host: string, fields: readonly Field[]) {
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
    this.#fields = fields;
  }

  get headers(): readonly string[] {
    const flat = ["host", this.authority];
    for (const { name, value } of this.#fields) if (name.kind !== PSEUDO) flat.push(name.text, value);
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
  #scheme = "";
  /** The lines for the target, and in two pieces what stands around the Cookie, which comes in crumbs. */
  #beforeCookie = "";
  #cookie = "";
  #lines = "";

  /** @returns false for a request that h2/request has to judge */
  read(fields: readonly Field[], endsAtHead: boolean, limits: HeadLimits & Pick<LimitsConfig, "headSize">): boolean {
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
    const count = fields.length;
    // Pseudo headers first (RFC 9113 §8.3); a second one of a kind is found because there are four.
    for (; at < count; at++) {
      const field = fields[at] as Field;
      if (field.name.kind !== PSEUDO) break;
      size += field.size;
      if (!field.isClean || !this.#takePseudo(field.name.text, field.value)) return false;
    }
    if (at !== 4 || count - at > limits.headFields - 1) return false;
    for (; at < count; at++) {
      const field = fields[at] as Field;
      const { kind, mask } = field.name;
      size += field.size;
      if (field.size > limits.fieldSize || !field.isClean) return false;
      if (mask !== 0) {
        if ((seen & mask) !== 0) return false;
        seen |= mask;
      }
      if (kind === PASSES) {
        lines += field.line;
      } else if (kind === AGENT) {
        this.userAgent = field.value;
        lines += field.line;
      } else if (kind === LENGTH) {
        if (field.value === "") return false;
        length = field.value;
      } else if (kind === COOKIE) {
        if (this.#cookie !== "") {
          this.#cookie += `; ${field.value}`;
        } else {
          // An empty first crumb could not be told from none.
          if (field.value === "") return false;
          this.#beforeCookie = lines;
          this.#cookie = field.value;
          lines = "";
        }
      } else if (kind !== DROPPED) {
        return false;
      }
    }
    this.#lines = lines;
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
  head(facts: ConnectionFacts, host: string, fields: readonly Field[]): RequestHead {
    return new OrdinaryH2Head(this, facts, host, fields);
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
