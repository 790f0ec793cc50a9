/**
 * Where does each frame begin and end, however its bytes arrive (RFC 9113 §3.4, §4.1)?
 * Owns: the connection preface, frames cut into packets anyhow, DATA as it comes without its padding.
 * Never: knows streams; holds more than one frame, and of a DATA frame nothing.
 */
import { CODE, FLAG, FRAME, FRAME_HEAD, FRAME_SIZE, uint32 } from "./frames.ts";

export interface FrameTaker {
  /** Nothing more is wanted. */
  readonly isOver: boolean;
  /** A whole frame that is not DATA; the bytes hold during the call. */
  frame(type: number, flags: number, stream: number, bytes: Buffer, start: number, end: number): void;
  /** @param length  of the payload, padding included */
  dataBegins(stream: number, flags: number, length: number): void;
  /** The bytes may be kept. */
  dataPiece(bytes: Buffer): void;
  dataEnds(): void;
  /** The connection is broken. @param code  what RFC 9113 calls it */
  broken(code: number): void;
}

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const NOTHING: Buffer = Buffer.alloc(0);

export class FrameReader {
  readonly #taker: FrameTaker;
  #prefaceAt = 0;
  /** A frame of which not all has come: room for it, and how much is there. */
  #part: Buffer = NOTHING;
  #partAt = 0;
  /** Of the DATA frame under way; -1 when there is none. */
  #dataLeft = -1;
  #padding = 0;
  #isPaddingUnknown = false;

  constructor(taker: FrameTaker) {
    this.#taker = taker;
  }

  read(chunk: Buffer): void {
    const taker = this.#taker;
    let at = this.#prefaceAt < PREFACE.length ? this.#preface(chunk) : 0;
    while (at < chunk.length && !taker.isOver) {
      if (this.#dataLeft >= 0) at = this.#data(chunk, at);
      else if (this.#part.length > 0) at = this.#continue(chunk, at);
      else if (chunk.length - at < FRAME_HEAD) at = this.#begin(chunk, at, FRAME_HEAD);
      else {
        const length = lengthAt(chunk, at);
        if (length > FRAME_SIZE) return taker.broken(CODE.FRAME_SIZE_ERROR);
        if (chunk[at + 3] === FRAME.DATA) at = this.#dataBegins(chunk, at);
        else if (chunk.length - at < FRAME_HEAD + length) at = this.#begin(chunk, at, FRAME_HEAD + length);
        else at = this.#whole(chunk, at, length);
      }
    }
  }

  #preface(chunk: Buffer): number {
    let at = 0;
    while (at < chunk.length && this.#prefaceAt < PREFACE.length) {
      if (chunk[at++] === PREFACE[this.#prefaceAt++]) continue;
      this.#taker.broken(CODE.PROTOCOL_ERROR);
      break;
    }
    return at;
  }

  #begin(chunk: Buffer, at: number, size: number): number {
    this.#part = Buffer.allocUnsafe(size);
    this.#partAt = chunk.copy(this.#part, 0, at);
    return chunk.length;
  }

  #continue(chunk: Buffer, from: number): number {
    const copied = chunk.copy(this.#part, this.#partAt, from);
    this.#partAt += copied;
    const at = from + copied;
    if (this.#partAt < this.#part.length) return at;
    const part = this.#part;
    const length = lengthAt(part, 0);
    if (length > FRAME_SIZE) {
      this.#taker.broken(CODE.FRAME_SIZE_ERROR);
    } else if (part[3] === FRAME.DATA) {
      this.#part = NOTHING;
      this.#dataBegins(part, 0);
    } else if (part.length < FRAME_HEAD + length) {
      this.#part = Buffer.allocUnsafe(FRAME_HEAD + length);
      this.#part.set(part);
    } else {
      this.#part = NOTHING;
      this.#whole(part, 0, length);
    }
    return at;
  }

  #whole(bytes: Buffer, at: number, length: number): number {
    const start = at + FRAME_HEAD;
    const stream = uint32(bytes, at + 5) & 0x7fff_ffff;
    this.#taker.frame(bytes[at + 3] as number, bytes[at + 4] as number, stream, bytes, start, start + length);
    return start + length;
  }

  #dataBegins(bytes: Buffer, at: number): number {
    const flags = bytes[at + 4] as number;
    const length = lengthAt(bytes, at);
    this.#padding = 0;
    this.#isPaddingUnknown = (flags & FLAG.PADDED) !== 0;
    if (this.#isPaddingUnknown && length === 0) {
      this.#taker.broken(CODE.FRAME_SIZE_ERROR);
      return at + FRAME_HEAD;
    }
    this.#dataLeft = length;
    this.#taker.dataBegins(uint32(bytes, at + 5) & 0x7fff_ffff, flags, length);
    if (length === 0) this.#dataEnds();
    return at + FRAME_HEAD;
  }

  #data(chunk: Buffer, from: number): number {
    let at = from;
    if (this.#isPaddingUnknown) {
      this.#padding = chunk[at++] as number;
      this.#isPaddingUnknown = false;
      if (--this.#dataLeft < this.#padding) {
        this.#taker.broken(CODE.PROTOCOL_ERROR);
        return at;
      }
    }
    const size = Math.min(this.#dataLeft, chunk.length - at);
    const body = Math.min(size, this.#dataLeft - this.#padding);
    this.#dataLeft -= size;
    if (body > 0) this.#taker.dataPiece(chunk.subarray(at, at + body));
    if (this.#dataLeft === 0) this.#dataEnds();
    else if (this.#dataLeft < this.#padding) this.#padding = this.#dataLeft;
    return at + size;
  }

  #dataEnds(): void {
    this.#dataLeft = -1;
    this.#taker.dataEnds();
  }
}

function lengthAt(bytes: Buffer, at: number): number {
  return ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
}
