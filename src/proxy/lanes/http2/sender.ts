/**
 * What is written on one HTTP/2 connection, and whose turn is it?
 * Owns: frames of ours in the output of this turn, the window of all streams together, who waits for room.
 * Never: knows what is asked, or reads.
 */
import type { Socket } from "node:net";
import {
  CODE,
  FIRST_WINDOW,
  FLAG,
  FRAME,
  FRAME_HEAD,
  FRAME_SIZE,
  MAX_WINDOW,
  putFrameHead,
  putUint32,
} from "./frames.ts";
import type { Home } from "./home.ts";
import { Output } from "./output.ts";
import type { Stream } from "./stream.ts";

/** Bytes that one stream may send before it is another's turn. */
const TURN = FRAME_SIZE;
/** Bytes that wait in the socket: a client that takes none of our answers is not asked for more. */
const MAX_UNSENT = 524_288;

export class Sender {
  readonly output: Output;
  readonly date: Home["date"];
  readonly #home: Home;
  readonly #socket: Socket;
  readonly #waiting = new Set<Stream>();
  #window = FIRST_WINDOW;
  #isTouched = false;
  #isFull = false;
  #fullSince = 0;
  #needsSizeUpdate = false;

  constructor(home: Home, socket: Socket) {
    this.#home = home;
    this.#socket = socket;
    this.date = home.date;
    this.output = new Output(home.pool, socket, () => {
      this.#isFull = true;
      this.#fullSince = home.clock.now;
    });
    socket.on("drain", () => this.#drained());
  }

  /** A frame of a few bytes, in this turn. */
  say(type: number, flags: number, stream: number, payload: Buffer): void {
    const { output } = this;
    output.room(FRAME_HEAD + payload.length);
    putFrameHead(output.buffer, output.at, payload.length, type, flags, stream);
    output.buffer.set(payload, output.at + FRAME_HEAD);
    output.at += FRAME_HEAD + payload.length;
    this.touch();
  }

  sayWindow(stream: number, bytes: number): void {
    const payload = Buffer.alloc(4);
    putUint32(payload, 0, bytes);
    this.say(FRAME.WINDOW_UPDATE, 0, stream, payload);
  }

  sayGoaway(last: number, code: number): void {
    const payload = Buffer.alloc(8);
    putUint32(payload, 0, last);
    putUint32(payload, 4, code);
    this.say(FRAME.GOAWAY, 0, 0, payload);
  }

  sayReset(stream: number, code: number): void {
    const payload = Buffer.alloc(4);
    putUint32(payload, 0, code);
    this.say(FRAME.RST_STREAM, 0, stream, payload);
  }

  /** There is something to write at the end of this turn. */
  touch(): void {
    if (this.#isTouched) return;
    this.#isTouched = true;
    this.#home.turn.touched(this);
  }

  flush(): void {
    this.#isTouched = false;
    this.output.flush();
    if (this.#socket.writableLength > MAX_UNSENT) this.#socket.pause();
  }

  #drained(): void {
    this.#isFull = false;
    this.#socket.resume();
    this.pump();
    this.flush();
  }

  /** The client's HEADER_TABLE_SIZE. We have no table, which it must be told when it makes its own smaller. */
  tableShrinks(): void {
    this.#needsSizeUpdate = true;
  }

  /** Where the first field of a header block goes. */
  beginBlock(at: number): number {
    if (!this.#needsSizeUpdate) return at;
    // From now on it is of size 0, and stays below whatever the client says later (RFC 7541 §4.2).
    this.#needsSizeUpdate = false;
    this.output.buffer[at] = 0x20;
    return at + 1;
  }

  endBlock(stream: number, end: number, isEnd: boolean): void {
    const { output } = this;
    const start = output.at + FRAME_HEAD;
    const flags = isEnd ? FLAG.END_STREAM : 0;
    if (end - start <= FRAME_SIZE) {
      putFrameHead(output.buffer, output.at, end - start, FRAME.HEADERS, flags | FLAG.END_HEADERS, stream);
      output.at = end;
      this.touch();
      return;
    }
    const block = Buffer.from(output.buffer.subarray(start, end));
    for (let at = 0; at < block.length; at += FRAME_SIZE) {
      const last = at + FRAME_SIZE >= block.length ? FLAG.END_HEADERS : 0;
      const piece = block.subarray(at, at + FRAME_SIZE);
      this.say(at === 0 ? FRAME.HEADERS : FRAME.CONTINUATION, at === 0 ? flags | last : last, stream, piece);
    }
  }

  /** Bytes of a stream's body that may go now. */
  roomFor(streamWindow: number): number {
    return this.#isFull ? 0 : Math.max(0, Math.min(streamWindow, this.#window));
  }

  /** @param size  no more than `roomFor` said */
  sendData(stream: number, bytes: Buffer, size: number, isEnd: boolean): void {
    const { output } = this;
    let at = 0;
    do {
      const length = Math.min(size - at, FRAME_SIZE);
      const isLast = isEnd && at + length === size;
      output.room(FRAME_HEAD + length);
      putFrameHead(output.buffer, output.at, length, FRAME.DATA, isLast ? FLAG.END_STREAM : 0, stream);
      bytes.copy(output.buffer, output.at + FRAME_HEAD, at, at + length);
      output.at += FRAME_HEAD + length;
      at += length;
    } while (at < size);
    this.#window -= size;
    this.touch();
  }

  waits(stream: Stream): void {
    this.#waiting.add(stream);
  }

  /** Everybody who waits gets a turn, again and again, while there is room. */
  pump(): void {
    for (const stream of this.#waiting) {
      if (this.#isFull || this.#window <= 0) return;
      const sent = stream.sendMore(TURN);
      if (sent === 0 && stream.isWaiting) continue;
      this.#waiting.delete(stream);
      // At the end of the set, where this loop comes by once more.
      if (stream.isWaiting) this.#waiting.add(stream);
    }
  }

  widen(bytes: number): boolean {
    this.#window += bytes;
    return this.#window <= MAX_WINDOW;
  }

  /** @param now  true time, in the milliseconds of the lane's clock */
  isStalled(now: number, limitMs: number): boolean {
    return this.#isFull && now - this.#fullSince >= limitMs;
  }

  /** Streams whose client takes nothing of what waits for it are reset. @returns how many */
  cutStalled(now: number, limitMs: number): number {
    let cut = 0;
    for (const stream of this.#waiting) {
      if (stream.isPatient || now - stream.owedSince < limitMs) continue;
      stream.reset(CODE.INTERNAL_ERROR);
      cut++;
    }
    return cut;
  }

  closed(stream: Stream): void {
    this.#waiting.delete(stream);
  }
}
