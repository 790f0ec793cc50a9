/**
 * Where does a chunked body go on, and where does it end (RFC 9112 §7.1)?
 * Owns: following the chunked coding byte by byte, strictly, in both directions; its trailer section.
 * Never: keeps more of a body than one size line or the trailers.
 */
import { withoutBlanks } from "../rules/field-scan.ts";

/** Told of each piece; `bytes` holds only during the call. */
export interface ChunkTaker {
  /** @param payload  bytes of the body in it: less than `bytes.length` when the framing is kept */
  takeChunk(bytes: Buffer, payload: number): void;
}

/** A size line with its extension. Extensions mean nothing to anybody, and are dropped. */
const MAX_SIZE_LINE = 256;
/** The whole trailer section. */
const MAX_TRAILERS = 8_192;

const CR = 0x0d;
const LF = 0x0a;

/** Value of a hex digit; 255 for every other byte. */
const HEX = new Uint8Array(256).fill(255);
for (let digit = 0; digit < 16; digit++) {
  HEX[digit.toString(16).charCodeAt(0)] = digit;
  HEX[digit.toString(16).toUpperCase().charCodeAt(0)] = digit;
}

const SIZE = 0;
const DATA = 1;
const DATA_END = 2;
const TRAILERS = 3;
const DONE = 4;

/** Extensions by the letter (RFC 9112 §7.1.1), without blanks: a lone quote or an empty name is where parsers differ. */
const SIZE_LINE =
  /^0*([0-9A-Fa-f]{1,8})(?:;[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"))?)*\r\n$/;
/** What may still become one. */
const SIZE_BEGINS = /^[0-9A-Fa-f]+(?:$|\r\n?$|;)/;
/** Trailers that frame (RFC 9110 §6.5.1 forbids them) are how a body gets two ends; Node's parser refuses them too. */
const TRAILER = /^(?!(?:content-length|transfer-encoding):)([!#$%&'*+\-.^_`|~0-9a-z]+):([\t\x20-\x7e\x80-\xff]*)$/i;

export class ChunkFollower {
  #state = SIZE;
  /** Of the chunk at hand, its CRLF included. */
  #left = 0;
  /** A line that began in an earlier packet. */
  #line = "";
  #trailers: string[] = [];
  #trailerBytes = 0;

  /** Broken, because a size line or the trailers had no end. */
  isTooLong = false;

  get isDone(): boolean {
    return this.#state === DONE;
  }

  /** Flat list, names in lower case; all of them, whatever they say. */
  get trailers(): readonly string[] {
    return this.#trailers;
  }

  /** Ready for the next body. */
  reset(): void {
    this.#state = SIZE;
    this.#left = 0;
    this.#line = "";
    this.#trailers = [];
    this.#trailerBytes = 0;
  }

  /**
   * @param keepsFraming  pieces are given with their chunk framing (extensions cut off), all but the last chunk and the
   *                      trailers: a relay then costs one write a packet
   * @returns the position behind what belongs to the body (the end of `bytes` unless `isDone`); -1 when it is broken
   */
  follow(bytes: Buffer, from: number, taker: ChunkTaker, keepsFraming: boolean): number {
    const end = bytes.length;
    let at = from;
    /** What may go on as it is: bytes from here, with this much payload. */
    let run = from;
    let payload = 0;
    while (at < end && this.#state !== DONE) {
      if (this.#state === DATA) {
        const size = Math.min(this.#left, end - at);
        if (!keepsFraming) taker.takeChunk(bytes.subarray(at, at + size), size);
        payload += size;
        at += size;
        this.#left -= size;
        if (this.#left === 0) {
          this.#state = DATA_END;
          this.#left = 2;
        }
      } else if (this.#state === DATA_END) {
        // A chunk that is longer than its size shows here.
        if (bytes[at] !== (this.#left === 2 ? CR : LF)) {
          if (keepsFraming && at > run) taker.takeChunk(bytes.subarray(run, at), payload);
          return -1;
        }
        at++;
        if (--this.#left === 0) this.#state = SIZE;
      } else if (this.#state === SIZE) {
        const line = at;
        const quick = this.#line === "" ? this.#quickSize(bytes, at, end) : 0;
        if (quick > 0) {
          at = quick;
          if ((this.#state as number) === DATA) continue;
        }
        if (keepsFraming && line > run) taker.takeChunk(bytes.subarray(run, line), payload);
        payload = 0;
        if (quick === 0) at = this.#slowSize(bytes, at, end);
        if (at < 0) return -1;
        if (keepsFraming && (this.#state as number) === DATA) {
          taker.takeChunk(Buffer.from(`${this.#left.toString(16)}\r\n`, "latin1"), 0);
        }
        run = at;
      } else {
        at = this.#trailerLine(bytes, at, end);
        if (at < 0) return -1;
        run = at;
      }
    }
    if (keepsFraming && at > run) taker.takeChunk(bytes.subarray(run, at), payload);
    return at;
  }

  /** A whole size line without extension: the position behind it, or 0. */
  #quickSize(bytes: Buffer, from: number, end: number): number {
    let at = from;
    let size = 0;
    while (at < end) {
      const digit = HEX[bytes[at] as number] as number;
      if (digit === 255) break;
      size = size * 16 + digit;
      at++;
    }
    // 8 digits are 4 GiB.
    if (at === from || at - from > 8 || at + 1 >= end || bytes[at] !== CR || bytes[at + 1] !== LF) return 0;
    this.#begin(size);
    return at + 2;
  }

  #slowSize(bytes: Buffer, from: number, end: number): number {
    const at = this.#takeLine(bytes, from, end, MAX_SIZE_LINE);
    if (at < 0 || !this.#line.endsWith("\n")) return at;
    const size = SIZE_LINE.exec(this.#line)?.[1];
    this.#line = "";
    if (size === undefined) return -1;
    this.#begin(Number.parseInt(size, 16));
    return at;
  }

  #begin(size: number): void {
    this.#left = size;
    this.#state = size === 0 ? TRAILERS : DATA;
  }

  #trailerLine(bytes: Buffer, from: number, end: number): number {
    const at = this.#takeLine(bytes, from, end, MAX_TRAILERS);
    if (at < 0 || !this.#line.endsWith("\n")) return at;
    const line = this.#line.slice(0, -2);
    const isEnded = this.#line.endsWith("\r\n");
    this.#line = "";
    this.#trailerBytes += line.length + 2;
    if (!isEnded || this.#trailerBytes > MAX_TRAILERS) return -1;
    if (line === "") {
      this.#state = DONE;
      return at;
    }
    const field = TRAILER.exec(line);
    if (field === null) return -1;
    this.#trailers.push((field[1] ?? "").toLowerCase(), withoutBlanks(field[2] ?? ""));
    return at;
  }

  #takeLine(bytes: Buffer, from: number, end: number, limit: number): number {
    const lineEnd = bytes.indexOf(LF, from);
    const at = lineEnd < 0 ? end : lineEnd + 1;
    if (this.#line.length + at - from > limit) {
      this.isTooLong = true;
      return -1;
    }
    this.#line += bytes.toString("latin1", from, at);
    // What cannot become a size line need not wait for its end.
    if (this.#state === SIZE && !SIZE_BEGINS.test(this.#line)) return -1;
    return at;
  }
}

/** The end of a chunked body. */
export function lastChunk(trailers: readonly string[]): string {
  if (trailers.length === 0) return "0\r\n\r\n";
  let text = "0\r\n";
  for (let at = 0; at < trailers.length; at += 2) text += `${trailers[at]}: ${trailers[at + 1]}\r\n`;
  return `${text}\r\n`;
}
