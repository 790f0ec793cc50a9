/**
 * Where does each field of a head begin and end, byte for byte?
 * Owns: the strict scan of field lines (RFC 9112 §5), for requests and answers alike; names are made lower case in place.
 * Never: repairs: no bare LF, no obs-fold, no blank before a colon; what is odd is broken.
 */

/** The scan needs more bytes. */
export const INCOMPLETE = 0;
/** What stands there is no field section. */
export const BROKEN = -1;

/** Above every configurable limit on fields (bounds of the limits are checked by the callers, who say why). */
const MAX_FIELDS = 512;

const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;
const COLON = 0x3a;

/** Lower-case form of a token byte (RFC 9110 §5.6.2); 0 for every other byte. */
const LOWER = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
  LOWER[char.charCodeAt(0)] = char.charCodeAt(0);
for (let byte = 0x41; byte <= 0x5a; byte++) LOWER[byte] = byte + 0x20;

/** Bytes of a field value: HTAB, SP, VCHAR, obs-text (RFC 9110 §5.5). */
const VALUE = new Uint8Array(256);
for (let byte = SPACE; byte <= 0xff; byte++) VALUE[byte] = byte === 0x7f ? 0 : 1;
VALUE[TAB] = 1;

/** The same without `_`: to CGI, WSGI and PHP it is a hyphen, so a request with one is for those who can judge it. */
const LOWER_NO_UNDERSCORE = LOWER.slice();
LOWER_NO_UNDERSCORE[0x5f] = 0;

/** May be used again for every head: its positions hold until the next scan. */
export class FieldScan {
  count = 0;
  /** Four positions a field: name start, name end, value start, value end (without blanks around it). */
  readonly at = new Int32Array(MAX_FIELDS * 4);
  /** 1 where the line stands there as `name: value` and nothing else, so that its bytes may go on as they are. */
  readonly isPlain = new Uint8Array(MAX_FIELDS);
  readonly #lower: Uint8Array;

  /** @param options.underscores  may names have them? */
  constructor(options: { underscores: boolean }) {
    this.#lower = options.underscores ? LOWER : LOWER_NO_UNDERSCORE;
  }

  /** @returns the position behind the empty line, INCOMPLETE or BROKEN */
  scan(bytes: Uint8Array, from: number, end: number): number {
    const fields = this.at;
    const table = this.#lower;
    let at = from;
    let slot = 0;
    for (;;) {
      if (at + 1 >= end) return at < end && bytes[at] !== CR && table[bytes[at] as number] === 0 ? BROKEN : INCOMPLETE;
      if (bytes[at] === CR) {
        if (bytes[at + 1] !== LF) return BROKEN;
        this.count = slot >> 2;
        return at + 2;
      }
      if (slot === MAX_FIELDS * 4) return BROKEN;
      const nameStart = at;
      let lower = table[bytes[at] as number] as number;
      while (lower !== 0) {
        bytes[at++] = lower;
        if (at === end) return INCOMPLETE;
        lower = table[bytes[at] as number] as number;
      }
      if (at === nameStart || bytes[at] !== COLON) return BROKEN;
      const nameEnd = at++;
      while (at < end && (bytes[at] === SPACE || bytes[at] === TAB)) at++;
      const valueStart = at;
      while (at < end && VALUE[bytes[at] as number] === 1) at++;
      if (at + 1 >= end) return at < end && bytes[at] !== CR ? BROKEN : INCOMPLETE;
      if (bytes[at] !== CR || bytes[at + 1] !== LF) return BROKEN;
      let valueEnd = at;
      while (valueEnd > valueStart && (bytes[valueEnd - 1] === SPACE || bytes[valueEnd - 1] === TAB)) valueEnd--;
      fields[slot] = nameStart;
      fields[slot + 1] = nameEnd;
      fields[slot + 2] = valueStart;
      fields[slot + 3] = valueEnd;
      this.isPlain[slot >> 2] = valueStart === nameEnd + 2 && bytes[nameEnd + 1] === SPACE && valueEnd === at ? 1 : 0;
      slot += 4;
      at += 2;
    }
  }
}

/** Finds one of a few known names among the bytes of a head, without making a string. */
export class NameTable {
  readonly #buckets: { name: Uint8Array; id: number }[][] = [];

  /** @param ids  above 0; names in lower case */
  constructor(ids: ReadonlyMap<string, number>) {
    for (const [text, id] of ids) {
      const name = Buffer.from(text, "latin1");
      const key = keyOf(name, 0, name.length);
      (this.#buckets[key] ??= []).push({ name, id });
    }
    for (let key = 0; key < 256; key++) this.#buckets[key] ??= [];
  }

  /** @returns the id, or 0 for a name that is not in the table */
  find(bytes: Uint8Array, start: number, end: number): number {
    const bucket = this.#buckets[keyOf(bytes, start, end)] as { name: Uint8Array; id: number }[];
    for (const entry of bucket) {
      const { name } = entry;
      if (name.length !== end - start) continue;
      let at = 0;
      while (at < name.length && name[at] === bytes[start + at]) at++;
      if (at === name.length) return entry.id;
    }
    return 0;
  }
}

function keyOf(bytes: Uint8Array, start: number, end: number): number {
  return ((end - start) * 37 + (bytes[start] as number) * 7 + (bytes[end - 1] as number)) & 255;
}

/**
 * The value without the blanks around it (RFC 9110 §5.5). Not `trim`, to which U+00A0 is a blank too; and no regular
 * expression: `(.*?)[ \t]*$` takes the square of the blanks in the middle, so that 8 KB of them stood still for 50 ms.
 */
export function withoutBlanks(value: string): string {
  let [from, to] = [0, value.length];
  while (from < to && isBlank(value.charCodeAt(from))) from++;
  while (to > from && isBlank(value.charCodeAt(to - 1))) to--;
  return value.slice(from, to);
}

const isBlank = (code: number): boolean => code === 0x20 || code === 0x09;
