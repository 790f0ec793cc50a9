/**
 * The body of one request on its way to the target: how far is it?
 * Owns: its framing, bounds and pace, until it is whole or given up.
 * Never: answers, asks the target, or reads the client.
 */
import type { Duplex } from "node:stream";
import { GatehouseError } from "../../../core/errors.ts";
import type { LimitName } from "../../../observe/limit-names.ts";
import type { Exchange } from "../../exchange.ts";
import { relayedTrailers } from "../../rules/headers.ts";
import { ChunkFollower, type ChunkTaker } from "../../upstream/chunks.ts";
import type { UpstreamCall } from "../../upstream/engine.ts";
import { BodyBounds, bodyRefused } from "../body-bounds.ts";
import { type UploadFacts, watchUpload } from "../upload-pace.ts";

/** Whose body it is. */
export interface Uploader {
  /** A final answer has begun: nobody waits for the body any more. */
  readonly isAnswered: boolean;
  /** Nothing of the request is still to come. Called once, unless the upload is given up before. */
  uploaded(): void;
  /** The target has no room: no more until `Upload.isFull` is false again. */
  full(): void;
  /** Called at most once, and the upload is over with it. @param status  to answer with */
  refuse(limit: LimitName | undefined, error: GatehouseError, status: number): void;
}

/** After so many bytes more are likely. */
const LONG = 65_536;

export class Upload implements ChunkTaker {
  /** The target has no room for more. */
  isFull = false;
  readonly #owner: Uploader;
  readonly #exchange: Exchange;
  readonly #call: UpstreamCall;
  readonly #chunks: ChunkFollower | undefined;
  readonly #bounds: BodyBounds;
  /** Of a counted body. */
  #left: number;
  #isOver = false;
  #stopWatch: (() => void) | undefined;

  /** @param maxBody  bytes; 0: any */
  constructor(owner: Uploader, exchange: Exchange, call: UpstreamCall, maxBody: number) {
    this.#owner = owner;
    this.#exchange = exchange;
    this.#call = call;
    this.#chunks = exchange.head.body === "chunked" ? new ChunkFollower() : undefined;
    this.#left = exchange.head.contentLength;
    this.#bounds = new BodyBounds(maxBody);
  }

  /** So much has come that what comes next is worth memory of its own. */
  get isLong(): boolean {
    return this.#exchange.bytesIn >= LONG;
  }

  get taker(): Duplex | undefined {
    return this.#call.taker;
  }

  /** From now on the client is judged by its pace. @param idleMs  its longest silence */
  watch(idleMs: number, limits: UploadFacts["limits"]): void {
    if (this.#isOver) return;
    this.#stopWatch = watchUpload({
      idleMs,
      bytes: () => this.#exchange.bytesIn,
      isOurTurn: () => this.isFull || this.#owner.isAnswered,
      limits,
      onSlow: (limit) => {
        const message = "The request body came too slowly.";
        this.#refuse(limit, new GatehouseError("GATEHOUSE_REQUEST_REFUSED", { message }), 408);
      },
    });
  }

  /** @returns where the body ends in these bytes; their length when it goes on, 0 when it is over already */
  feed(bytes: Buffer): number {
    if (this.#isOver) return 0;
    if (this.#chunks !== undefined) return this.#follow(this.#chunks, bytes);
    const size = Math.min(this.#left, bytes.length);
    this.#left -= size;
    this.takeChunk(size === bytes.length ? bytes : bytes.subarray(0, size), size);
    if (this.#left === 0) this.#whole([]);
    return size;
  }

  #follow(chunks: ChunkFollower, bytes: Buffer): number {
    const at = chunks.follow(bytes, 0, this, true);
    if (at < 0) {
      const message = "The chunked body is malformed.";
      const status = chunks.isTooLong ? 413 : 400;
      this.#refuse(undefined, new GatehouseError("GATEHOUSE_REQUEST_MALFORMED", { message }), status);
      return bytes.length;
    }
    if (chunks.isDone) this.#whole(relayedTrailers(chunks.trailers));
    return at;
  }

  takeChunk(bytes: Buffer, payload: number): void {
    if (this.#isOver) return;
    this.#exchange.bytesIn += payload;
    const limit = this.#bounds.took(payload, bytes.length - payload);
    if (limit !== undefined) {
      this.#refuse(limit, bodyRefused(limit), 413);
      return;
    }
    if (this.#call.writeRaw(bytes)) return;
    this.isFull = true;
    this.#owner.full();
  }

  #whole(trailers: readonly string[]): void {
    if (this.#isOver) return;
    this.stop();
    this.#owner.uploaded();
    this.#call.end(trailers);
  }

  #refuse(limit: LimitName | undefined, error: GatehouseError, status: number): void {
    if (this.#isOver) return;
    this.stop();
    this.#owner.refuse(limit, error, status);
  }

  /** Nothing more of it is taken. */
  stop(): void {
    this.#isOver = true;
    this.#stopWatch?.();
  }
}
