/**
 * Header blocks: what we call a block, nghttp2 (the server of node:http2) calls one, and what we encode we read again.
 */
import { performServerHandshake } from "node:http2";
import { duplexPair } from "node:stream";
import { flatOf } from "../../../src/proxy/lanes/http2/field.ts";
import { HpackDecoder } from "../../../src/proxy/lanes/http2/hpack-decoder.ts";
import { mostOfFlat, putFlat } from "../../../src/proxy/lanes/http2/hpack-encoder.ts";
import { HuffmanReader } from "../../../src/proxy/lanes/http2/huffman.ts";
import { frame, FRAME } from "../../support/h2-raw.ts";
import type { FuzzTarget } from "../run.ts";

const LIMITS = { maxBytes: 1_000_000, maxFields: 10_000 };
const huffman = new HuffmanReader();
const COMPRESSION_ERROR = 9;
const hex = (text: string): Buffer => Buffer.from(text, "hex");

function read(bytes: Buffer): string[] | undefined {
  const fields = new HpackDecoder(huffman).decode(bytes, 0, bytes.length, LIMITS);
  return fields === undefined ? undefined : flatOf(fields);
}

function verdictOf(bytes: Buffer): string {
  const flat = read(bytes);
  return flat === undefined ? "broken" : `fields ${JSON.stringify(flat)}`;
}

/** The error nghttp2 ends the session with when this is a header block; undefined when it reads it. */
async function judgeByNghttp2(block: Buffer): Promise<number | undefined> {
  const [mine, side] = duplexPair();
  mine.on("error", () => {});
  side.on("error", () => {});
  const session = performServerHandshake(side, { settings: {} });
  session.on("error", () => {});
  session.on("stream", (stream) => stream.on("error", () => {}));
  const over = new Promise<number | undefined>((resolve) => {
    let got = Buffer.alloc(0);
    mine.on("data", (chunk: Buffer) => {
      got = Buffer.concat([got, chunk]);
      while (got.length >= 9 && got.length >= 9 + got.readUIntBE(0, 3)) {
        const length = got.readUIntBE(0, 3);
        if (got[3] === FRAME.GOAWAY) resolve(got.readUInt32BE(13));
        if (got[3] === FRAME.PING) resolve(undefined);
        got = got.subarray(9 + length);
      }
    });
    mine.on("end", () => resolve(undefined));
  });
  mine.write(
    Buffer.concat([
      Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
      frame(FRAME.SETTINGS, 0, 0),
      frame(FRAME.HEADERS, 5, 1, block),
      frame(FRAME.PING, 0, 0, Buffer.alloc(8)),
    ]),
  );
  const code = await over;
  session.destroy();
  mine.destroy();
  return code;
}

export const hpack: FuzzTarget = {
  name: "hpack",
  seeds: [
    "828684410f7777772e6578616d706c652e636f6d",
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    "4001780161be828684",
    "203fe11f82",
    "3f2182400178016140017901624001790162bebf",
    "000161821c64",
    "10017803616263",
    "5f0a74657874",
  ].map(hex),
  dictionary: [
    "20",
    "3fe11f",
    "ff01",
    "7f00",
    "40",
    "00",
    "10",
    "be",
    "bf",
    "c0",
    "80",
    "82",
    "0085f2b24a84ff",
    "400178",
    "ffffffff",
  ].map(hex),
  parse: verdictOf,
  // A block is put together before it is read.
  parseInPieces: (first, second) => verdictOf(Buffer.concat([first, second])),
  judge(bytes) {
    const flat = (read(bytes) ?? []).filter((_, at, all) => /^[^:]/.test(all[at - (at % 2)] ?? ""));
    const kept = flat.filter(
      (_, at) =>
        !/^(?:connection|keep-alive|proxy-connection|transfer-encoding|upgrade|te)$/.test(flat[at - (at % 2)] ?? ""),
    );
    const out = Buffer.alloc(mostOfFlat(kept));
    const again = read(out.subarray(0, putFlat(out, 0, kept)));
    return JSON.stringify(again) === JSON.stringify(kept)
      ? undefined
      : `encoded and read again: ${JSON.stringify(again)}`;
  },
  async judgeSlowly(bytes) {
    if (bytes.length > 16_384) return undefined;
    return (await judgeByNghttp2(bytes)) === COMPRESSION_ERROR ? "nghttp2 refuses it" : undefined;
  },
};
