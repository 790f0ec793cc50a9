/**
 * What is happening on one connection to a target?
 * Owns: one request at a time on it, the answer read by the letter, and whether it may ever be used again.
 * Never: dials or chooses; any surprise is the end of it (RFC 9112 §9: a response that nobody asked for poisons the next).
 */
import type { Duplex } from "node:stream";
import type { GatehouseError } from "../../core/errors.ts";
import type { DenseSetMember } from "../../core/dense-set.ts";
import { AnswerHead } from "./answer-head.ts";
import type { Call } from "./call.ts";
import { ChunkFollower, type ChunkTaker } from "./chunks.ts";
import { isRepeatable } from "./engine.ts";
import { brokenOff, unreachable } from "./failures.ts";
import { garbage, headTooLong } from "./judge-answer.ts";

/** What a connection tells the line it belongs to. */
export interface ConnectionKeeper {
  /** Coarse milliseconds; see `target-line`. */
  now(): number;
  /** The answer is whole and another may follow. */
  free(connection: UpstreamConnection): void;
  /** It is gone; called once. */
  closed(connection: UpstreamConnection): void;
  /** Its request may be sent again, on a new connection. */
  retry(call: Call): void;
}

/** Fields of one head: twice what common servers send at most. */
const MAX_FIELDS = 200;
/** A 1xx costs nothing to send; past this many the target plays a game. */
const MAX_INFORMATIONAL = 8;

const LF = 0x0a;
const NOTHING: Buffer = Buffer.alloc(0);

export class UpstreamConnection implements ChunkTaker, DenseSetMember {
  place = -1;
  readonly socket: Duplex;
  readonly bornAt: number;
  call: Call | undefined;
  /** Requests it has carried. */
  uses = 0;
  /** While idle: when it is too old to be used. On the coarse clock. */
  idleUntil = 0;
  isConnected = false;
  /** TCP stands, TLS perhaps not yet. */
  isReached = false;
  isClosed = false;
  /** Seconds that the target said it keeps an idle connection; -1 when it did not. */
  keepAliveSeconds = -1;
  readonly #keeper: ConnectionKeeper;
  readonly #head = new AnswerHead();
  readonly #chunks = new ChunkFollower();
  #isInBody = false;
  /** Of a counted body. */
  #left = 0;
  /** The part of a head that has come. */
  #held: Buffer = NOTHING;
  #informational = 0;
  #error: NodeJS.ErrnoException | undefined;
  /** Bytes that waited for the target when its deadline last came. */
  #unsent = 0;

  constructor(socket: Duplex, keeper: ConnectionKeeper) {
    this.socket = socket;
    this.#keeper = keeper;
    this.bornAt = keeper.now();
    socket.on("error", (error) => (this.#error = error));
    socket.once("connect", () => (this.isReached = true));
    socket.on("drain", () => this.#drained());
    socket.on("end", () => this.#ended());
    socket.on("close", () => this.#gone());
  }

  /** Gives the connection, which stands and is idle, its next request. */
  begin(call: Call): void {
    const { socket } = this;
    this.call = call;
    call.connection = this;
    this.uses++;
    this.#isInBody = false;
    this.#informational = 0;
    if (call.request.body === "none") {
      call.isSent = true;
      this.#enter("firstByte");
      socket.write(call.request.head, "latin1");
      call.sink.onConnected(call);
      return;
    }
    this.#enter("send");
    socket.cork();
    socket.write(call.request.head, "latin1");
    call.sink.onConnected(call);
    socket.uncork();
  }

  /** Bytes moved in the right direction. */
  progress(): void {
    if (this.call !== undefined) this.call.dueAt = this.#keeper.now() + this.call.limitMs();
  }

  /** The request is whole. */
  sent(): void {
    if (this.call?.phase === "send") this.#enter("firstByte");
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** The deadline of its request has come. @returns whether it was the target's fault, and the connection is gone */
  expire(): void {
    const { call } = this;
    if (call === undefined || call.isOver) return;
    const unsent = this.socket.writableLength;
    // Whoever holds things up is judged: a client that does not read or send is the lane's matter.
    if (call.isPaused || (call.phase === "send" && (unsent === 0 || unsent !== this.#unsent))) {
      this.#unsent = unsent;
      this.progress();
      return;
    }
    this.#fail(call, call.tooSlow());
  }

  #enter(phase: "send" | "firstByte" | "answer"): void {
    const { call } = this;
    if (call === undefined) return;
    call.phase = phase;
    call.dueAt = this.#keeper.now() + call.limitMs();
  }

  /** Bytes came. They hold during the call only. */
  take(bytes: Buffer): void {
    const { call } = this;
    if (call === undefined || call.isOver) {
      // Nobody asked: on an idle connection this would be read as the answer to the next request.
      this.destroy();
      return;
    }
    call.isHeard = true;
    const at = this.#isInBody ? 0 : this.#takeHeads(call, bytes);
    if (at < 0 || call.isOver) return;
    if (this.#isInBody) this.#takeBody(call, this.#held.length > 0 ? this.#held : bytes, at);
    if (this.call === call && !call.isOver) call.sink.onFlush();
  }

  /** @returns where the body begins in what is held, or in `bytes` when nothing is; -1 when that is all for now */
  #takeHeads(call: Call, bytes: Buffer): number {
    const headBytes = call.request.answerHeadSize;
    const all = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
    const isHead = call.request.method === "HEAD";
    // A head that trickles in is looked at again with each of its lines (200 at most), or when it is too long.
    let from = 0;
    for (;;) {
      const isMore = this.#held.length > 0 && from === 0 && all.length <= headBytes;
      if (isMore && bytes.indexOf(LF) < 0) {
        this.#held = all;
        return -1;
      }
      const end = this.#head.read(all, from, all.length, isHead, MAX_FIELDS);
      if (end < 0) return this.#fail(call, garbage(this.#head.problem));
      if (end === 0 || end - from > headBytes) {
        if (all.length - from > headBytes) return this.#fail(call, headTooLong());
        this.#held = Buffer.from(all.subarray(from));
        return -1;
      }
      from = end;
      if (this.#head.status === 101) return this.#fail(call, garbage("101 without being asked"));
      if (this.#head.status >= 200) break;
      if (++this.#informational > MAX_INFORMATIONAL) return this.#fail(call, garbage("too many informational answers"));
      this.progress();
      call.sink.onInformation(this.#head);
      if (call.isOver) return -1;
      if (from === all.length) {
        this.#held = NOTHING;
        return -1;
      }
    }
    this.#held = all === bytes ? NOTHING : all;
    this.#begun(call);
    return call.isOver ? -1 : from;
  }

  #begun(call: Call): void {
    const head = this.#head;
    this.#enter("answer");
    this.keepAliveSeconds = head.keepAliveSeconds;
    this.#isInBody = true;
    if (head.body === "length") this.#left = head.contentLength;
    else if (head.body === "chunked") this.#chunks.reset();
    call.sink.onHead(head);
  }

  #takeBody(call: Call, bytes: Buffer, from: number): void {
    this.#held = NOTHING;
    const kind = this.#head.body;
    let at = from;
    call.dueAt = this.#keeper.now() + call.request.timeouts.idleMs;
    if (kind === "chunked") {
      at = this.#chunks.follow(bytes, from, this, call.sink.takesFraming);
      if (call.isOver) return;
      if (at < 0) {
        this.#fail(call, garbage("chunked coding"));
        return;
      }
      if (!this.#chunks.isDone) return;
    } else if (kind === "none") {
      // Whole with its head.
    } else {
      const size = kind === "close" ? bytes.length - at : Math.min(this.#left, bytes.length - at);
      if (size > 0) this.takeChunk(size === bytes.length ? bytes : bytes.subarray(at, at + size), size);
      if (call.isOver) return;
      at += size;
      if (kind === "close") return;
      this.#left -= size;
      if (this.#left > 0) return;
    }
    this.#whole(call, at < bytes.length);
  }

  takeChunk(bytes: Buffer, payload: number): void {
    const { call } = this;
    if (call === undefined || call.isOver) return;
    call.sink.onBody(call.sink.keepsBytes ? Buffer.from(bytes) : bytes, payload);
  }

  /** @param hasMore  bytes follow that belong to no answer */
  #whole(call: Call, hasMore: boolean): void {
    const trailers = this.#head.body === "chunked" ? this.#chunks.trailers : [];
    this.call = undefined;
    call.isOver = true;
    this.#isInBody = false;
    // A target that did not want the rest of the request, or says more than it was asked, is of no use to the next one.
    if (call.isPaused) this.socket.resume();
    const isClean = call.isSent && !hasMore && this.#head.isPersistent && this.socket.writableLength === 0;
    if (isClean) this.#keeper.free(this);
    else this.destroy();
    call.sink.onEnd(trailers);
  }

  /** Ends connection and call; always -1. */
  #fail(call: Call, error: GatehouseError): -1 {
    this.call = undefined;
    this.destroy();
    call.fail(error);
    return -1;
  }

  #drained(): void {
    const { call } = this;
    if (call === undefined || call.isOver) return;
    if (call.phase === "send") this.progress();
    if (!call.wantsDrain) return;
    call.wantsDrain = false;
    call.sink.onDrain();
  }

  /** FIN from the target. */
  #ended(): void {
    const { call } = this;
    if (call !== undefined && !call.isOver && this.#isInBody && this.#head.body === "close") {
      this.#whole(call, false);
      return;
    }
    this.destroy();
  }

  #gone(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    const { call } = this;
    this.call = undefined;
    this.#keeper.closed(this);
    if (call === undefined || call.isOver) return;
    if (this.uses > 1 && !call.isHeard && !call.isRetry && isRepeatable(call.request)) {
      this.#keeper.retry(call);
      return;
    }
    call.fail(this.isConnected ? brokenOff(this.#error) : unreachable(this.#error, this.isReached));
  }
}
