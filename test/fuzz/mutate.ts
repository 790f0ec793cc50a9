/**
 * Which input comes next?
 * Owns: turning a seed and a number into bytes: the same pair gives the same bytes for ever.
 * Never: learns from what it has tried; the seeds carry the structure.
 */

/** SplitMix32: small, and good enough to pick bytes. */
export class Random {
  #state: number;

  constructor(seed: number, execution: number) {
    this.#state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(execution, 0x85ebca6b)) >>> 0;
    this.below(1);
    this.below(1);
  }

  /** From 0 to `limit` - 1. */
  below(limit: number): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) % limit;
  }

  pick<T>(from: readonly T[]): T {
    const picked = from[this.below(from.length)];
    if (picked === undefined) throw new RangeError("nothing to pick from");
    return picked;
  }

  isOneIn(count: number): boolean {
    return this.below(count) === 0;
  }
}

/** Bytes at which parsers part. */
const BYTES = [0, 1, 9, 10, 11, 13, 32, 34, 44, 45, 48, 49, 58, 59, 92, 127, 128, 160, 255];
const NUMBERS = ["0", "00", "1", "-1", "+1", "0x1", "1.0", "255", "256", "65535", "65536", "4294967295", "4294967296"];
const LONG_NUMBERS = ["9007199254740993", "18446744073709551616", "99999999999999999999999", "FFFFFFFF", "fffffffff"];
const LONGEST = 40_000;

type Change = (bytes: Buffer, random: Random, dictionary: readonly Buffer[]) => Buffer;

const at = (bytes: Buffer, random: Random): number => random.below(bytes.length + 1);
const insert = (bytes: Buffer, from: number, piece: Buffer): Buffer =>
  Buffer.concat([bytes.subarray(0, from), piece, bytes.subarray(from)]);
const lines = (bytes: Buffer): string[] => bytes.toString("latin1").split("\n");

const CHANGES: readonly Change[] = [
  (bytes, random) => {
    const out = Buffer.from(bytes);
    if (out.length > 0) out[random.below(out.length)] = random.pick(BYTES);
    return out;
  },
  (bytes, random) => {
    const out = Buffer.from(bytes);
    const where = random.below(out.length + 1);
    if (where < out.length) out[where] = (out[where] ?? 0) ^ (1 << random.below(8));
    return out;
  },
  (bytes, random) => insert(bytes, at(bytes, random), Buffer.of(random.pick(BYTES))),
  (bytes, random, dictionary) => insert(bytes, at(bytes, random), random.pick(dictionary)),
  (bytes, random, dictionary) => {
    const from = at(bytes, random);
    const piece = random.pick(dictionary);
    return Buffer.concat([bytes.subarray(0, from), piece, bytes.subarray(from + piece.length)]);
  },
  (bytes, random) => {
    const from = at(bytes, random);
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(from + 1 + random.below(8))]);
  },
  (bytes, random) => {
    const from = at(bytes, random);
    return insert(bytes, at(bytes, random), bytes.subarray(from, from + 1 + random.below(40)));
  },
  (bytes, random) => bytes.subarray(0, at(bytes, random)),
  (bytes, random) => insert(bytes, at(bytes, random), Buffer.alloc(1 + random.below(300), random.pick(BYTES))),
  (bytes, random) => {
    const text = lines(bytes);
    text.splice(random.below(text.length), 0, random.pick(text));
    return Buffer.from(text.join("\n"), "latin1");
  },
  (bytes, random) => {
    const text = lines(bytes);
    const [line = ""] = text.splice(random.below(text.length), 1);
    text.splice(random.below(text.length + 1), 0, line);
    return Buffer.from(text.join("\n"), "latin1");
  },
  (bytes, random) => {
    const number = random.isOneIn(3) ? random.pick(LONG_NUMBERS) : random.pick(NUMBERS);
    let left = random.below(4);
    return Buffer.from(
      bytes.toString("latin1").replaceAll(/\d+/g, (digits) => (left-- === 0 ? number : digits)),
      "latin1",
    );
  },
  (bytes, random) => {
    const out = Buffer.from(bytes);
    if (out.length > 1)
      out.writeUInt16BE(random.pick([0, 1, 0x7fff, 0x8000, 0xffff, out.length]), random.below(out.length - 1));
    return out;
  },
];

/** One to six changes of one seed, or of the head of one and the tail of another. */
export function mutate(seeds: readonly Buffer[], dictionary: readonly Buffer[], random: Random): Buffer {
  let bytes = random.pick(seeds);
  if (random.isOneIn(8)) {
    const other = random.pick(seeds);
    bytes = Buffer.concat([bytes.subarray(0, at(bytes, random)), other.subarray(at(other, random))]);
  }
  for (let left = 1 + random.below(6); left > 0; left--) bytes = random.pick(CHANGES)(bytes, random, dictionary);
  return bytes.subarray(0, LONGEST);
}
