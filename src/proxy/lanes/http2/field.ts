/**
 * What is one field of a request's head, once for all the requests that repeat it?
 * Owns: a name and what it means to us, a value and whether it may stand there, the line it becomes for the target.
 * Never: judges a request; h2/head and h2/request do.
 *
 * A client sends most fields once and then points at them: what is found out about a field is kept with it.
 */
import { SINGLE } from "../check-request.ts";
import { OURS, PER_CONNECTION } from "../../rules/headers.ts";

/** Goes to the target as it is. */
export const PASSES = 0;
/** Dropped without a word by every lane. */
export const DROPPED = 1;
/** Makes a request one for h2/request. */
const STRANGE = 2;
export const LENGTH = 3;
export const AGENT = 4;
export const COOKIE = 5;
export const PSEUDO = 6;
/** No name in HTTP/2 (RFC 9113 §8.2.1): the request is malformed. */
const NO_NAME = 7;

/** Not Forwarded: it may say that the request was here before, and no browser sends it. */
const QUIETLY_DROPPED = new Set(["x-real-ip", "x-request-id"]);
const OWN_KINDS = new Map([
  ["content-length", LENGTH],
  ["user-agent", AGENT],
  ["cookie", COOKIE],
]);
const SINGLES = [...SINGLE];
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
/** Narrower than a token: neither `_` nor anything rare. */
const PLAIN_NAME = /^[a-z][a-z0-9-]*$/;
/** RFC 9113 §8.2.1, and no control characters at all (RFC 9110 §5.5). */
const BAD_VALUE = /^[ \t]|[ \t]$|[\x00-\x08\x0a-\x1f\x7f]/;
const COLON = 0x3a;

export class FieldName {
  readonly text: string;
  readonly kind: number;
  /** One bit for each name that may stand once only; 0 for others. */
  readonly mask: number;

  constructor(text: string) {
    this.text = text;
    this.kind = kindOf(text);
    this.mask = SINGLE.has(text) ? 1 << SINGLES.indexOf(text) : 0;
  }
}

/** From the sets that the rules and the checks use, so that the lanes cannot differ in a name. */
function kindOf(text: string): number {
  if (text.charCodeAt(0) === COLON) return PSEUDO;
  if (!TOKEN.test(text)) return NO_NAME;
  const own = OWN_KINDS.get(text);
  if (own !== undefined) return own;
  if (QUIETLY_DROPPED.has(text) || text.startsWith("x-forwarded-")) return DROPPED;
  if (PER_CONNECTION.has(text) || OURS.has(text) || text.startsWith("proxy-") || !PLAIN_NAME.test(text)) return STRANGE;
  return PASSES;
}

export class Field {
  readonly name: FieldName;
  readonly value: string;
  /** Bytes of both. */
  readonly size: number;
  /** May the value stand in a head? */
  readonly isClean: boolean;
  #line = "";

  /** Texts are latin1: one unit a byte. */
  constructor(name: FieldName, value: string) {
    this.name = name;
    this.value = value;
    this.size = name.text.length + value.length;
    this.isClean = !BAD_VALUE.test(value);
  }

  /** For the target, with its CRLF. */
  get line(): string {
    if (this.#line === "") this.#line = `${this.name.text}: ${this.value}\r\n`;
    return this.#line;
  }
}

/** Name, value, name, value… */
export function flatOf(fields: readonly Field[]): string[] {
  const flat: string[] = [];
  for (const { name, value } of fields) flat.push(name.text, value);
  return flat;
}

/** RFC 9113 §8.2.1: a field that makes its message malformed, whatever else it says. */
export const isMalformed = ({ name, isClean }: Field): boolean => !isClean || name.kind === NO_NAME;
