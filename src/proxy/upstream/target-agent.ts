/**
 * Which connection to a target takes the next request?
 * Owns: the kept-alive connections of one target and when one may be used again.
 * Never: dials (see `dial`) or reads an answer.
 */
import { Agent, type ClientRequest } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Dialler } from "./dial.ts";

/** Home targets fall over long before this; more requests wait for a free connection. */
const MAX_SOCKETS = 256;
/** Idle connections cost the target memory too. */
const MAX_IDLE = 64;
/** Shorter than what common targets allow a silent client (Apache 5 s and Node 5 s announce theirs, which wins). */
const IDLE_MS = 15_000;

export class TargetAgent extends Agent {
  readonly #dialler: Dialler;
  #isRetired = false;
  readonly #full: () => void;
  #answerHeadSize = 0;

  constructor(dialler: Dialler, options: { keepAlive: boolean; full: () => void }) {
    super({
      keepAlive: options.keepAlive,
      maxSockets: MAX_SOCKETS,
      maxFreeSockets: MAX_IDLE,
      timeout: IDLE_MS,
      // The freshest one is the least likely to have been closed by the target.
      scheduling: "lifo",
    });
    this.#dialler = dialler;
    this.#full = options.full;
  }

  /** Bytes that the head of an answer may have, for requests from now on. */
  accepting(answerHeadSize: number): this {
    this.#answerHeadSize = answerHeadSize;
    return this;
  }

  /** Node calls it with each request. http-proxy lets no option for the size of a head through to it. */
  addRequest(request: ClientRequest, ...others: unknown[]): void {
    Object.assign(request, { maxHeaderSize: this.#answerHeadSize });
    const { target = [] } = this.sockets;
    if (target.length >= MAX_SOCKETS) this.#full();
    const { addRequest } = Agent.prototype as unknown as { addRequest(...given: unknown[]): void };
    addRequest.call(this, request, ...others);
  }

  /** One agent serves one target, so every connection is as good as the next. */
  override getName(): string {
    return "target";
  }

  override createConnection(): Duplex {
    return this.#dialler.dial();
  }

  /** Node adds its own guard while a connection is idle: a byte from the target then destroys it (CVE-2026-48931). */
  override keepSocketAlive(socket: Duplex): boolean {
    // Bytes nobody asked for would be read as the answer to the next request (response queue poisoning). The demo's
    // in-process pipe costs nothing to open, and Node's agent wants the methods of a real socket.
    if (this.#isRetired || !(socket instanceof Socket) || socket.readableLength > 0) return false;
    return super.keepSocketAlive(socket) as unknown as boolean;
  }

  /** Nothing open and nobody waiting. */
  isQuiet(): boolean {
    return [this.sockets, this.freeSockets, this.requests].every((lists) => Object.keys(lists).length === 0);
  }

  /** No connection is kept from now on; idle ones are closed, busy ones when they have answered. */
  retire(): void {
    this.#isRetired = true;
    for (const sockets of Object.values(this.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
  }
}
