/**
 * May this body go on?
 * Owns: how much of it there may be in all, and how much framing its payload may come in.
 * Never: reads framing, or knows how fast it comes (upload-pace).
 */
import { GatehouseError } from "../../core/errors.ts";
import type { LimitName } from "../../observe/limit-names.ts";

/** A chunk of one byte has five of framing: those of two bytes and more never come near it. */
const FRAMING_PER_BYTE = 4;
/** Bytes of framing beyond that, in one body. Whoever types into an upload takes hours to 16,384 keys. */
const MAX_CRUMBS = 16_384;

export type BodyLimit = Extract<LimitName, "body_size" | "body_crumbs">;

/** One per request with a body. */
export class BodyBounds {
  readonly #maxBody: number;
  #bytes = 0;
  #crumbs = 0;

  /** @param maxBody  bytes; 0: any */
  constructor(maxBody: number) {
    this.#maxBody = maxBody;
  }

  /** @returns what is reached with this piece, in bytes of payload and of framing around it; 0 where there is none */
  took(payload: number, framing: number): BodyLimit | undefined {
    this.#bytes += payload;
    if (this.#maxBody > 0 && this.#bytes > this.#maxBody) return "body_size";
    // What came in large pieces before pays for nothing: an upload does not turn into crumbs for a good reason.
    this.#crumbs = Math.max(0, this.#crumbs + framing - FRAMING_PER_BYTE * payload);
    return this.#crumbs > MAX_CRUMBS ? "body_crumbs" : undefined;
  }
}

const MESSAGES: Record<BodyLimit, string> = {
  body_size: "The request body is larger than maxBody.",
  body_crumbs: "The request body comes in chunks of next to nothing.",
};

/** To be told with 413. */
export const bodyRefused = (limit: BodyLimit): GatehouseError =>
  new GatehouseError("GATEHOUSE_REQUEST_REFUSED", { message: MESSAGES[limit] });
