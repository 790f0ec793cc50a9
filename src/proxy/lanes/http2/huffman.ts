/**
 * Which text stands behind a Huffman code of HPACK (RFC 7541 §5.2)?
 * Owns: the code of appendix B, read four bits at a time, strictly: no EOS, padding of less than a byte and all ones.
 * Never: encodes: answers go out as they are, for the bytes saved cost more time than they are worth.
 */

/**
 * Bits of the code of each symbol (appendix B). The code is canonical: within one length the codes count up with the
 * symbols, so the lengths say all. 256 is EOS.
 */
// prettier-ignore
const LENGTHS = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
];
const EOS = 256;

const DEAD = 0xffff;
const NO_SYMBOL = 0xffff;

/** For each state and each four bits: where they lead, and the symbol that ended on the way (a code has five at least). */
interface Steps {
  next: Uint16Array;
  symbol: Uint16Array;
  /** May a text end here? */
  isEnd: Uint8Array;
}

const STEPS: Steps = makeSteps();

function makeSteps(): Steps {
  // Inner nodes of the code's tree; children are inner nodes, or symbols as negative numbers from -1 on.
  const tree: [number, number][] = [[0, 0]];
  let code = 0;
  let length = 5;
  const symbols = LENGTHS.map((_, symbol) => symbol).sort((a, b) => (LENGTHS[a] ?? 0) - (LENGTHS[b] ?? 0) || a - b);
  for (const symbol of symbols) {
    const bits = LENGTHS[symbol] ?? 0;
    code *= 2 ** (bits - length);
    length = bits;
    let node = 0;
    for (let bit = bits - 1; bit >= 0; bit--) {
      const side = Math.floor(code / 2 ** bit) % 2;
      const children = tree[node] as [number, number];
      if (bit === 0) children[side] = -1 - symbol;
      else if (children[side] === 0) children[side] = tree.push([0, 0]) - 1;
      node = children[side] as number;
    }
    code++;
  }
  const next = new Uint16Array(tree.length * 16);
  const symbol = new Uint16Array(tree.length * 16).fill(NO_SYMBOL);
  for (let state = 0; state < tree.length; state++) {
    for (let nibble = 0; nibble < 16; nibble++) {
      const slot = state * 16 + nibble;
      let node = state;
      for (let bit = 3; bit >= 0 && node !== DEAD; bit--) {
        const child = (tree[node] as [number, number])[(nibble >> bit) & 1] as number;
        node = child;
        if (child >= 0) continue;
        const found = -1 - child;
        node = found === EOS ? DEAD : 0;
        if (found !== EOS) symbol[slot] = found;
      }
      next[slot] = node;
    }
  }
  const isEnd = new Uint8Array(tree.length);
  for (let node = 0, ones = 0; ones < 8 && node >= 0; ones++) {
    isEnd[node] = 1;
    node = (tree[node] as [number, number])[1];
  }
  return { next, symbol, isEnd };
}

/** One for many decoders: what it holds is used up at once. */
export class HuffmanReader {
  #text = Buffer.allocUnsafeSlow(4_096);

  /** @returns the text as latin1; undefined when the code is broken */
  read(bytes: Uint8Array, start: number, end: number): string | undefined {
    // The shortest code has five bits.
    const most = Math.ceil(((end - start) * 8) / 5);
    if (this.#text.length < most) this.#text = Buffer.allocUnsafeSlow(most * 2);
    const { next, symbol, isEnd } = STEPS;
    const text = this.#text;
    let length = 0;
    let state = 0;
    for (let at = start; at < end; at++) {
      const byte = bytes[at] as number;
      const high = (state << 4) | (byte >> 4);
      state = next[high] as number;
      if (state === DEAD) return undefined;
      if (symbol[high] !== NO_SYMBOL) text[length++] = symbol[high] as number;
      const low = (state << 4) | (byte & 15);
      state = next[low] as number;
      if (state === DEAD) return undefined;
      if (symbol[low] !== NO_SYMBOL) text[length++] = symbol[low] as number;
    }
    return isEnd[state] === 1 ? text.toString("latin1", 0, length) : undefined;
  }
}
