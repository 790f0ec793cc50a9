/**
 * HTTP/2 frames: however the bytes are cut, they are the same frames, and a slow reader written from the RFC sees them too.
 */
import { FrameReader } from "../../../src/proxy/lanes/http2/frame-reader.ts";
import { frame, FRAME } from "../../support/h2-raw.ts";
import type { Random } from "../mutate.ts";
import type { FuzzTarget } from "../run.ts";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const PADDED = 8;

function read(...pieces: Buffer[]): string {
  const frames: string[] = [];
  let data = "";
  let broken = -1;
  const reader = new FrameReader({
    get isOver() {
      return broken >= 0;
    },
    frame(type, flags, stream, bytes, start, end) {
      frames.push(`${type}/${flags}/${stream} ${bytes.toString("hex", start, end)}`);
    },
    dataBegins: (stream, flags, length) => (data = `0/${flags}/${stream} ${length} `),
    dataPiece: (bytes) => (data += bytes.toString("hex")),
    dataEnds: () => frames.push(data),
    broken: (code) => (broken = code),
  });
  reader.read(PREFACE);
  for (const piece of pieces) if (broken < 0) reader.read(piece);
  if (broken >= 0) return `broken ${broken} after ${frames.join(", ")}`;
  return frames.length === 0 ? "more" : frames.join(", ");
}

/** The same by the letter of RFC 9113 §4.1 and §6.1, on whole bytes. */
function slowly(bytes: Buffer): string {
  const frames: string[] = [];
  for (let at = 0; at + 9 <= bytes.length;) {
    const length = bytes.readUIntBE(at, 3);
    const [type = 0, flags = 0] = bytes.subarray(at + 3, at + 5);
    const stream = bytes.readUInt32BE(at + 5) & 0x7fffffff;
    const payload = bytes.subarray(at + 9, at + 9 + length);
    if (payload.length < length) break;
    if (type !== FRAME.DATA) {
      frames.push(`${type}/${flags}/${stream} ${payload.toString("hex")}`);
    } else {
      const from = (flags & PADDED) === 0 ? 0 : 1;
      const padding = from === 0 ? 0 : (payload[0] ?? 0);
      frames.push(`0/${flags}/${stream} ${length} ${payload.toString("hex", from, length - padding)}`);
    }
    at += 9 + length;
  }
  return frames.join(", ");
}

function generate(random: Random): Buffer {
  const count = 1 + random.below(5);
  return Buffer.concat(
    Array.from({ length: count }, () => {
      const type = random.isOneIn(2) ? FRAME.DATA : random.below(12);
      const payload = Buffer.from(Array.from({ length: random.below(40) }, () => random.below(20)));
      return frame(type, random.isOneIn(2) ? PADDED : random.below(256), random.below(10), payload);
    }),
  );
}

export const h2Frames: FuzzTarget = {
  name: "h2-frames",
  seeds: [
    Buffer.concat([frame(FRAME.SETTINGS, 0, 0), frame(FRAME.DATA, 0, 1, Buffer.from("hello"))]),
    Buffer.concat([
      frame(FRAME.DATA, PADDED, 1, Buffer.from([2, 65, 66, 0, 0])),
      frame(FRAME.PING, 0, 0, Buffer.alloc(8)),
    ]),
    frame(FRAME.DATA, PADDED, 3, Buffer.from([0])),
    frame(FRAME.HEADERS, 0x2c, 5, Buffer.alloc(30, 7)),
  ],
  dictionary: [frame(FRAME.DATA, 1, 1), frame(FRAME.DATA, PADDED, 1, Buffer.from([1, 1])), Buffer.from([0, 0x40, 1])],
  generate,
  parse: (bytes) => read(bytes),
  parseInPieces: (first, second) => read(first, second),
  judge(bytes, verdict) {
    const expected = slowly(bytes);
    return verdict === expected ? undefined : `read slowly: ${expected}`;
  },
};
