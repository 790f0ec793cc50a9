/**
 * Where does the body of an answer end?
 * Owns: counting a Content-Length and reading the chunked coding (RFC 9112 §7.1), strictly.
 * Never: keeps more of a body than one size line.
 */
import type { AnswerHead } from "./head.ts";

export interface BodyReader {
  /** Payload of these bytes in order; stops at the end of the body and drops what follows. @throws Error when broken */
  read(bytes: Buffer): Buffer[];
  readonly isComplete: boolean;
  /** The connection ended: is the body whole? */
  endOfConnection(): boolean;
}

/** A size line with its extension; extensions mean nothing to anybody. */
const MAX_SIZE_LINE = 256;
/** 8 digits are 4 GiB. Extensions by the letter (RFC 9112 §7.1.1), without blanks: where they are lax parsers differ. */
const SIZE_LINE =
  /^0*([0-9a-f]{1,8})(?:;[!#$%&'*+\-.^_`|~0-9a-z]+(?:=(?:[!#$%&'*+\-.^_`|~0-9a-z]+|"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"))?)*$/i;
/** Trailers that frame (RFC 9110 §6.5.1 forbids them) are how a body gets two ends. */
const TRAILER = /^(?!(?:content-length|transfer-encoding):)[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*$/i;
/** Trailers are dropped here, so there is no reason to read many. */
const MAX_TRAILERS = 8_192;

export function createBodyReader({ body, contentLength }: Pick<AnswerHead, "body" | "contentLength">): BodyReader {
  if (body === "chunked") return new ChunkedBody();
  return new CountedBody(body === "close" ? Number.POSITIVE_INFINITY : body === "length" ? contentLength : 0);
}

class CountedBody implements BodyReader {
  #left: number;
  constructor(length: number) {
    this.#left = length;
  }
  get isComplete(): boolean {
    return this.#left === 0;
  }
  read(bytes: Buffer): Buffer[] {
    const piece = bytes.length > this.#left ? bytes.subarray(0, this.#left) : bytes;
    this.#left -= piece.length;
    return piece.length === 0 ? [] : [piece];
  }
  endOfConnection(): boolean {
    return this.#left === 0 || this.#left === Number.POSITIVE_INFINITY;
  }
}

class ChunkedBody implements BodyReader {
  #state: "size" | "data" | "data-end" | "trailers" | "done" = "size";
  #line = "";
  #left = 0;
  #trailerBytes = 0;

  get isComplete(): boolean {
    return this.#state === "done";
  }

  endOfConnection(): boolean {
    return this.isComplete;
  }

  read(bytes: Buffer): Buffer[] {
    const pieces: Buffer[] = [];
    let at = 0;
    while (at < bytes.length && this.#state !== "done") {
      if (this.#state === "data") {
        const piece = bytes.subarray(at, at + this.#left);
        pieces.push(piece);
        at += piece.length;
        this.#left -= piece.length;
        if (this.#left === 0) this.#state = "data-end";
        continue;
      }
      const end = bytes.indexOf(0x0a, at);
      this.#line += bytes.toString("latin1", at, end < 0 ? bytes.length : end + 1);
      const limit = this.#state === "trailers" ? MAX_TRAILERS : MAX_SIZE_LINE;
      if (this.#line.length > limit) throw new Error("line too long");
      if (end < 0) break;
      at = end + 1;
      if (!this.#line.endsWith("\r\n")) throw new Error("line end");
      const line = this.#line.slice(0, -2);
      this.#line = "";
      this.#take(line);
    }
    return pieces;
  }

  #take(line: string): void {
    if (this.#state === "data-end") {
      if (line !== "") throw new Error("chunk longer than its size");
      this.#state = "size";
    } else if (this.#state === "size") {
      const size = SIZE_LINE.exec(line)?.[1];
      if (size === undefined) throw new Error("chunk size");
      this.#left = Number.parseInt(size, 16);
      this.#state = this.#left === 0 ? "trailers" : "data";
    } else {
      this.#trailerBytes += line.length;
      if (this.#trailerBytes > MAX_TRAILERS) throw new Error("too many trailers");
      if (line === "") this.#state = "done";
      else if (!TRAILER.test(line)) throw new Error("trailer");
    }
  }
}
