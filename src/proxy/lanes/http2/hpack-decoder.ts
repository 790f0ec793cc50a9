/**
 * What does a header block say (RFC 7541)?
 * Owns: the decoder of one connection with its dynamic table, strictly bounded.
 * Never: judges a field. Whatever breaks HPACK ends the connection, because nobody knows its table any more.
 */
import { Field, FieldName } from "./field.ts";
import type { HuffmanReader } from "./huffman.ts";
import { STATIC_FIELDS } from "./static-table.ts";

/** Bytes: SETTINGS_HEADER_TABLE_SIZE as it is when nobody says anything. */
const MAX_TABLE = 4_096;
/** What an entry costs beside its text (§4.1). */
const ENTRY_COST = 32;
/** §4.2: the smallest in between, and the last one. */
const MAX_SIZE_UPDATES = 2;
/** No honest number in a header block is larger. */
const MAX_INTEGER = 0xfff_ffff;
const STATIC = 61;

export interface BlockLimits {
  /** Names and values together, and how many of them; what is beyond is read and dropped. */
  maxBytes: number;
  maxFields: number;
}

export class HpackDecoder {
  /** The last block said more than its limits allow. */
  isTooLarge = false;
  readonly #huffman: HuffmanReader;
  /** The oldest first. */
  #table: Field[] = [];
  /** Entries before it are gone. */
  #first = 0;
  #tableSize = 0;
  #maxTable = MAX_TABLE;
  #at = 0;

  constructor(huffman: HuffmanReader) {
    this.#huffman = huffman;
  }

  /** @returns undefined when the block is broken: COMPRESSION_ERROR */
  decode(bytes: Buffer, start: number, end: number, limits: BlockLimits): Field[] | undefined {
    const fields: Field[] = [];
    let left = limits.maxBytes;
    let updates = 0;
    this.isTooLarge = false;
    this.#at = start;
    while (this.#at < end) {
      const first = bytes[this.#at] as number;
      let field: Field | undefined;
      if ((first & 0x80) !== 0) {
        field = this.#field(this.#integer(bytes, end, 0x7f));
      } else if ((first & 0xe0) === 0x20) {
        const size = this.#integer(bytes, end, 0x1f);
        if (size < 0 || size > MAX_TABLE || fields.length > 0 || this.isTooLarge) return undefined;
        if (++updates > MAX_SIZE_UPDATES) return undefined;
        this.#maxTable = size;
        this.#evict(size);
        continue;
      } else {
        const isKept = (first & 0x40) !== 0;
        field = this.#literal(bytes, end, isKept ? 0x3f : 0x0f);
        if (isKept && field !== undefined) this.#keep(field);
      }
      if (field === undefined) return undefined;
      left -= field.size;
      if (left >= 0 && fields.length < limits.maxFields) fields.push(field);
      else this.isTooLarge = true;
    }
    return fields;
  }

  #field(number: number): Field | undefined {
    if (number <= STATIC) return STATIC_FIELDS[number - 1];
    const at = this.#table.length - (number - STATIC);
    return at < this.#first ? undefined : this.#table[at];
  }

  #literal(bytes: Buffer, end: number, prefix: number): Field | undefined {
    const number = this.#integer(bytes, end, prefix);
    if (number < 0) return undefined;
    let name: FieldName | undefined;
    if (number > 0) {
      name = this.#field(number)?.name;
    } else {
      const text = this.#text(bytes, end);
      if (text !== undefined) name = new FieldName(text);
    }
    if (name === undefined) return undefined;
    const value = this.#text(bytes, end);
    return value === undefined ? undefined : new Field(name, value);
  }

  /** §5.1. @returns -1 when it is cut off or larger than any honest one */
  #integer(bytes: Buffer, end: number, prefix: number): number {
    if (this.#at >= end) return -1;
    let value = (bytes[this.#at++] as number) & prefix;
    if (value < prefix) return value;
    for (let shift = 0; this.#at < end && shift <= 21; shift += 7) {
      const byte = bytes[this.#at++] as number;
      value += (byte & 0x7f) << shift;
      if ((byte & 0x80) === 0) return value <= MAX_INTEGER ? value : -1;
    }
    return -1;
  }

  /** §5.2. */
  #text(bytes: Buffer, end: number): string | undefined {
    const isCoded = ((bytes[this.#at] ?? 0) & 0x80) !== 0;
    const length = this.#integer(bytes, end, 0x7f);
    const start = this.#at;
    if (length < 0 || length > end - start) return undefined;
    this.#at = start + length;
    return isCoded ? this.#huffman.read(bytes, start, this.#at) : bytes.toString("latin1", start, this.#at);
  }

  /** §4.4: an entry larger than the table empties it, and that is no error. */
  #keep(field: Field): void {
    const cost = field.size + ENTRY_COST;
    this.#evict(this.#maxTable - cost);
    if (cost > this.#maxTable) return;
    this.#table.push(field);
    this.#tableSize += cost;
  }

  #evict(most: number): void {
    while (this.#tableSize > most && this.#first < this.#table.length) {
      this.#tableSize -= (this.#table[this.#first++] as Field).size + ENTRY_COST;
    }
    // An entry costs 32 at least, so there are never more than 128.
    if (this.#first < 128 && this.#first < this.#table.length) return;
    this.#table = this.#table.slice(this.#first);
    this.#first = 0;
  }
}
