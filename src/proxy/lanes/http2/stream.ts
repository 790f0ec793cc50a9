/**
 * One stream: what has come, what may go, and is it over?
 * Owns: both windows, bytes that wait on either side, the end of each side (RFC 9113 §5.1, §5.2).
 * Never: knows what is asked or answered.
 */
import type { AnswerHead } from "../../upstream/answer-head.ts";
import type { Connection } from "./connection.ts";
import { CODE, FRAME_HEAD, MAX_WINDOW } from "./frames.ts";
import { mostOfFlat, mostOfHead, putDate, putFlat, putHead, putLength, putStatus } from "./hpack-encoder.ts";

/** Whoever a stream is for. Nothing is told before `attach`, and no data before `read`. */
export interface StreamUser {
  /** The bytes may be kept. Each is to be given back with `credit` when it is used up. */
  onClientData(bytes: Buffer): void;
  /** END_STREAM. @param trailers  flat list */
  onClientEnd(trailers: readonly string[]): void;
  /** What was written is gone, and so is the end if it was said: more may follow. */
  onWritable(): void;
  /** Once, when both sides have ended or it was reset. @param isWhole  our side has ended as it should */
  onClosed(isWhole: boolean): void;
}

/** Bytes of a stream that may be on their way to a slow target; the default of 65,535 is slow over a long way. */
export const STREAM_WINDOW = 262_144;
/** Smaller pieces of one turn are put together: each would cost more than its bytes on the way to the target. */
const CRUMB = 2_048;

const NOTHING: Buffer = Buffer.alloc(0);
const NONE: readonly string[] = [];

export class Stream {
  readonly id: number;
  readonly connection: Connection;
  sendWindow: number;
  /** What the client may still send. */
  receiveLeft = STREAM_WINDOW;
  isRemoteClosed = false;
  isLocalClosed = false;
  isClosed = false;
  /** The head of an answer is out. */
  hasAnswered = false;
  /** A tunnel may wait for its reader as long as it likes. */
  isPatient = false;
  /** On the coarse clock: since when the client takes nothing of what waits. */
  owedSince = 0;
  #user: StreamUser | undefined;
  #isReading = false;
  #held: Buffer = NOTHING;
  #heldLength = 0;
  /** Set with END_STREAM. */
  #trailers: readonly string[] | undefined;
  #isEndTold = false;
  /** Received and not given back yet. */
  #unread = 0;
  #uncredited = 0;
  #pending: Buffer = NOTHING;
  #isEnding = false;
  #lastFields: readonly string[] = NONE;

  constructor(connection: Connection, id: number, sendWindow: number) {
    this.connection = connection;
    this.id = id;
    this.sendWindow = sendWindow;
  }

  attach(user: StreamUser): void {
    this.#user = user;
  }

  // The client's side.

  /** From now on data is given; what has come is given now. */
  read(): void {
    this.#isReading = true;
    this.deliver();
  }

  take(bytes: Buffer): void {
    this.#unread += bytes.length;
    if (this.#isReading && bytes.length >= CRUMB && this.#heldLength === 0) {
      this.#user?.onClientData(bytes);
      return;
    }
    const length = this.#heldLength + bytes.length;
    if (length > this.#held.length) {
      const larger = Buffer.allocUnsafe(Math.max(length, this.#held.length * 2, 256));
      this.#held.copy(larger, 0, 0, this.#heldLength);
      this.#held = larger;
    }
    this.#held.set(bytes, this.#heldLength);
    this.#heldLength = length;
    if (this.#isReading) this.connection.deliverSoon(this);
  }

  ended(trailers: readonly string[]): void {
    this.isRemoteClosed = true;
    this.#trailers = trailers;
    if (this.#heldLength > 0 && this.#isReading) {
      this.connection.deliverSoon(this);
      return;
    }
    this.deliver();
    this.#closeIfDone();
  }

  deliver(): void {
    if (!this.#isReading || this.isClosed) return;
    if (this.#heldLength > 0) {
      const bytes = this.#held.subarray(0, this.#heldLength);
      this.#held = NOTHING;
      this.#heldLength = 0;
      this.#user?.onClientData(bytes);
    }
    if (this.#trailers === undefined || this.#isEndTold || this.isClosed) return;
    this.#isEndTold = true;
    this.#user?.onClientEnd(this.#trailers);
    this.#closeIfDone();
  }

  /** So many bytes were used up: the client may send as many again. */
  credit(bytes: number): void {
    if (this.isClosed) return;
    this.#unread -= bytes;
    this.connection.credit(bytes);
    if (this.isRemoteClosed) return;
    this.#uncredited += bytes;
    if (this.#uncredited < STREAM_WINDOW / 2) return;
    this.receiveLeft += this.#uncredited;
    this.connection.sender.sayWindow(this.id, this.#uncredited);
    this.#uncredited = 0;
  }

  /** Bytes of a DATA frame that were no body. */
  padding(bytes: number): void {
    if (this.isClosed) {
      this.connection.credit(bytes);
      return;
    }
    this.#unread += bytes;
    this.credit(bytes);
  }

  // Our side.

  /** The head of an answer as the target gave it. */
  answer(head: AnswerHead, contentLength: number, isEnd: boolean): void {
    if (!this.#begin(mostOfHead(head))) return;
    const { output, date } = this.connection.sender;
    const { buffer } = output;
    let at = putStatus(buffer, this.#blockStart(), head.status);
    at = putHead(buffer, at, head);
    if (contentLength >= 0) at = putLength(buffer, at, contentLength);
    if (!head.hasDate) at = putDate(buffer, at, date);
    this.hasAnswered = true;
    this.#endBlock(at, isEnd);
  }

  /** @param flat  names in lower case; framing and hop-by-hop fields are left out. 1xx goes before the answer. */
  answerWith(status: number, flat: readonly string[], isEnd: boolean): void {
    if (this.hasAnswered || !this.#begin(mostOfFlat(flat))) return;
    const { output, date } = this.connection.sender;
    let at = putStatus(output.buffer, this.#blockStart(), status);
    at = putFlat(output.buffer, at, flat);
    if (status >= 200) {
      this.hasAnswered = true;
      if (!flat.some((name, index) => index % 2 === 0 && name === "date")) at = putDate(output.buffer, at, date);
    }
    this.#endBlock(at, isEnd);
  }

  #begin(most: number): boolean {
    if (this.isClosed || this.isLocalClosed) return false;
    this.connection.sender.output.room(FRAME_HEAD + 1 + most);
    return true;
  }

  #blockStart(): number {
    return this.connection.sender.beginBlock(this.connection.sender.output.at + FRAME_HEAD);
  }

  #endBlock(end: number, isEnd: boolean): void {
    this.connection.sender.endBlock(this.id, end, isEnd);
    if (isEnd) this.#localEnd();
  }

  /**
   * A piece of the body; its memory is free again at once.
   * @param isEnd  nothing follows, but for `fields`, the trailers
   * @returns false when some of it waits for the client: write no more until onWritable
   */
  write(bytes: Buffer, isEnd = false, fields: readonly string[] = NONE): boolean {
    if (this.isClosed || this.isLocalClosed || this.#isEnding) return true;
    this.#isEnding = isEnd;
    this.#lastFields = fields;
    if (this.#pending.length > 0) {
      this.#pending = Buffer.concat([this.#pending, bytes]);
      return false;
    }
    const sent = this.#send(bytes, bytes.length);
    if (sent === bytes.length) return true;
    this.#pending = Buffer.from(bytes.subarray(sent));
    this.owedSince = this.connection.now;
    this.connection.sender.waits(this);
    return false;
  }

  get isWaiting(): boolean {
    return this.#pending.length > 0;
  }

  /** What waits goes on, at most so much. @returns bytes that went */
  sendMore(most: number): number {
    const sent = this.#send(this.#pending, most);
    if (sent === 0) return 0;
    this.owedSince = this.connection.now;
    this.#pending = sent === this.#pending.length ? NOTHING : this.#pending.subarray(sent);
    if (this.#pending.length === 0) this.#user?.onWritable();
    return sent;
  }

  #send(bytes: Buffer, most: number): number {
    const room = this.connection.sender.roomFor(this.sendWindow);
    const size = Math.min(bytes.length, most, room);
    const isAll = this.#isEnding && size === bytes.length;
    const endsHere = isAll && this.#lastFields.length === 0;
    if (size > 0 || endsHere) this.connection.sender.sendData(this.id, bytes, size, endsHere);
    this.sendWindow -= size;
    if (!isAll) return size;
    if (!endsHere) {
      this.connection.sender.output.room(FRAME_HEAD + 1 + mostOfFlat(this.#lastFields));
      const at = putFlat(this.connection.sender.output.buffer, this.#blockStart(), this.#lastFields);
      this.connection.sender.endBlock(this.id, at, true);
    }
    this.#localEnd();
    return size;
  }

  #localEnd(): void {
    this.isLocalClosed = true;
    this.#closeIfDone();
  }

  /** WINDOW_UPDATE, or SETTINGS that change the first window. @returns false past the largest window there may be */
  widen(bytes: number): boolean {
    this.sendWindow += bytes;
    return this.sendWindow <= MAX_WINDOW;
  }

  #closeIfDone(): void {
    // Crumbs that are still to be given are given first.
    if (this.isLocalClosed && this.isRemoteClosed && (this.#isEndTold || !this.#isReading)) this.#close();
  }

  /** RST_STREAM, now: what waits is dropped. */
  reset(code: number): void {
    if (this.isClosed) return;
    this.connection.sender.sayReset(this.id, code);
    this.connection.wasReset(this.id);
    this.#close();
  }

  /** An error of its client (RFC 9113 §8.1.1), which counts against it. */
  resetMalformed(): void {
    this.reset(CODE.PROTOCOL_ERROR);
    this.connection.wasted();
  }

  /** The answer is whole: a body that still comes is called off (RFC 9113 §8.1). */
  callOff(): void {
    if (this.isLocalClosed && !this.isRemoteClosed && !this.isClosed) this.connection.callOff(this);
  }

  /** The client reset it, or the connection is gone. */
  drop(): void {
    if (!this.isClosed) this.#close();
  }

  #close(): void {
    this.isClosed = true;
    this.#pending = NOTHING;
    this.#held = NOTHING;
    this.#heldLength = 0;
    this.connection.credit(this.#unread);
    this.#unread = 0;
    this.connection.closed(this);
    this.#user?.onClosed(this.isLocalClosed);
  }
}
