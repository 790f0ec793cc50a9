/**
 * What does the head of an answer say, byte for byte?
 * Owns: the strict parser of an HTTP/1.1 response head and of its body's framing; no repairs.
 * Never: reads a body or guesses what a sender meant.
 */
import { withoutBlanks } from "../rules/field-scan.ts";

export interface AnswerHead {
  status: number;
  reason: string;
  /** Flat name, value list, names as written. */
  rawHeaders: string[];
  /** How the body ends, by RFC 9112 §6.3; `close`: with the connection. */
  body: "none" | "length" | "chunked" | "close";
  contentLength: number;
}

/** `undefined`: more bytes are needed. `broken`: a fixed word, nothing of what the target wrote. */
export type ParsedHead =
  { head: AnswerHead; end: number; broken?: undefined } | { broken: string; head?: undefined } | undefined;

const MAX_FIELDS = 200;

const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?$/;
const FIELD = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t\x20-\x7e\x80-\xff]*)$/;

/** What `broken` says of a head that is larger than it may be. */
export const TOO_LONG = "head too long";

/**
 * @param bytes    everything that came so far; the caller keeps it and asks again with more
 * @param maxHead  bytes that a whole head may have
 */
export function parseAnswerHead(bytes: Buffer, maxHead: number): ParsedHead {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0 ? bytes.length > maxHead : end > maxHead) return { broken: TOO_LONG };
  const lines = bytes.toString("latin1", 0, end < 0 ? bytes.length : end).split("\r\n");
  // Garbage need not wait for its end: a target that speaks TLS or SSH never sends an empty line.
  const [line = "", ...others] = lines;
  if (end < 0 && !(others.length > 0 ? STATUS_LINE.test(line) : couldBegin(line))) return { broken: "status line" };
  // A lone LF or CR is a line end to some parsers and text to others (RFC 9112 §2.2 lets a recipient accept it; we do not).
  if (end < 0) return bytes.indexOf("\n\n") >= 0 ? { broken: "line end" } : undefined;
  const first = STATUS_LINE.exec(lines[0] ?? "");
  if (first === null) return { broken: "status line" };
  if (lines.length - 1 > MAX_FIELDS) return { broken: "too many fields" };
  const rawHeaders: string[] = [];
  for (const line of lines.slice(1)) {
    // No name, so obs-fold (RFC 9112 §5.2) and blanks before the colon (§5.1) end here as well.
    const field = FIELD.exec(line);
    if (field === null) return { broken: "field" };
    rawHeaders.push(field[1] ?? "", withoutBlanks(field[2] ?? ""));
  }
  const status = Number(first[2]);
  const framing = framingOf(status, rawHeaders, first[1] === "0");
  if (typeof framing === "string") return { broken: framing };
  return { head: { status, reason: first[3] ?? "", rawHeaders, ...framing }, end: end + 4 };
}

const couldBegin = (line: string): boolean => "HTTP/1.".startsWith(line.slice(0, 7)) && !line.includes("\n");

function framingOf(
  status: number,
  rawHeaders: readonly string[],
  isOld: boolean,
): Pick<AnswerHead, "body" | "contentLength"> | string {
  const encodings = answerValues(rawHeaders, "transfer-encoding");
  const lengths = answerValues(rawHeaders, "content-length");
  if (encodings.length > 1 || (encodings[0] ?? "chunked").toLowerCase() !== "chunked") return "transfer coding";
  if (encodings.length > 0 && (lengths.length > 0 || isOld)) return "two framings";
  if (lengths.length > 1 || !/^\d{1,15}$/.test(lengths[0] ?? "0")) return "content length";
  if (status < 200 || status === 204 || status === 304) return { body: "none", contentLength: 0 };
  if (encodings.length > 0) return { body: "chunked", contentLength: 0 };
  if (lengths.length > 0) return { body: "length", contentLength: Number(lengths[0]) };
  return { body: "close", contentLength: 0 };
}

/** Every value of one field, whatever the case of its name; `name` is lower case. */
export function answerValues(rawHeaders: readonly string[], name: string): string[] {
  const values: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    if (rawHeaders[at]?.toLowerCase() === name) values.push(rawHeaders[at + 1] ?? "");
  }
  return values;
}
