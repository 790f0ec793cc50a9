/**
 * How does the head of an answer become a header block (RFC 7541)?
 * Owns: literals without indexing, with names by their number where they have one: no table, so no state.
 * Never: compresses: a dynamic table lost, because finding a field in it costs more than the copy of its bytes, which
 * nginx sends as well.
 */
import { type AnswerHead, DROPPED } from "../../upstream/answer-head.ts";
import { NUMBERS } from "./static-table.ts";

/** Bytes of a field in a block beside its text, at most: two lengths of up to four bytes each and a number. */
const FIELD_COST = 12;
const STATUS_COST = 5;

const STATUSES = new Map([
  [200, 8],
  [204, 9],
  [206, 10],
  [304, 11],
  [400, 12],
  [404, 13],
  [500, 14],
]);
const STATUS = 8;
const SET_COOKIE = 55;
/** §7.1.3: not for any table on the way. */
const NEVER_INDEXED = 0x10;
const DATE = 33;
const CONTENT_LENGTH = 28;

/** RFC 9113 §8.2.2; `te` may be `trailers`, but not in an answer. What the rules left is checked once more. */
const FORBIDDEN = new Set(["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te"]);

/** Names by length, first and last unit, so that a name in the text of a head is found without cutting it out. */
const BUCKETS: readonly (readonly { name: string; number: number }[])[] = Array.from({ length: 256 }, (_, key) =>
  [...NUMBERS]
    .filter(([name]) => keyOf(name, 0, name.length) === key && !name.startsWith(":"))
    .map(([name, number]) => ({ name, number })),
);

function keyOf(text: string, start: number, end: number): number {
  return ((end - start) * 37 + text.charCodeAt(start) * 7 + text.charCodeAt(end - 1)) & 255;
}

function numberOf(text: string, start: number, end: number): number {
  for (const { name, number } of BUCKETS[keyOf(text, start, end)] ?? []) {
    if (name.length === end - start && text.startsWith(name, start)) return number;
  }
  return 0;
}

/** `Date: …` of now, as it stands in a block; made once a second (RFC 9110 §6.6.1). */
export class DateField {
  #second = 0;
  #bytes = Buffer.alloc(0);

  now(): Buffer {
    const second = Math.floor(Date.now() / 1_000);
    if (second === this.#second) return this.#bytes;
    this.#second = second;
    const bytes = Buffer.alloc(64);
    this.#bytes = bytes.subarray(0, putValue(bytes, 0, DATE, new Date(second * 1_000).toUTCString()));
    return this.#bytes;
  }
}

/** Bytes that the block of these can take at most, with the status, a length and a date of ours. */
export const mostOfHead = (head: AnswerHead): number => head.text.length + (head.fields.count + 3) * FIELD_COST + 64;

export function mostOfFlat(flat: readonly string[]): number {
  let most = STATUS_COST + 64 + FIELD_COST;
  for (const text of flat) most += text.length + FIELD_COST / 2;
  return most;
}

/** All of these write at `at` and return where they ended; the caller has seen to the room. */
export function putStatus(out: Buffer, at: number, status: number): number {
  const number = STATUSES.get(status);
  if (number !== undefined) {
    out[at] = 0x80 | number;
    return at + 1;
  }
  out[at] = STATUS;
  out[at + 1] = 3;
  out[at + 2] = 0x30 + Math.floor(status / 100);
  out[at + 3] = 0x30 + (Math.floor(status / 10) % 10);
  out[at + 4] = 0x30 + (status % 10);
  return at + STATUS_COST;
}

/** The fields of a target's head that go on, in their order. */
export function putHead(out: Buffer, from: number, head: AnswerHead): number {
  const { fields, kinds, text } = head;
  const { at: places, count } = fields;
  let at = from;
  for (let index = 0; index < count; index++) {
    if (kinds[index] === DROPPED) continue;
    const slot = index << 2;
    const start = places[slot] as number;
    const end = places[slot + 1] as number;
    at = putName(out, at, numberOf(text, start, end), text, start, end);
    at = putText(out, at, text, places[slot + 2] as number, places[slot + 3] as number);
  }
  return at;
}

/** Repeated fields stay apart: joining Set-Cookie would change its meaning. */
export function putFlat(out: Buffer, from: number, flat: readonly string[]): number {
  let at = from;
  for (let index = 0; index < flat.length; index += 2) {
    const name = flat[index] ?? "";
    const value = flat[index + 1] ?? "";
    if (FORBIDDEN.has(name) || name.startsWith(":") || name === "") continue;
    at = putName(out, at, numberOf(name, 0, name.length), name, 0, name.length);
    at = putText(out, at, value, 0, value.length);
  }
  return at;
}

export const putLength = (out: Buffer, at: number, length: number): number =>
  putValue(out, at, CONTENT_LENGTH, String(length));

export function putDate(out: Buffer, at: number, date: DateField): number {
  const bytes = date.now();
  out.set(bytes, at);
  return at + bytes.length;
}

function putValue(out: Buffer, at: number, number: number, value: string): number {
  return putText(out, putInteger(out, at, number, 15, 0), value, 0, value.length);
}

function putName(out: Buffer, at: number, number: number, text: string, start: number, end: number): number {
  if (number > 0) return putInteger(out, at, number, 15, number === SET_COOKIE ? NEVER_INDEXED : 0);
  out[at] = 0;
  return putText(out, at + 1, text, start, end);
}

function putText(out: Buffer, from: number, text: string, start: number, end: number): number {
  let at = putInteger(out, from, end - start, 127, 0);
  for (let unit = start; unit < end; unit++) out[at++] = text.charCodeAt(unit);
  return at;
}

/** §5.1. */
function putInteger(out: Buffer, from: number, value: number, prefix: number, first: number): number {
  let at = from;
  if (value < prefix) {
    out[at] = first | value;
    return at + 1;
  }
  out[at++] = first | prefix;
  let rest = value - prefix;
  for (; rest >= 128; rest >>= 7) out[at++] = (rest & 127) | 128;
  out[at] = rest;
  return at + 1;
}
