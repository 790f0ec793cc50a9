/**
 * What does the head of an answer look like to an HTTP/1.1 client of the fast lane?
 * Owns: the text of a relayed head (the same fields as `responseHeaders` gives) and the bytes of an answer of our own.
 * Never: writes to a socket.
 */
import { STATUS_CODES } from "node:http";
import type { SiteConfig } from "../../../config/model.ts";
import type { LocalAnswer } from "../../responses.ts";
import { responseHeaders } from "../../rules/headers.ts";
import { type AnswerHead, DROPPED } from "../../upstream/answer-head.ts";

/** RFC 9110 §6.6.1: who forwards an answer without a Date adds one. Made once a second. */
export class DateLine {
  #second = 0;
  #text = "";

  /** `date: …` with its CRLF. */
  now(): string {
    const second = Math.floor(Date.now() / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#text = `date: ${new Date(second * 1_000).toUTCString()}\r\n`;
    }
    return this.#text;
  }
}

/** @param ending  the lines of framing and connection, which are ours, each with its CRLF */
export function answerText(head: AnswerHead, site: SiteConfig, date: DateLine, ending: string): string {
  const line = `HTTP/1.1 ${head.status} ${reasonOf(head)}\r\n`;
  if (site.responseHeaders.size > 0 || head.nominated.length > 0) {
    const flat = responseHeaders(head.rawHeaders, site);
    const hasDate = flat.some((name, at) => at % 2 === 0 && name === "date");
    return `${line}${linesOf(flat)}${hasDate ? "" : date.now()}${ending}\r\n`;
  }
  const { fields, kinds, text, sectionEnd } = head;
  const { at, count } = fields;
  let out = line;
  let run = -1;
  for (let index = 0; index < count; index++) {
    const slot = index << 2;
    const start = at[slot] as number;
    if (kinds[index] !== DROPPED && fields.isPlain[index] === 1) {
      if (run < 0) run = start;
      continue;
    }
    if (run >= 0) out += text.slice(run, start);
    run = -1;
    if (kinds[index] !== DROPPED) {
      out += `${text.slice(start, at[slot + 1])}: ${text.slice(at[slot + 2], at[slot + 3])}\r\n`;
    }
  }
  if (run >= 0) out += text.slice(run, sectionEnd);
  return `${out}${head.hasDate ? "" : date.now()}${ending}\r\n`;
}

/** The target's own words where they are plain; 100 units are enough for any of them. */
function reasonOf(head: AnswerHead): string {
  const { reason } = head;
  if (reason === STATUS_CODES[head.status]) return reason;
  return /^[\x20-\x7e]{1,100}$/.test(reason) ? reason : (STATUS_CODES[head.status] ?? "Unknown");
}

/** The text of a 103; undefined without links: only those are a hint that a browser knows what to do with (RFC 8297). */
export function earlyHints(head: AnswerHead, site: SiteConfig): string | undefined {
  const flat = responseHeaders(head.rawHeaders, site);
  const links = flat.filter((_, at) => flat[at - (at % 2)] === "link");
  return links.length === 0 ? undefined : `HTTP/1.1 103 Early Hints\r\n${linesOf(links)}\r\n`;
}

export function linesOf(flat: readonly string[]): string {
  let text = "";
  for (let at = 0; at < flat.length; at += 2) text += `${flat[at]}: ${flat[at + 1]}\r\n`;
  return text;
}

/** Head and body of an answer that no target gave. */
export function localBytes(answer: LocalAnswer, date: DateLine, options: { close: boolean; isHead: boolean }): Buffer {
  const head =
    `HTTP/1.1 ${answer.status} ${STATUS_CODES[answer.status] ?? "Error"}\r\n` +
    `${linesOf(answer.headers)}${date.now()}${options.close ? "connection: close\r\n" : ""}\r\n`;
  const bytes = Buffer.from(head, "latin1");
  return options.isHead ? bytes : Buffer.concat([bytes, answer.body]);
}
