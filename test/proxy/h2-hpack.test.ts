/**
 * HPACK in both directions against nghttp2 (the client of node:http2), and against the examples of RFC 7541.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { type Duplex, duplexPair } from "node:stream";
import { test, type TestContext } from "node:test";
import fc from "fast-check";
import { type Field, flatOf } from "../../src/proxy/lanes/http2/field.ts";
import { FrameReader } from "../../src/proxy/lanes/http2/frame-reader.ts";
import { FLAG, FRAME } from "../../src/proxy/lanes/http2/frames.ts";
import { HpackDecoder } from "../../src/proxy/lanes/http2/hpack-decoder.ts";
import {
  DateField,
  mostOfFlat,
  putDate,
  putFlat,
  putLength,
  putStatus,
} from "../../src/proxy/lanes/http2/hpack-encoder.ts";
import { HuffmanReader } from "../../src/proxy/lanes/http2/huffman.ts";
import { frame } from "../support/h2-raw.ts";

const HUGE = { maxBytes: 1_000_000, maxFields: 1_000 };
const decoder = (): HpackDecoder => new HpackDecoder(new HuffmanReader());
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ""), "hex");
const decode = (with_: HpackDecoder, block: Buffer, limits = HUGE): string[] | undefined => {
  const fields = with_.decode(block, 0, block.length, limits);
  return fields === undefined ? undefined : flatOf(fields);
};

// RFC 7541 appendix C: the blocks of one connection, and what they say.
const EXAMPLES: [name: string, blocks: [string, string[]][]][] = [
  [
    "C.3 requests without Huffman coding",
    [
      [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        [":method", "GET", ":scheme", "http", ":path", "/", ":authority", "www.example.com"],
      ],
      [
        "8286 84be 5808 6e6f 2d63 6163 6865",
        [
          ":method",
          "GET",
          ":scheme",
          "http",
          ":path",
          "/",
          ":authority",
          "www.example.com",
          "cache-control",
          "no-cache",
        ],
      ],
      [
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        [
          ":method",
          "GET",
          ":scheme",
          "https",
          ":path",
          "/index.html",
          ":authority",
          "www.example.com",
          "custom-key",
          "custom-value",
        ],
      ],
    ],
  ],
  [
    "C.4 requests with Huffman coding",
    [
      [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        [":method", "GET", ":scheme", "http", ":path", "/", ":authority", "www.example.com"],
      ],
      [
        "8286 84be 5886 a8eb 1064 9cbf",
        [
          ":method",
          "GET",
          ":scheme",
          "http",
          ":path",
          "/",
          ":authority",
          "www.example.com",
          "cache-control",
          "no-cache",
        ],
      ],
      [
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        [
          ":method",
          "GET",
          ":scheme",
          "https",
          ":path",
          "/index.html",
          ":authority",
          "www.example.com",
          "custom-key",
          "custom-value",
        ],
      ],
    ],
  ],
];
for (const [name, blocks] of EXAMPLES) {
  test(`${name} are read as RFC 7541 says`, () => {
    const one = decoder();
    for (const [block, fields] of blocks) assert.deepEqual(decode(one, hex(block)), fields);
  });
}

const BROKEN: [why: string, block: string][] = [
  ["index 0", "80"],
  ["an index behind both tables", "be"],
  ["a number that is cut off", "ff"],
  ["a number without end", "ff80808080808080808001"],
  ["a text longer than the block", "0001610f61"],
  ["a table larger than ours", "3fe21f"],
  ["a table size behind a field", "8220"],
  ["three table sizes", "202020"],
  ["Huffman code that ends in EOS", "000161 84 ffffffff"],
  ["padding of zeros", "000161 81 00"],
  ["padding of a whole byte", "000161 82 1fff"],
];
for (const [why, block] of BROKEN) {
  test(`a block with ${why} is broken`, () => assert.equal(decode(decoder(), hex(block)), undefined));
}

test("the table keeps what fits, the newest first, and forgets the rest", () => {
  const one = decoder();
  const add = (value: string): Buffer =>
    Buffer.concat([hex("4001 78"), Buffer.from([value.length]), Buffer.from(value)]);
  // 1 + 59 + 32 = 92 bytes an entry: 44 of them in 4,096.
  for (let n = 0; n < 300; n++)
    assert.deepEqual(decode(one, add(`${n}`.padStart(59, "-"))), ["x", `${n}`.padStart(59, "-")]);
  assert.deepEqual(decode(one, Buffer.from([0x80 | 62])), ["x", "299".padStart(59, "-")]);
  assert.deepEqual(decode(one, Buffer.from([0x80 | (62 + 43)])), ["x", "256".padStart(59, "-")]);
  assert.equal(decode(one, Buffer.from([0x80 | (62 + 44)])), undefined);
  // Down to one entry and up again; what is larger than the table empties it.
  assert.deepEqual(decode(one, hex("3f3e be")), ["x", "299".padStart(59, "-")]);
  assert.equal(decode(one, hex("bf")), undefined);
  assert.deepEqual(decode(one, add("y".repeat(70))), ["x", "y".repeat(70)]);
  assert.equal(decode(one, hex("be")), undefined);
});

test("what is beyond the limits is dropped, and the table still follows", () => {
  const one = decoder();
  const block = Buffer.concat([hex("82 4001 61"), Buffer.from([100]), Buffer.alloc(100, "v"), hex("87")]);
  assert.deepEqual(decode(one, block, { maxBytes: 50, maxFields: 10 }), [":method", "GET"]);
  assert.equal(one.isTooLarge, true);
  assert.deepEqual(decode(one, hex("be")), ["a", "v".repeat(100)]);
  assert.equal(one.isTooLarge, false);
  decode(one, hex("82 84 87"), { maxBytes: 1_000, maxFields: 2 });
  assert.equal(one.isTooLarge, true);
});

/** A client of node:http2, and what our reader and decoder make of it. */
function nghttp2Client(
  t: TestContext,
  settings = {},
): { client: ClientHttp2Session; side: Duplex; heads: string[][]; head(): Promise<void> } {
  const [mine, side] = duplexPair();
  const client = connect("https://a.test", { createConnection: () => mine, settings });
  client.on("error", () => {});
  const one = decoder();
  const heads: string[][] = [];
  let wake = (): void => {};
  const reader = new FrameReader({
    isOver: false,
    frame(type, flags, _stream, bytes, start, end) {
      if (type !== FRAME.HEADERS) return;
      assert.ok((flags & FLAG.END_HEADERS) !== 0);
      const from = (flags & FLAG.PRIORITY) !== 0 ? start + 5 : start;
      const fields: Field[] | undefined = one.decode(bytes, from, end, HUGE);
      assert.ok(fields !== undefined, "broken");
      heads.push(flatOf(fields));
      wake();
    },
    dataBegins() {},
    dataPiece() {},
    dataEnds() {},
    broken: (code) => assert.fail(`broken: ${code}`),
  });
  side.on("data", (chunk: Buffer) => reader.read(chunk));
  side.write(frame(FRAME.SETTINGS, 0, 0));
  t.after(() => client.destroy());
  return { client, side, heads, head: () => new Promise((resolve) => (wake = resolve)) };
}

const token = fc.string({
  unit: fc.constantFrom(...Array.from("abcdefghijklmnopqrstuvwxyz0123456789-_.~!#$%&'*+^`|")),
  minLength: 1,
  maxLength: 30,
});
const NOT_OURS = /^(?:connection|keep-alive|proxy-connection|transfer-encoding|upgrade|te|host|content-length|date)$/;
const value = fc.string({
  unit: fc
    .integer({ min: 0x21, max: 0xff })
    .filter((unit) => unit !== 0x7f)
    .map((unit) => String.fromCharCode(unit)),
  maxLength: 200,
});
const fields = fc.array(
  fc.tuple(
    token.filter((name) => !NOT_OURS.test(name)),
    value,
  ),
  { maxLength: 15 },
);

test("what nghttp2 encodes is read as it was meant, request after request with one table", async (t) => {
  const { client, heads, head } = nghttp2Client(t);
  const property = fc.asyncProperty(fields, async (list) => {
    const came = head();
    const raw = [":method", "GET", ":authority", "a.test", ":scheme", "https", ":path", "/", ...list.flat()];
    const stream = client.request(raw);
    stream.on("error", () => {});
    await came;
    // Names without order are joined by nobody: the list is the list.
    assert.deepEqual(heads.at(-1), raw);
    stream.destroy();
  });
  await fc.assert(property, { numRuns: 300 });
});

/** A 204 with a length is refused by nghttp2 for what it says. */
const status = fc.integer({ min: 200, max: 599 }).filter((one) => one !== 204);

test("what we encode is read by nghttp2 as it was meant, with a table of any size", async (t) => {
  for (const headerTableSize of [4_096, 0, 100]) {
    const { client, side, head } = nghttp2Client(t, { headerTableSize });
    let isFirst = true;
    const property = fc.asyncProperty(status, fields, async (said, list) => {
      const flat = list.flat();
      const came = head();
      const stream: ClientHttp2Stream = client.request({ ":path": "/" });
      stream.on("error", () => {});
      await came;
      const block = Buffer.alloc(mostOfFlat(flat) + 64);
      // The client made its table smaller: the first block has to say that ours is as small.
      let at = isFirst && headerTableSize < 4_096 ? block.writeUInt8(0x20, 0) : 0;
      isFirst = false;
      at = putLength(block, putFlat(block, putStatus(block, at, said), flat), 7);
      at = putDate(block, at, new DateField());
      side.write(frame(FRAME.HEADERS, FLAG.END_HEADERS, stream.id ?? 0, block.subarray(0, at)));
      const [, , raw] = (await once(stream, "response")) as [unknown, number, string[]];
      const rest = raw.slice(0, -4);
      assert.deepEqual(rest, [":status", String(said), ...flat]);
      assert.deepEqual(raw.slice(-4, -1), ["content-length", "7", "date"]);
      stream.destroy();
    });
    await fc.assert(property, { numRuns: 100 });
  }
});
