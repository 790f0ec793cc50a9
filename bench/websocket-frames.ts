/**
 * Just enough of RFC 6455 §5.2 for an echo: binary frames of one size class, whole and not fragmented.
 * Owns: building masked frames (client), reading them and answering unmasked (target).
 * Never: control frames; neither side of the bench sends one.
 */
import { randomBytes } from "node:crypto";

const MASK_BYTES = 4;

/** Lengths of 126 to 65,535 take two more bytes; shorter ones none. Longer ones the bench does not send. */
const lengthBytes = (length: number): number => (length < 126 ? 0 : 2);

function header(length: number, maskBit: number): Buffer {
  const first = 0x82; // FIN, binary
  return length < 126
    ? Buffer.from([first, maskBit | length])
    : Buffer.from([first, maskBit | 126, length >> 8, length & 0xff]);
}

/** A frame as a client sends it. */
export function maskedFrame(payload: Buffer): Buffer {
  const mask = randomBytes(MASK_BYTES);
  const body = Buffer.from(payload);
  for (let index = 0; index < body.length; index++) body[index] = (body[index] ?? 0) ^ (mask[index & 3] ?? 0);
  return Buffer.concat([header(payload.length, 0x80), mask, body]);
}

/** Bytes of the unmasked frame that answers a payload of this length. */
export const echoBytes = (length: number): number => 2 + lengthBytes(length) + length;

/** Answers to all whole masked frames at the front of `bytes`, and what is left over. */
export function unmaskedEchoes(bytes: Buffer): { echoes: Buffer; rest: Buffer } {
  const parts: Buffer[] = [];
  let at = 0;
  while (bytes.length - at >= 2) {
    const short = (bytes[at + 1] ?? 0) & 0x7f;
    const extra = short === 126 ? 2 : 0;
    if (bytes.length - at < 2 + extra) break;
    const length = extra === 0 ? short : bytes.readUInt16BE(at + 2);
    const begin = at + 2 + extra + MASK_BYTES;
    if (bytes.length < begin + length) break;
    const body = Buffer.from(bytes.subarray(begin, begin + length));
    for (let index = 0; index < length; index++) {
      body[index] = (body[index] ?? 0) ^ (bytes[begin - MASK_BYTES + (index & 3)] ?? 0);
    }
    parts.push(header(length, 0), body);
    at = begin + length;
  }
  return { echoes: parts.length === 0 ? Buffer.alloc(0) : Buffer.concat(parts), rest: bytes.subarray(at) };
}
