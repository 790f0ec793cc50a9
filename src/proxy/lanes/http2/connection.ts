/**
 * One HTTP/2 connection: what is open on it, and how does it end?
 * Owns: its streams, what the client may send, the two steps of GOAWAY, every way to end.
 * Never: reads frames (see receiver), writes any but the first and the last (see sender), or knows what is asked.
 */
import type { Socket } from "node:net";
import type { LimitsConfig } from "../../../config/model.ts";
import type { DenseSetMember } from "../../../core/dense-set.ts";
import type { LimitName } from "../../../observe/limit-names.ts";
import type { ConnectionFacts } from "../check-request.ts";
import type { Standing } from "../fast/standing.ts";
import { FrameReader } from "./frame-reader.ts";
import { CODE, FIRST_WINDOW, FRAME, MAX_WINDOW } from "./frames.ts";
import type { Home } from "./home.ts";
import { Ledger } from "./ledger.ts";
import { Receiver } from "./receiver.ts";
import { Sender } from "./sender.ts";
import { ourSettings } from "./settings.ts";
import type { Stream } from "./stream.ts";

/** Bytes that the client may send before they are used up, on all streams of a connection together. */
const WINDOW = 1_048_576;
/** After GOAWAY: what an idle client needs to close its end; and how long it may take to answer our PING (milliseconds). */
const LAST_WORDS_MS = 1_000;
export class Connection implements DenseSetMember {
  place = -1;
  readonly socket: Socket;
  readonly facts: ConnectionFacts;
  readonly limits: LimitsConfig;
  readonly sender: Sender;
  readonly ledger: Ledger;
  readonly streams = new Map<number, Stream>();
  /** What its last request found out about its client, for the next one. */
  standing: Standing | undefined;
  /** Of our frames, by the client's SETTINGS. */
  streamWindow = FIRST_WINDOW;
  isOver = false;
  readonly #home: Home;
  readonly #receiver: Receiver;
  readonly #reader: FrameReader;
  #uncredited = 0;
  #isDraining = false;
  /** Until then our PING is waited for; 0 when it is not. */
  #drainBy = 0;
  /** Idle, or saying goodbye, until then; on the coarse clock. */
  #dueAt: number;

  constructor(home: Home, socket: Socket, facts: ConnectionFacts, limits: LimitsConfig) {
    this.#home = home;
    this.socket = socket;
    this.facts = facts;
    this.limits = limits;
    this.sender = new Sender(home, socket);
    this.ledger = new Ledger(limits.h2, home.clock.now);
    this.#receiver = new Receiver(this, home, WINDOW);
    this.#reader = new FrameReader(this.#receiver);
    // From the start on: after ALPN a client may send no preface at all.
    this.#dueAt = home.clock.now + limits.h2.idleMs;
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    // HTTP/2 has no half-closed connections: who ends one direction has left.
    socket.on("end", () => socket.destroy());
    socket.on("close", () => this.#gone());
    this.#greet();
  }

  get now(): number {
    return this.#home.clock.now;
  }

  #greet(): void {
    this.sender.say(FRAME.SETTINGS, 0, 0, ourSettings(this.limits));
    this.sender.sayWindow(0, WINDOW - FIRST_WINDOW);
  }

  #take(chunk: Buffer): void {
    if (this.isOver) return;
    this.ledger.received += chunk.length;
    this.#reader.read(chunk);
    if (!this.isOver && this.ledger.isOverdrawn(this.now, this.sender.output.total)) this.end("h2_frames");
  }

  // What is read.

  deliverSoon(stream: Stream): void {
    this.#home.turn.deliver(stream);
  }

  callOff(stream: Stream): void {
    this.#home.turn.callOff(stream);
  }

  credit(bytes: number): void {
    this.#uncredited += bytes;
    if (this.#uncredited < WINDOW / 2 || this.isOver) return;
    this.#receiver.windowLeft += this.#uncredited;
    this.sender.sayWindow(0, this.#uncredited);
    this.#uncredited = 0;
  }

  opened(stream: Stream): void {
    this.streams.set(stream.id, stream);
  }

  closed(stream: Stream): void {
    this.streams.delete(stream.id);
    this.sender.closed(stream);
    if (this.streams.size > 0 || this.isOver) return;
    this.#dueAt = this.now + this.limits.h2.idleMs;
    if (this.#isDraining) this.#leaveIfDone();
  }

  wasReset(stream: number): void {
    this.#receiver.forget(stream);
  }

  /** A request came to nothing by the client's doing (CVE-2023-44487, CVE-2025-8671). */
  wasted(): void {
    if (this.ledger.wasted(this.now)) this.end("h2_resets");
  }

  // How it ends.

  /** GOAWAY in two steps (RFC 9113 §6.8): what is on its way to us by then is still served. */
  drain(): void {
    if (this.isOver || this.#isDraining) return;
    this.#isDraining = true;
    this.sender.sayGoaway(MAX_WINDOW, CODE.NO_ERROR);
    this.sender.say(FRAME.PING, 0, 0, Buffer.from("drained?"));
    this.#drainBy = this.now + LAST_WORDS_MS;
  }

  /** Every frame that was sent before our GOAWAY came has been read. */
  answeredPing(): void {
    if (!this.#isDraining || this.#drainBy === 0 || this.isOver) return;
    this.#drainBy = 0;
    this.sender.sayGoaway(this.#receiver.lastStream, CODE.NO_ERROR);
    this.#receiver.isClosing = true;
    this.#leaveIfDone();
  }

  #leaveIfDone(): void {
    if (this.#drainBy === 0 && this.streams.size === 0) this.#leave();
  }

  #reached(limit: LimitName): void {
    this.#home.context.limitReached(limit, this.facts.peerAddress);
  }

  /** A limit was reached, or the protocol is broken. */
  end(limit: LimitName, code: number = CODE.ENHANCE_YOUR_CALM): void {
    if (this.isOver) return;
    this.#reached(limit);
    this.sender.sayGoaway(this.#receiver.lastStream, code);
    this.#leave();
  }

  /** What is written goes out; then the connection goes, whether the client takes it or not. */
  #leave(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#dueAt = this.now + LAST_WORDS_MS;
    this.sender.flush();
    for (const stream of this.streams.values()) stream.drop();
    this.sender.flush();
    this.socket.end();
    // What still comes is dropped, so that no reset overtakes the GOAWAY.
    this.socket.resume();
  }

  #gone(): void {
    this.isOver = true;
    for (const stream of this.streams.values()) stream.drop();
    this.sender.flush();
    this.#home.gone(this);
  }

  /** Called by the lane's clock. @param now  true time in its milliseconds */
  sweep(now: number): void {
    const { writeStallMs } = this.limits;
    if (this.isOver) {
      if (now >= this.#dueAt) this.socket.destroy();
      return;
    }
    if (this.sender.isStalled(now, writeStallMs)) {
      this.#reached("write_stall");
      this.socket.destroy();
      return;
    }
    for (let cut = this.sender.cutStalled(now, writeStallMs); cut > 0; cut--) this.#reached("write_stall");
    if (this.#drainBy > 0 && now >= this.#drainBy) this.answeredPing();
    else if (this.#receiver.isHeadLate(now)) this.end("head_time");
    else if (this.streams.size === 0 && now >= this.#dueAt) this.end("h2_idle_time", CODE.NO_ERROR);
  }
}
