/**
 * What if a body comes in crumbs?
 * Owns: putting the small pieces of one read together before anybody is told of them, and counting them.
 * Never: holds them for longer than this turn of the loop, or delays the end of a body.
 *
 * Buffers are bounded in bytes, but each piece costs some 200 more wherever it waits, and 8 µs on its way: chunks of one
 * byte (RFC 9112 §7.1 allows them) took 70 MB for each connection that sent them.
 */
import { IncomingMessage } from "node:http";
import { BodyBounds } from "../body-bounds.ts";

/** Bytes. What is larger goes on as it is: copying would cost more than the piece. */
const CRUMB = 512;
const HANDFUL = 8_192;
/** Two line ends and a digit: node:http's parser keeps the framing of a chunk to itself, but there is never less. */
const LEAST_FRAMING = 5;

export class CrumblessMessage extends IncomingMessage {
  /** The only crumb of this turn so far: most small bodies are one piece, and are not copied. */
  #single: Buffer | undefined;
  #handful: Buffer | undefined;
  #held = 0;
  #bounds: BodyBounds | undefined;
  #isCrumbs = false;

  /**
   * More of these pieces were next to nothing than a body may have, if each was a chunk. Where a long chunk comes in pieces
   * of one byte from the network, they count the same: they cost the same.
   */
  isCrumbs(): boolean {
    return this.#isCrumbs;
  }

  /** node:http's parser calls it with each piece of the body, and with null at the end. */
  override push(chunk: unknown, encoding?: BufferEncoding): boolean {
    if (chunk instanceof Buffer) {
      this.#bounds ??= new BodyBounds(0);
      this.#isCrumbs ||= this.#bounds.took(chunk.length, LEAST_FRAMING) !== undefined;
    }
    if (!(chunk instanceof Buffer) || chunk.length > CRUMB) {
      this.#release();
      return super.push(chunk, encoding);
    }
    if (this.#held + chunk.length > HANDFUL) this.#release();
    if (this.#held === 0) {
      this.#single = chunk;
      // Not nextTick: that runs between two calls of the parser.
      setImmediate(() => this.#release());
    } else {
      this.#handful ??= Buffer.allocUnsafe(HANDFUL);
      if (this.#single !== undefined) this.#single.copy(this.#handful);
      this.#single = undefined;
      chunk.copy(this.#handful, this.#held);
    }
    this.#held += chunk.length;
    return this.readableLength + this.#held < this.readableHighWaterMark;
  }

  #release(): void {
    if (this.#held === 0) return;
    const piece = this.#single ?? this.#handful?.subarray(0, this.#held);
    this.#single = undefined;
    this.#handful = undefined;
    this.#held = 0;
    if (!this.destroyed) super.push(piece);
  }
}
