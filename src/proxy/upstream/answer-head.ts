/**
 * What does the head of an answer say, byte for byte?
 * Owns: the strict reading of a target's status line, fields and framing (RFC 9112 §4, §6.3) from the bytes as they came.
 * Never: reads a body or repairs what a target wrote.
 */
import { BROKEN, FieldScan, INCOMPLETE, NameTable } from "../rules/field-scan.ts";
import { PER_CONNECTION } from "../rules/headers.ts";

/** What a field is to whoever relays it. */
const PASSES = 0;
/** Of this connection, or ours to say: not for the client. */
export const DROPPED = 1;
const NAMES_DATE = 2;
const NAMES_CONNECTION = 3;
const NAMES_LENGTH = 4;
const NAMES_ENCODING = 5;
const NAMES_KEEP_ALIVE = 6;

const NAMES = new NameTable(
  new Map([
    ...[...PER_CONNECTION].map((name): [string, number] => [name, DROPPED]),
    // Alt-Svc of a target would send the client to a port that is not ours.
    ["alt-svc", DROPPED],
    ["date", NAMES_DATE],
    ["connection", NAMES_CONNECTION],
    ["content-length", NAMES_LENGTH],
    ["transfer-encoding", NAMES_ENCODING],
    ["keep-alive", NAMES_KEEP_ALIVE],
  ]),
);

/** "HTTP/1." */
const PREFIX = Buffer.from("HTTP/1.");
const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;

export type AnswerBody = "none" | "length" | "chunked" | "close";

/** One per connection, read anew for each head: what it says holds until the next one. */
export class AnswerHead {
  status = 0;
  /** Fixed word that says what is wrong, after `read` gave BROKEN. */
  problem = "";
  /** By RFC 9112 §6.3; `close`: with the connection. */
  body: AnswerBody = "none";
  /** As said, also where there is no body (HEAD, 304); -1 when it is not said. */
  contentLength = -1;
  /** May the connection be used again? (RFC 9112 §9.3) */
  isPersistent = false;
  /** Seconds that the target keeps an idle connection, as it says; -1 when it does not. */
  keepAliveSeconds = -1;
  hasDate = false;
  /** Named in Connection beside `close` and `keep-alive`; almost always empty. */
  nominated: readonly string[] = [];
  /** The head as latin1, names in lower case; positions of `fields` are positions in it. */
  text = "";
  readonly fields = new FieldScan({ underscores: true });
  /** What each field is: PASSES, DROPPED or NAMES_DATE. */
  readonly kinds = new Uint8Array(512);
  #reasonStart = 0;
  #reasonEnd = 0;
  #start = 0;
  #sectionEnd = 0;

  /** The words behind the status code; may be empty. */
  get reason(): string {
    return this.text.slice(this.#reasonStart, this.#reasonEnd);
  }

  /** Where the last field line ends in `text`. */
  get sectionEnd(): number {
    return this.#sectionEnd;
  }

  /** Flat name, value list: names in lower case, every field the target sent. */
  get rawHeaders(): string[] {
    const flat: string[] = [];
    const { at, count } = this.fields;
    for (let slot = 0; slot < count * 4; slot += 4) {
      flat.push(this.text.slice(at[slot], at[slot + 1]), this.text.slice(at[slot + 2], at[slot + 3]));
    }
    return flat;
  }

  /**
   * @param isHead     the request was a HEAD
   * @param maxFields  more are BROKEN
   * @returns the position behind the head, INCOMPLETE or BROKEN (`problem` says what)
   */
  read(bytes: Buffer, start: number, end: number, isHead: boolean, maxFields: number): number {
    this.#start = start;
    const line = this.#statusLine(bytes, end);
    if (line <= 0) return line;
    const done = this.fields.scan(bytes, line, end);
    if (done === INCOMPLETE) return INCOMPLETE;
    if (done === BROKEN) return this.#broken("field");
    if (this.fields.count > maxFields) return this.#broken("too many fields");
    // From the very beginning of the buffer, so that positions are the same in both.
    this.text = bytes.toString("latin1", 0, done);
    this.#sectionEnd = done - 2;
    return this.#judge(bytes, isHead) ? done : BROKEN;
  }

  #broken(problem: string): number {
    this.problem = problem;
    return BROKEN;
  }

  #statusLine(bytes: Buffer, end: number): number {
    let at = this.#start;
    for (const byte of PREFIX) {
      if (at === end) return INCOMPLETE;
      if (bytes[at++] !== byte) return this.#broken("status line");
    }
    if (at + 5 >= end) return INCOMPLETE;
    const minor = (bytes[at] as number) - 0x30;
    const [one, two, three] = [bytes[at + 2] as number, bytes[at + 3] as number, bytes[at + 4] as number];
    const isNumber = one >= 0x31 && one <= 0x35 && isDigit(two) && isDigit(three);
    if ((minor !== 0 && minor !== 1) || bytes[at + 1] !== SPACE || !isNumber) return this.#broken("status line");
    this.isPersistent = minor === 1;
    this.status = (one - 0x30) * 100 + (two - 0x30) * 10 + (three - 0x30);
    at += 5;
    if (bytes[at] === SPACE) at++;
    else if (bytes[at] !== CR) return this.#broken("status line");
    this.#reasonStart = at;
    while (at < end && bytes[at] !== CR) {
      const byte = bytes[at] as number;
      if ((byte < SPACE && byte !== TAB) || byte === 0x7f) return this.#broken("status line");
      at++;
    }
    this.#reasonEnd = at;
    if (at + 1 >= end) return INCOMPLETE;
    return bytes[at + 1] === LF ? at + 2 : this.#broken("line end");
  }

  /** Marks each field and settles the framing. */
  #judge(bytes: Buffer, isHead: boolean): boolean {
    const { at, count } = this.fields;
    const isOld = !this.isPersistent;
    let encodings = 0;
    this.contentLength = -1;
    this.keepAliveSeconds = -1;
    this.hasDate = false;
    this.nominated = [];
    for (let index = 0; index < count; index++) {
      const slot = index << 2;
      const start = at[slot] as number;
      const nameEnd = at[slot + 1] as number;
      let kind = NAMES.find(bytes, start, nameEnd);
      if (kind === PASSES) {
        // 'p': the whole proxy- family speaks to proxies.
        if (bytes[start] === 0x70 && this.text.startsWith("proxy-", start)) kind = DROPPED;
      } else if (kind === NAMES_DATE) {
        this.hasDate = true;
      } else if (kind !== DROPPED) {
        const value = this.text.slice(at[slot + 2], at[slot + 3]);
        if (kind === NAMES_LENGTH) {
          if (this.contentLength >= 0 || !/^\d{1,15}$/.test(value)) return this.#says("Content-Length");
          this.contentLength = Number(value);
        } else if (kind === NAMES_ENCODING) {
          if (++encodings > 1 || (value !== "chunked" && value.toLowerCase() !== "chunked"))
            return this.#says("transfer coding");
        } else if (kind === NAMES_CONNECTION) {
          this.#connection(value.toLowerCase());
        } else if (kind === NAMES_KEEP_ALIVE) {
          const seconds = /(?:^|[,\s])timeout\s*=\s*(\d{1,6})/i.exec(value)?.[1];
          if (seconds !== undefined) this.keepAliveSeconds = Number(seconds);
        }
        kind = DROPPED;
      }
      this.kinds[index] = kind;
    }
    if (encodings > 0 && this.contentLength >= 0) return this.#says("Content-Length beside Transfer-Encoding");
    if (encodings > 0 && isOld) return this.#says("Transfer-Encoding in HTTP/1.0");
    const { status } = this;
    if (isHead || status < 200 || status === 204 || status === 304) this.body = "none";
    else if (encodings > 0) this.body = "chunked";
    else if (this.contentLength >= 0) this.body = this.contentLength === 0 ? "none" : "length";
    else {
      this.body = "close";
      this.isPersistent = false;
    }
    return true;
  }

  #says(problem: string): false {
    this.problem = problem;
    return false;
  }

  #connection(value: string): void {
    if (value === "keep-alive") return;
    const nominated: string[] = [...this.nominated];
    for (const option of value.split(",")) {
      const name = option.trim();
      if (name === "close") this.isPersistent = false;
      else if (name !== "" && name !== "keep-alive") nominated.push(name);
    }
    this.nominated = nominated;
  }
}

const isDigit = (byte: number): boolean => byte >= 0x30 && byte <= 0x39;
