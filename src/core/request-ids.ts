/**
 * What is the next request called?
 * Owns: random UUIDs (RFC 9562 §5.4), made a hundred at a time.
 * Never: repeats or orders them.
 *
 * `randomUUID` joins twenty pieces for each, and whoever writes the id into a head or a log line pays again for bringing
 * the pieces together. These are cut out of one text: half the cost to make, and nothing to join.
 */
import { randomFillSync } from "node:crypto";

const AT_ONCE = 128;
const BYTES = 16;
const LETTERS = 36;
const DIGITS = Buffer.from("0123456789abcdef");
const HYPHEN = 0x2d;

export class RequestIds {
  readonly #random = Buffer.alloc(AT_ONCE * BYTES);
  readonly #letters = Buffer.alloc(AT_ONCE * LETTERS);
  #text = "";
  #at = 0;

  next(): string {
    if (this.#at === this.#text.length) this.#make();
    const start = this.#at;
    this.#at = start + LETTERS;
    return this.#text.slice(start, this.#at);
  }

  #make(): void {
    const random = randomFillSync(this.#random);
    const letters = this.#letters;
    let to = 0;
    for (let from = 0; from < random.length; from++) {
      const index = from % BYTES;
      let byte = random[from] as number;
      if (index === 6) byte = (byte & 0x0f) | 0x40;
      else if (index === 8) byte = (byte & 0x3f) | 0x80;
      if (index === 4 || index === 6 || index === 8 || index === 10) letters[to++] = HYPHEN;
      letters[to++] = DIGITS[byte >> 4] as number;
      letters[to++] = DIGITS[byte & 15] as number;
    }
    this.#text = letters.toString("latin1");
    this.#at = 0;
  }
}
