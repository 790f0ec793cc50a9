/**
 * What does each frame of a client do, and which of them may not be (RFC 9113 §5, §6)?
 * Owns: header blocks, the order of streams, what the client's windows allow it.
 * Never: writes an answer.
 */
import { flatOf, isMalformed } from "./field.ts";
import type { Connection } from "./connection.ts";
import type { FrameTaker } from "./frame-reader.ts";
import { CODE, FLAG, FRAME, MAX_WINDOW, uint32 } from "./frames.ts";
import type { Home } from "./home.ts";
import { type BlockLimits, HpackDecoder } from "./hpack-decoder.ts";
import { takeSettings } from "./settings.ts";
import { Stream } from "./stream.ts";

/** Frames of one header block: 16 KB each, so more of them are only there to keep us busy. */
const MAX_CONTINUATIONS = 8;
/** Compressed, and with room for a head that is told in words to be too large. */
const BLOCK_SIZE = 98_304;
/** Pseudo headers, and cookies in pieces (RFC 9113 §8.2.3), beside the fields that check-request counts. */
const CRUMBS = 32;
/** Streams that we reset: what was on its way by then is no error. */
const REMEMBERED = 256;

const NOTHING: Buffer = Buffer.alloc(0);
const NONE: readonly string[] = [];

/** A header block that has begun. */
interface Block {
  stream: number;
  isEnd: boolean;
  bytes: Buffer;
  frames: number;
}

export class Receiver implements FrameTaker {
  /** The newest that we serve; for GOAWAY. */
  lastStream = 0;
  /** GOAWAY is said for good: new streams are not for us. */
  isClosing = false;
  /** What the client may still send, all streams together. */
  windowLeft: number;
  readonly #connection: Connection;
  readonly #home: Home;
  readonly #decoder: HpackDecoder;
  readonly #blockLimits: BlockLimits;
  readonly #mostOfBlock: number;
  readonly #reset = new Set<number>();
  #newest = 0;
  #isGreeted = false;
  #block: Block | undefined;
  #blockSince = 0;
  /** The stream of the DATA frame under way; undefined when it is dropped. */
  #data: Stream | undefined;
  #isDataEnd = false;
  /** Of the frame under way, padding included: what was no body is given back at its end. */
  #dataLength = 0;

  constructor(connection: Connection, home: Home, window: number) {
    this.windowLeft = window;
    const { headSize, headFields } = connection.limits;
    this.#connection = connection;
    this.#home = home;
    this.#decoder = new HpackDecoder(home.huffman);
    this.#blockLimits = { maxBytes: headSize, maxFields: headFields + CRUMBS };
    this.#mostOfBlock = Math.max(BLOCK_SIZE, headSize * 2);
  }

  get isOver(): boolean {
    return this.#connection.isOver;
  }

  broken(code: number): void {
    this.#connection.end("h2_frames", code);
  }

  isHeadLate(now: number): boolean {
    return this.#block !== undefined && now - this.#blockSince >= this.#connection.limits.headMs;
  }

  forget(stream: number): void {
    this.#reset.add(stream);
    if (this.#reset.size <= REMEMBERED) return;
    for (const oldest of this.#reset) {
      this.#reset.delete(oldest);
      break;
    }
  }

  /** An error of one stream (§5.4.2), and of its client. */
  #streamError(id: number, code: number): void {
    const stream = this.#connection.streams.get(id);
    if (stream === undefined) this.#refuse(id, code);
    else stream.reset(code);
    this.#connection.wasted();
  }

  /** A reset of a stream that there is not. */
  #refuse(id: number, code: number): void {
    this.#connection.sender.sayReset(id, code);
    this.forget(id);
  }

  frame(type: number, flags: number, stream: number, bytes: Buffer, start: number, end: number): void {
    const length = end - start;
    if (!this.#isGreeted && type !== FRAME.SETTINGS) return this.broken(CODE.PROTOCOL_ERROR);
    if (this.#block !== undefined && type !== FRAME.CONTINUATION) return this.broken(CODE.PROTOCOL_ERROR);
    switch (type) {
      case FRAME.HEADERS:
        return this.#headers(flags, stream, bytes, start, end);
      case FRAME.CONTINUATION:
        return this.#continuation(flags, stream, bytes, start, end);
      case FRAME.PRIORITY:
        if (stream === 0) return this.broken(CODE.PROTOCOL_ERROR);
        if (length !== 5) this.broken(CODE.FRAME_SIZE_ERROR);
        return;
      case FRAME.RST_STREAM:
        return this.#rstStream(stream, length);
      case FRAME.SETTINGS:
        return this.#settings(flags, stream, bytes, start, end);
      case FRAME.PUSH_PROMISE:
        return this.broken(CODE.PROTOCOL_ERROR);
      case FRAME.PING:
        if (stream !== 0) return this.broken(CODE.PROTOCOL_ERROR);
        if (length !== 8) return this.broken(CODE.FRAME_SIZE_ERROR);
        if ((flags & FLAG.ACK) !== 0) this.#connection.answeredPing();
        else this.#connection.sender.say(FRAME.PING, FLAG.ACK, 0, bytes.subarray(start, end));
        return;
      case FRAME.GOAWAY:
        if (stream !== 0) return this.broken(CODE.PROTOCOL_ERROR);
        if (length < 8) this.broken(CODE.FRAME_SIZE_ERROR);
        return;
      case FRAME.WINDOW_UPDATE:
        return this.#windowUpdate(stream, bytes, start, length);
      default:
        // §5.5: what nobody knows is ignored.
        return;
    }
  }

  #headers(flags: number, stream: number, bytes: Buffer, start: number, end: number): void {
    if (stream % 2 === 0) return this.broken(CODE.PROTOCOL_ERROR);
    let [from, to] = [start, end];
    if ((flags & FLAG.PADDED) !== 0) to -= from < to ? (bytes[from++] as number) : 1;
    if ((flags & FLAG.PRIORITY) !== 0) from += 5;
    if (from > to) return this.broken(from > end || start === end ? CODE.FRAME_SIZE_ERROR : CODE.PROTOCOL_ERROR);
    const isEnd = (flags & FLAG.END_STREAM) !== 0;
    if ((flags & FLAG.END_HEADERS) !== 0) {
      this.#head(stream, isEnd, bytes, from, to);
      return;
    }
    this.#block = { stream, isEnd, bytes: Buffer.from(bytes.subarray(from, to)), frames: 0 };
    this.#blockSince = this.#connection.now;
  }

  #continuation(flags: number, stream: number, bytes: Buffer, start: number, end: number): void {
    const block = this.#block;
    if (block?.stream !== stream) return this.broken(CODE.PROTOCOL_ERROR);
    const isTooLong = block.bytes.length + end - start > this.#mostOfBlock;
    if (isTooLong || ++block.frames > MAX_CONTINUATIONS) return this.#connection.end("h2_head");
    block.bytes = Buffer.concat([block.bytes, bytes.subarray(start, end)]);
    if ((flags & FLAG.END_HEADERS) === 0) return;
    this.#block = undefined;
    this.#head(stream, block.isEnd, block.bytes, 0, block.bytes.length);
  }

  #head(id: number, isEnd: boolean, bytes: Buffer, start: number, end: number): void {
    const connection = this.#connection;
    // Whatever becomes of it: the next block is only understood by who has read this one.
    const fields = this.#decoder.decode(bytes, start, end, this.#blockLimits);
    if (fields === undefined) return this.broken(CODE.COMPRESSION_ERROR);
    const known = connection.streams.get(id);
    if (known !== undefined) {
      if (known.isRemoteClosed) return this.#streamError(id, CODE.STREAM_CLOSED);
      // §8.1: a second head is trailers, and trailers are the end.
      const isBad = this.#decoder.isTooLarge || fields.some(isMalformed);
      if (!isEnd || isBad) return this.#streamError(id, CODE.PROTOCOL_ERROR);
      connection.ledger.earned(end - start);
      known.ended(flatOf(fields));
      return;
    }
    if (id <= this.#newest) {
      if (!this.#reset.has(id)) this.broken(CODE.STREAM_CLOSED);
      return;
    }
    this.#newest = id;
    if (this.isClosing) return this.forget(id);
    this.lastStream = id;
    if (connection.streams.size >= connection.limits.h2.streams) {
      this.#home.context.limitReached("h2_streams", connection.facts.peerAddress);
      return this.#streamError(id, CODE.REFUSED_STREAM);
    }
    const stream = new Stream(connection, id, connection.streamWindow);
    connection.opened(stream);
    if (isEnd) stream.ended(NONE);
    this.#home.turn.arrived({
      stream,
      fields,
      endsAtHead: isEnd,
      isTooLarge: this.#decoder.isTooLarge,
      bytes: end - start,
    });
  }

  #rstStream(id: number, length: number): void {
    if (id === 0 || id > this.#newest) return this.broken(CODE.PROTOCOL_ERROR);
    if (length !== 4) return this.broken(CODE.FRAME_SIZE_ERROR);
    const stream = this.#connection.streams.get(id);
    if (stream === undefined) return;
    this.forget(id);
    stream.drop();
    this.#connection.wasted();
  }

  #settings(flags: number, stream: number, bytes: Buffer, start: number, end: number): void {
    const connection = this.#connection;
    const isAck = (flags & FLAG.ACK) !== 0;
    if (stream !== 0 || (isAck && !this.#isGreeted)) return this.broken(CODE.PROTOCOL_ERROR);
    if ((end - start) % 6 !== 0 || (isAck && end > start)) return this.broken(CODE.FRAME_SIZE_ERROR);
    this.#isGreeted = true;
    if (isAck) return;
    const code = takeSettings(connection, bytes, start, end);
    if (code !== CODE.NO_ERROR) return this.broken(code);
    connection.sender.say(FRAME.SETTINGS, FLAG.ACK, 0, NOTHING);
    connection.sender.pump();
  }

  #windowUpdate(id: number, bytes: Buffer, start: number, length: number): void {
    const connection = this.#connection;
    if (length !== 4) return this.broken(CODE.FRAME_SIZE_ERROR);
    const more = uint32(bytes, start) & MAX_WINDOW;
    if (id === 0) {
      if (more === 0) return this.broken(CODE.PROTOCOL_ERROR);
      if (!connection.sender.widen(more)) return this.broken(CODE.FLOW_CONTROL_ERROR);
      connection.sender.pump();
      return;
    }
    if (id > this.#newest) return this.broken(CODE.PROTOCOL_ERROR);
    const stream = connection.streams.get(id);
    if (stream === undefined) return;
    if (more === 0) return this.#streamError(id, CODE.PROTOCOL_ERROR);
    if (!stream.widen(more)) return this.#streamError(id, CODE.FLOW_CONTROL_ERROR);
    if (stream.isWaiting) connection.sender.pump();
  }

  dataBegins(id: number, flags: number, length: number): void {
    const connection = this.#connection;
    this.#data = undefined;
    if (!this.#isGreeted || this.#block !== undefined || id === 0 || id > this.#newest) {
      return this.broken(CODE.PROTOCOL_ERROR);
    }
    this.windowLeft -= length;
    if (this.windowLeft < 0) return this.broken(CODE.FLOW_CONTROL_ERROR);
    const stream = connection.streams.get(id);
    if (stream === undefined || stream.isRemoteClosed) {
      connection.credit(length);
      if (stream !== undefined) this.#streamError(id, CODE.STREAM_CLOSED);
      else if (!this.#reset.has(id)) this.broken(CODE.STREAM_CLOSED);
      return;
    }
    stream.receiveLeft -= length;
    if (stream.receiveLeft < 0) {
      connection.credit(length);
      return this.#streamError(id, CODE.FLOW_CONTROL_ERROR);
    }
    this.#data = stream;
    this.#isDataEnd = (flags & FLAG.END_STREAM) !== 0;
    this.#dataLength = length;
  }

  dataPiece(bytes: Buffer): void {
    if (this.#data === undefined) return;
    this.#dataLength -= bytes.length;
    this.#connection.ledger.earned(bytes.length);
    if (this.#data.isClosed) this.#connection.credit(bytes.length);
    else this.#data.take(bytes);
  }

  dataEnds(): void {
    const stream = this.#data;
    this.#data = undefined;
    if (stream === undefined) return;
    if (this.#dataLength > 0) stream.padding(this.#dataLength);
    if (this.#isDataEnd && !stream.isClosed) stream.ended(NONE);
  }
}
