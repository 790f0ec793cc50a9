/**
 * One HTTP/1.1 connection in the fast lane: which request is under way, and what comes next?
 * Owns: reading ordinary requests one at a time and in order, handing over whole what is not, pace and end.
 * Never: parses (see fast/head) or moves bodies (see fast/exchange).
 */
import type { Socket } from "node:net";
import type { DenseSetMember } from "../../../core/dense-set.ts";
import { Exchange } from "../../exchange.ts";
import type { LimitName } from "../../../observe/limit-names.ts";
import { errorAnswer } from "../../responses.ts";
import { decide } from "../../rules/policy.ts";
import type { ConnectionFacts } from "../check-request.ts";
import { farewell, partFrom } from "../farewell.ts";
import { localBytes } from "./answer.ts";
import { FastExchange } from "./exchange.ts";
import type { FastHome } from "./home.ts";
import { HeadMemory } from "./memory.ts";
import { addedLines, clientOf, type Standing, standingUnder } from "./standing.ts";

/** Bytes that wait for their turn: a body before its target stands, or pipelined requests. Then the client is not read. */
const MAX_HELD = 65_536;
/**
 * Who has sent FIN behind a whole request may still read (`nc -N`), or may have closed the page: TCP does not tell.
 * Waiting for a target ends then; an answer that flows shows by itself who is there (RFC 9112 §9.6).
 */
const HALF_CLOSED_MS = 2_000;

const LF = 0x0a;
const NOTHING: Buffer = Buffer.alloc(0);
export class FastConnection implements DenseSetMember {
  place = -1;
  readonly socket: Socket;
  readonly facts: ConnectionFacts;
  readonly home: FastHome;
  #current: FastExchange | undefined;
  #standing: Standing | undefined;
  #memory: HeadMemory | undefined;
  #held: Buffer = NOTHING;
  #isPaused = false;
  #served = 0;
  #hasEnded = false;
  #isEnding = false;
  /** Bytes that are still read and dropped behind the last answer. */
  #unreadLeft = 0;
  #isTimed = false;
  /** On the lane's clock: of an idle connection, a head that has begun, a half-closed wait. */
  #dueAt = Number.POSITIVE_INFINITY;

  constructor(home: FastHome, socket: Socket, facts: ConnectionFacts) {
    this.home = home;
    this.socket = socket;
    this.facts = facts;
    socket.on("error", this.#onError);
    socket.on("drain", this.#onDrain);
    socket.on("timeout", this.#onStall);
    socket.on("end", this.#onEnd);
    socket.on("close", this.#onClose);
    home.reading.start(socket, this.#onData);
  }

  readonly #onError = (): void => {};

  readonly #onData = (chunk: Buffer): void => {
    const current = this.#current;
    if (this.#isEnding) this.#drop(chunk.length);
    else if (current === undefined) this.#readMore(chunk);
    else if (current.upload !== undefined && this.#held.length === 0) this.#feed(current, chunk);
    else this.#hold(chunk);
  };

  readonly #onDrain = (): void => this.#current?.drained();

  /** Nothing moved for so long. */
  readonly #onStall = (): void => {
    this.#isTimed = false;
    this.socket.setTimeout(0);
    if (this.socket.writableLength === 0) return;
    this.limitReached("write_stall");
    this.socket.destroy();
  };

  readonly #onEnd = (): void => {
    this.#hasEnded = true;
    const current = this.#current;
    if (current === undefined) this.#finish();
    else if (!current.isRead) this.socket.destroy();
    else this.#dueAt = this.home.clock.now + HALF_CLOSED_MS;
  };

  readonly #onClose = (): void => {
    this.#current?.gone();
    this.#current = undefined;
    this.home.reading.end(this.socket);
    this.#held = NOTHING;
    this.home.closed(this);
  };

  /** Something waits for the client. The timer goes on to the end of the exchange: each write moves it. */
  stalled(): void {
    if (this.#isTimed) return;
    this.#isTimed = true;
    this.socket.setTimeout(this.home.context.limits().writeStallMs);
  }

  limitReached(limit: LimitName): void {
    this.home.context.limitReached(limit, this.facts.peerAddress);
  }

  /** The client is not read until `proceed`. */
  hush(): void {
    this.#isPaused = true;
    this.socket.pause();
  }

  /** The exchange takes (more of) its body now: first what is held. */
  proceed(): void {
    const current = this.#current;
    const held = this.#held;
    // Without an exchange it is the beginning of the next head, which waits for its rest.
    if (held.length > 0 && current !== undefined) {
      this.#held = NOTHING;
      this.#feed(current, held);
    }
    if (this.#isPaused && this.#held.length <= MAX_HELD && current?.upload?.isFull !== true) {
      this.#isPaused = false;
      this.socket.resume();
    }
  }

  #feed(current: FastExchange, bytes: Buffer): void {
    const { upload } = current;
    const taker = upload?.taker;
    let at = 0;
    if (upload !== undefined && taker !== undefined) {
      const { reading } = this.home;
      if (upload.isLong) reading.lend(this.socket, taker);
      at = upload.feed(reading.keep(bytes, taker));
      if (current.upload === undefined) reading.takeBack(this.socket);
    }
    if (this.#current === current && at < bytes.length) this.#hold(at === 0 ? bytes : bytes.subarray(at));
  }

  #hold(bytes: Buffer): void {
    this.#held = this.#held.length === 0 ? this.home.reading.copy(bytes) : Buffer.concat([this.#held, bytes]);
    if (this.#held.length > MAX_HELD) this.hush();
  }

  #readMore(chunk: Buffer): void {
    const held = this.#held;
    if (held.length === 0) {
      this.#read(chunk);
      return;
    }
    const all = Buffer.concat([held, chunk]);
    // Each look at the whole costs more than the one before: at the beginning, where other protocols show, and per line.
    if (chunk.indexOf(LF) >= 0 || all.length <= 32 || all.length > this.home.context.limits().headSize)
      this.#read(all, true);
    else this.#held = all;
  }

  #read(bytes: Buffer, isMore = false): void {
    const { context, reader, clock } = this.home;
    const limits = context.limits();
    this.#held = NOTHING;
    if (this.#served > 0) this.#memory ??= new HeadMemory();
    const end = reader.read(bytes, limits, this.#memory);
    if (end === 0 && bytes.length <= limits.headSize) {
      this.#held = this.home.reading.copy(bytes);
      if (!isMore) this.#dueAt = clock.now + limits.headMs;
    } else if (end <= 0 || end > limits.headSize || !this.#begin(bytes, end)) {
      this.#handOver(bytes);
    }
  }

  /** @returns false for a request that is not for this lane; nothing has happened then */
  #begin(bytes: Buffer, end: number): boolean {
    const { context, reader } = this.home;
    const rules = context.rules();
    const standing = standingUnder(rules, reader.authority, this.facts, this.#standing);
    if (standing === undefined) return false;
    this.#standing = standing;
    const head = reader.head(this.facts, standing.host);
    const decision = decide(head, rules, { draining: context.isDraining() });
    if (decision.kind !== "forward") return false;
    const client = clientOf(standing, head, this.home.ids);
    const text = reader.forTarget(decision.path, standing.canonical, addedLines(standing, client, decision.site, head));
    this.#served++;
    const isLast = reader.isLast || this.#isLastAllowed();
    const current = new FastExchange(this, new Exchange(context, head, decision, client), decision, isLast);
    this.#current = current;
    if (bytes.length > end) this.#hold(bytes.subarray(end));
    current.begin(text);
    return true;
  }

  #isLastAllowed(): boolean {
    if (this.#served < this.home.context.limits().requestsPerConnection) return false;
    this.limitReached("requests_per_connection");
    return true;
  }

  /** @param close  the answer said so, or must not be followed by another */
  done(close: boolean): void {
    this.#current = undefined;
    if (close || this.#hasEnded) {
      this.#finish();
      return;
    }
    if (this.#isTimed) this.socket.setTimeout(0);
    this.#isTimed = false;
    const { now } = this.home.clock;
    this.#dueAt = now + this.home.idleMs();
    this.#memory?.use(now);
    const held = this.#held;
    if (held.length > 0) this.#read(held);
    if (this.#isPaused && this.#current === undefined) this.proceed();
  }

  #drop(bytes: number): void {
    if (this.#unreadLeft <= 0) return;
    this.#unreadLeft -= bytes;
    if (this.#unreadLeft > 0) return;
    this.limitReached("unread_body");
    this.socket.destroySoon();
  }

  /** What is written still goes out, what still comes is dropped; then the connection goes. */
  #finish(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#unreadLeft = this.home.context.limits().unreadBody;
    this.#dueAt = Number.POSITIVE_INFINITY;
    this.#held = NOTHING;
    this.#isPaused = false;
    const { socket } = this;
    if (!this.#hasEnded || socket.writableLength > 0) this.stalled();
    if (this.#hasEnded) partFrom(socket);
    else farewell(socket, { watched: true });
  }

  /** It may ask once more, now or in a moment; that answer will be its last. */
  drain(): void {
    if (this.#current !== undefined || this.#isEnding || this.#held.length > 0) return;
    this.#dueAt = Math.min(this.#dueAt, this.home.clock.now + this.home.idleMs());
  }

  /** Called by the lane. @param now  true time in the clock's milliseconds */
  sweep(now: number): void {
    this.#memory?.fade(now);
    if (now < this.#dueAt) return;
    const current = this.#current;
    if (current !== undefined) {
      if (this.#hasEnded && !current.isAnswered) this.socket.destroy();
    } else if (this.#held.length > 0) {
      this.#tooSlow();
    } else if (!this.#isEnding) {
      if (!this.home.context.isLeaving()) this.limitReached("idle_time");
      this.#finish();
    }
  }

  /** Half a head, and then nothing. */
  #tooSlow(): void {
    const { date } = this.home;
    this.limitReached("head_time");
    const page = errorAnswer(408, { requestId: "-", accept: undefined });
    this.socket.write(localBytes(page, date, { close: true, isHead: false }));
    this.#finish();
  }

  #handOver(bytes: Buffer): void {
    const { socket } = this;
    // Behind the end nothing can be put back, and nobody waits for the answer.
    if (this.#hasEnded || socket.destroyed) {
      this.#finish();
      return;
    }
    this.home.reading.stop(socket, this.#onData);
    socket.off("drain", this.#onDrain);
    socket.off("timeout", this.#onStall);
    socket.off("end", this.#onEnd);
    socket.off("close", this.#onClose);
    socket.pause();
    socket.unshift(this.home.reading.copy(bytes));
    this.home.handOver(this);
    // Listening alone does not set a paused socket going again.
    socket.resume();
    socket.off("error", this.#onError);
  }
}
