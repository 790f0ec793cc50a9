/**
 * What hostile HTTP/2 clients send (rows S9 to S15 and their relatives), as data: endless streams of bytes.
 */
import type { LimitName } from "../../src/observe/limit-names.ts";
import { CODE, FLAG, frame, FRAME, headerBlock, request } from "./h2-raw.ts";

export interface Attack {
  name: string;
  /** What is counted. */
  limit: LimitName;
  /** Written once, behind the preface. */
  first?: Buffer;
  /** The `n`-th piece of the flood, from 0. */
  piece(n: number): Buffer;
}

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const HEAD = headerBlock(request());
const POST = headerBlock(request({ ":method": "POST" }));
const ENDS = FLAG.END_HEADERS | FLAG.END_STREAM;
/** Clients use odd numbers. */
const id = (n: number): number => 2 * n + 1;
const times = (count: number, make: (at: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, at) => make(at)));
/** An upload that stays open, for attacks that need a stream. */
const OPEN = frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, POST);
/** Literal with incremental indexing (RFC 7541 §6.2.1): name `x`, value of 4,000 bytes; then index 62 is that field. */
const BIG_FIELD = Buffer.concat([Buffer.from([0x40, 1, 0x78, 0x7f, 0xa1, 0x1e]), Buffer.alloc(4_000, "a")]);

export const ATTACKS: readonly Attack[] = [
  {
    name: "rapid reset (CVE-2023-44487)",
    limit: "h2_resets",
    piece: (n) =>
      times(20, (at) =>
        Buffer.concat([
          frame(FRAME.HEADERS, ENDS, id(20 * n + at), HEAD),
          frame(FRAME.RST_STREAM, 0, id(20 * n + at), uint32(CODE.CANCEL)),
        ]),
      ),
  },
  {
    name: "MadeYouReset by a window of nothing (CVE-2025-8671)",
    limit: "h2_resets",
    piece: (n) =>
      times(20, (at) =>
        Buffer.concat([
          frame(FRAME.HEADERS, ENDS, id(20 * n + at), HEAD),
          frame(FRAME.WINDOW_UPDATE, 0, id(20 * n + at), uint32(0)),
        ]),
      ),
  },
  {
    name: "MadeYouReset by a window past its end",
    limit: "h2_resets",
    piece: (n) =>
      times(20, (at) =>
        Buffer.concat([
          frame(FRAME.HEADERS, ENDS, id(20 * n + at), HEAD),
          frame(FRAME.WINDOW_UPDATE, 0, id(20 * n + at), uint32(0x7fffffff)),
        ]),
      ),
  },
  {
    name: "MadeYouReset by DATA behind the end",
    limit: "h2_resets",
    piece: (n) =>
      times(20, (at) =>
        Buffer.concat([
          frame(FRAME.HEADERS, ENDS, id(20 * n + at), HEAD),
          frame(FRAME.DATA, 0, id(20 * n + at), Buffer.from("x")),
        ]),
      ),
  },
  {
    name: "malformed requests",
    limit: "h2_resets",
    piece: (n) =>
      times(20, (at) =>
        frame(FRAME.HEADERS, ENDS, id(20 * n + at), headerBlock([...request(), ["connection", "close"]])),
      ),
  },
  {
    name: "more streams than announced",
    limit: "h2_streams",
    piece: (n) => times(20, (at) => frame(FRAME.HEADERS, FLAG.END_HEADERS, id(20 * n + at), POST)),
  },
  {
    name: "a PING flood",
    limit: "h2_frames",
    piece: () => times(500, () => frame(FRAME.PING, 0, 0, Buffer.alloc(8))),
  },
  {
    name: "a flood of PING answers",
    limit: "h2_frames",
    piece: () => times(500, () => frame(FRAME.PING, FLAG.ACK, 0, Buffer.alloc(8))),
  },
  {
    name: "a SETTINGS flood",
    limit: "h2_frames",
    piece: () => times(500, () => frame(FRAME.SETTINGS, 0, 0, Buffer.from([0, 4, 0, 1, 0, 0]))),
  },
  {
    name: "a PRIORITY flood",
    limit: "h2_frames",
    piece: (n) =>
      times(500, (at) => frame(FRAME.PRIORITY, 0, id(500 * n + at), Buffer.concat([uint32(0), Buffer.from([15])]))),
  },
  {
    name: "a flood of empty DATA",
    limit: "h2_frames",
    first: OPEN,
    piece: () => times(500, () => frame(FRAME.DATA, 0, 1)),
  },
  {
    name: "a flood of DATA that is padding",
    limit: "h2_frames",
    first: OPEN,
    piece: () => times(20, () => frame(FRAME.DATA, 8, 1, Buffer.concat([Buffer.from([255]), Buffer.alloc(255)]))),
  },
  {
    name: "a WINDOW_UPDATE flood",
    limit: "h2_frames",
    piece: () => times(500, () => frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(1))),
  },
  {
    name: "a flood of frames that nobody knows",
    limit: "h2_frames",
    piece: () => times(100, () => frame(0xee, 0, 0, Buffer.alloc(100))),
  },
  {
    name: "CONTINUATION without end (CVE-2024-27983)",
    limit: "h2_head",
    first: frame(FRAME.HEADERS, FLAG.END_STREAM, 1, HEAD),
    piece: (n) => times(20, (at) => frame(FRAME.CONTINUATION, 0, 1, headerBlock([[`x-${20 * n + at}`, "1"]]))),
  },
  {
    name: "empty CONTINUATION without end",
    limit: "h2_head",
    first: frame(FRAME.HEADERS, FLAG.END_STREAM, 1, HEAD),
    piece: () => times(200, () => frame(FRAME.CONTINUATION, 0, 1)),
  },
  {
    name: "an HPACK bomb",
    limit: "h2_frames",
    piece: (n) =>
      frame(
        FRAME.HEADERS,
        ENDS,
        id(n),
        Buffer.concat([HEAD, n === 0 ? BIG_FIELD : Buffer.alloc(0), Buffer.alloc(8_000, 0xbe)]),
      ),
  },
  {
    name: "HPACK table sizes up and down",
    limit: "h2_frames",
    piece: (n) => frame(FRAME.HEADERS, ENDS, id(n), Buffer.concat([Buffer.alloc(8_000, 0x20), HEAD])),
  },
  {
    name: "heads of 100 KB",
    limit: "h2_head",
    piece: (n) => {
      const block = headerBlock([...request(), ["x", "a".repeat(100_000)]]);
      const pieces: Buffer[] = [];
      for (let at = 0; at < block.length; at += 16_384) {
        const piece = block.subarray(at, at + 16_384);
        const end = at + 16_384 >= block.length ? FLAG.END_HEADERS : 0;
        if (at === 0) pieces.push(frame(FRAME.HEADERS, FLAG.END_STREAM | end, id(n), piece));
        else pieces.push(frame(FRAME.CONTINUATION, end, id(n), piece));
      }
      return Buffer.concat(pieces);
    },
  },
];
