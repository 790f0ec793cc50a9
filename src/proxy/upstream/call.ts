/**
 * One request to one target: how far is it?
 * Owns: the state between asking and the last byte, whatever connection carries it; its deadline.
 * Never: reads bytes of an answer or chooses a connection.
 */
import type { Duplex } from "node:stream";
import { GatehouseError } from "../../core/errors.ts";
import { lastChunk } from "./chunks.ts";
import type { UpstreamConnection } from "./connection.ts";
import type { AnswerSink, UpstreamCall, UpstreamRequest } from "./engine.ts";

/** Whose turn it is: a place in the queue, the dial, the request's body, the first byte, the rest of the answer. */
export type Phase = "queue" | "connect" | "send" | "firstByte" | "answer";

/** What a socket may hold of a body before the sender has to wait (bytes). */
const MAX_UNSENT = 262_144;
/** Smaller pieces of a body wait for the end of the turn and go on in one system call (bytes). */
const LARGE = 8_192;

export class Call implements UpstreamCall {
  readonly request: UpstreamRequest;
  readonly sink: AnswerSink;
  phase: Phase = "queue";
  /** On the engine's coarse clock; see `target-line`. */
  dueAt = 0;
  connection: UpstreamConnection | undefined;
  isSent = false;
  isOver = false;
  isPaused = false;
  /** It was sent on a kept connection that died: this time only a new one will do. */
  isRetry = false;
  /** The sink was told to wait. */
  wantsDrain = false;
  isHeard = false;
  #isGathering = false;

  constructor(request: UpstreamRequest, sink: AnswerSink) {
    this.request = request;
    this.sink = sink;
  }

  get taker(): Duplex | undefined {
    return this.connection?.socket;
  }

  /** How long the phase may last (milliseconds). */
  limitMs(): number {
    const { timeouts } = this.request;
    if (this.phase === "firstByte") return timeouts.firstByteMs;
    return this.phase === "queue" || this.phase === "connect" ? timeouts.connectMs : timeouts.idleMs;
  }

  write(bytes: Buffer): boolean {
    if (this.request.body !== "chunked") return this.writeRaw(bytes);
    const socket = this.connection?.socket;
    if (this.isOver || socket === undefined || bytes.length === 0) return true;
    socket.cork();
    socket.write(`${bytes.length.toString(16)}\r\n`, "latin1");
    socket.write(bytes);
    socket.write("\r\n", "latin1");
    socket.uncork();
    return this.#hasRoom(socket.writableLength);
  }

  writeRaw(bytes: Buffer): boolean {
    const socket = this.connection?.socket;
    if (this.isOver || socket === undefined) return true;
    if (bytes.length >= LARGE) {
      // Most of the way it is a TLS record of 16 KiB: written at once it is still in the cache, and its memory free again.
      socket.write(bytes);
      this.#release();
    } else {
      if (!this.#isGathering) {
        this.#isGathering = true;
        socket.cork();
        setImmediate(this.#release);
      }
      socket.write(bytes);
    }
    return this.#hasRoom(socket.writableLength);
  }

  readonly #release = (): void => {
    if (!this.#isGathering) return;
    this.#isGathering = false;
    this.connection?.socket.uncork();
  };

  #hasRoom(waiting: number): boolean {
    this.wantsDrain = waiting > MAX_UNSENT;
    return !this.wantsDrain;
  }

  end(trailers: readonly string[] = []): void {
    if (this.isOver || this.isSent) return;
    if (this.request.body === "chunked") this.connection?.socket.write(lastChunk(trailers), "latin1");
    this.isSent = true;
    this.#release();
    this.connection?.sent();
  }

  pause(): void {
    if (this.isOver || this.isPaused) return;
    this.isPaused = true;
    this.connection?.socket.pause();
  }

  resume(): void {
    if (this.isOver || !this.isPaused) return;
    this.isPaused = false;
    this.connection?.socket.resume();
    this.connection?.progress();
  }

  abort(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.connection?.destroy();
  }

  /** The last word to the sink; the connection is somebody else's matter. */
  fail(error: GatehouseError): void {
    if (this.isOver) return;
    this.isOver = true;
    this.sink.onFailed(error);
  }

  tooSlow(): GatehouseError {
    return this.phase === "queue"
      ? new GatehouseError("GATEHOUSE_UPSTREAM_NONE", { message: "No connection to the target became free in time." })
      : new GatehouseError("GATEHOUSE_UPSTREAM_SLOW", {
          message: `The target was too slow (${this.phase}).`,
          detail: { phase: this.phase },
        });
  }
}
