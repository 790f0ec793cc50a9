/**
 * Frames that break the protocol, each with the error that RFC 9113 names; and what is odd but allowed.
 */
import assert from "node:assert/strict";
import { createServer, type AddressInfo } from "node:net";
import { once } from "node:events";
import { test, type TestContext } from "node:test";
import { eventually } from "../support/eventually.ts";
import { type FrontHome, startFront } from "../support/front-home.ts";
import { CODE, FLAG, frame, FRAME, headerBlock, RawH2, request } from "../support/h2-raw.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { countBytes, sendBytes, startTarget } from "../support/target.ts";

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const setting = (id: number, value: number): Buffer => Buffer.concat([Buffer.from([0, id]), uint32(value)]);
const HEAD = headerBlock(request());
const POST = headerBlock(request({ ":method": "POST" }));
const ENDS = FLAG.END_HEADERS | FLAG.END_STREAM;
const OPEN = frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, POST);
const PADDED = 8;

// What is written behind preface and SETTINGS, and how stream 1 or the connection ends.
const ROWS: [what: string, bytes: Buffer, outcome: string][] = [
  ["DATA on stream 0", frame(FRAME.DATA, 0, 0, Buffer.from("x")), "GOAWAY PROTOCOL_ERROR"],
  ["DATA on a stream that was never opened", frame(FRAME.DATA, 0, 1, Buffer.from("x")), "GOAWAY PROTOCOL_ERROR"],
  [
    "DATA with more padding than payload",
    Buffer.concat([OPEN, frame(FRAME.DATA, PADDED, 1, Buffer.from([5, 1, 1]))]),
    "GOAWAY PROTOCOL_ERROR",
  ],
  ["PADDED DATA without a length of it", Buffer.concat([OPEN, frame(FRAME.DATA, PADDED, 1)]), "GOAWAY 6"],
  [
    "DATA behind END_STREAM",
    Buffer.concat([
      frame(FRAME.HEADERS, ENDS, 1, headerBlock(request({ ":path": "/mute" }))),
      frame(FRAME.DATA, 0, 1, Buffer.from("x")),
    ]),
    "RST STREAM_CLOSED",
  ],
  ["a frame of 16,385 bytes", frame(FRAME.DATA, 0, 1, Buffer.alloc(16_385)), "GOAWAY 6"],
  ["HEADERS on stream 0", frame(FRAME.HEADERS, ENDS, 0, HEAD), "GOAWAY PROTOCOL_ERROR"],
  ["HEADERS on an even stream", frame(FRAME.HEADERS, ENDS, 2, HEAD), "GOAWAY PROTOCOL_ERROR"],
  [
    "HEADERS with more padding than payload",
    frame(FRAME.HEADERS, ENDS | PADDED, 1, Buffer.from([9, 0x82])),
    "GOAWAY PROTOCOL_ERROR",
  ],
  ["HEADERS cut off in their priority", frame(FRAME.HEADERS, ENDS | 0x20, 1, Buffer.from([0, 0])), "GOAWAY 6"],
  ["HEADERS that are no HPACK", frame(FRAME.HEADERS, ENDS, 1, Buffer.from([0x80])), "GOAWAY 9"],
  [
    "a stream lower than one before",
    Buffer.concat([frame(FRAME.HEADERS, ENDS, 3, HEAD), frame(FRAME.HEADERS, ENDS, 1, HEAD)]),
    "GOAWAY STREAM_CLOSED",
  ],
  [
    "a second head without END_STREAM",
    Buffer.concat([OPEN, frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, headerBlock([["x", "1"]]))]),
    "RST PROTOCOL_ERROR",
  ],
  [
    "trailers with a pseudo header",
    Buffer.concat([OPEN, frame(FRAME.HEADERS, ENDS, 1, headerBlock([[":path", "/"]]))]),
    "RST PROTOCOL_ERROR",
  ],
  [
    "trailers with a field of the connection",
    Buffer.concat([OPEN, frame(FRAME.HEADERS, ENDS, 1, headerBlock([["upgrade", "x"]]))]),
    "RST PROTOCOL_ERROR",
  ],
  [
    "trailers with a CR",
    Buffer.concat([OPEN, frame(FRAME.HEADERS, ENDS, 1, headerBlock([["x", "a\rb"]]))]),
    "RST PROTOCOL_ERROR",
  ],
  ["CONTINUATION without HEADERS", frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 1, HEAD), "GOAWAY PROTOCOL_ERROR"],
  [
    "CONTINUATION of another stream",
    Buffer.concat([frame(FRAME.HEADERS, 0, 1, HEAD), frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 3, HEAD)]),
    "GOAWAY PROTOCOL_ERROR",
  ],
  [
    "DATA between HEADERS and CONTINUATION",
    Buffer.concat([OPEN, frame(FRAME.HEADERS, 0, 3, HEAD), frame(FRAME.DATA, 0, 1, Buffer.from("x"))]),
    "GOAWAY PROTOCOL_ERROR",
  ],
  [
    "a frame nobody knows between them",
    Buffer.concat([frame(FRAME.HEADERS, 0, 1, HEAD), frame(0xee, 0, 0)]),
    "GOAWAY PROTOCOL_ERROR",
  ],
  ["PRIORITY on stream 0", frame(FRAME.PRIORITY, 0, 0, Buffer.alloc(5)), "GOAWAY PROTOCOL_ERROR"],
  ["PRIORITY of four bytes", frame(FRAME.PRIORITY, 0, 1, Buffer.alloc(4)), "GOAWAY 6"],
  ["RST_STREAM on stream 0", frame(FRAME.RST_STREAM, 0, 0, uint32(8)), "GOAWAY PROTOCOL_ERROR"],
  ["RST_STREAM on a stream that was never opened", frame(FRAME.RST_STREAM, 0, 1, uint32(8)), "GOAWAY PROTOCOL_ERROR"],
  ["RST_STREAM of three bytes", Buffer.concat([OPEN, frame(FRAME.RST_STREAM, 0, 1, Buffer.alloc(3))]), "GOAWAY 6"],
  ["SETTINGS on a stream", frame(FRAME.SETTINGS, 0, 1), "GOAWAY PROTOCOL_ERROR"],
  ["SETTINGS of five bytes", frame(FRAME.SETTINGS, 0, 0, Buffer.alloc(5)), "GOAWAY 6"],
  ["an answer to SETTINGS with a payload", frame(FRAME.SETTINGS, FLAG.ACK, 0, setting(4, 1)), "GOAWAY 6"],
  ["ENABLE_PUSH of 2", frame(FRAME.SETTINGS, 0, 0, setting(2, 2)), "GOAWAY PROTOCOL_ERROR"],
  [
    "INITIAL_WINDOW_SIZE past its end",
    frame(FRAME.SETTINGS, 0, 0, setting(4, 0x80000000)),
    "GOAWAY FLOW_CONTROL_ERROR",
  ],
  ["MAX_FRAME_SIZE of 16,383", frame(FRAME.SETTINGS, 0, 0, setting(5, 16_383)), "GOAWAY PROTOCOL_ERROR"],
  ["ENABLE_CONNECT_PROTOCOL of 2", frame(FRAME.SETTINGS, 0, 0, setting(8, 2)), "GOAWAY PROTOCOL_ERROR"],
  [
    "PUSH_PROMISE",
    Buffer.concat([OPEN, frame(FRAME.PUSH_PROMISE, FLAG.END_HEADERS, 1, Buffer.concat([uint32(2), HEAD]))]),
    "GOAWAY PROTOCOL_ERROR",
  ],
  ["PING on a stream", frame(FRAME.PING, 0, 1, Buffer.alloc(8)), "GOAWAY PROTOCOL_ERROR"],
  ["PING of seven bytes", frame(FRAME.PING, 0, 0, Buffer.alloc(7)), "GOAWAY 6"],
  ["GOAWAY on a stream", frame(FRAME.GOAWAY, 0, 1, Buffer.alloc(8)), "GOAWAY PROTOCOL_ERROR"],
  ["GOAWAY of seven bytes", frame(FRAME.GOAWAY, 0, 0, Buffer.alloc(7)), "GOAWAY 6"],
  ["WINDOW_UPDATE of five bytes", frame(FRAME.WINDOW_UPDATE, 0, 0, Buffer.alloc(5)), "GOAWAY 6"],
  ["a connection's WINDOW_UPDATE of nothing", frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(0)), "GOAWAY PROTOCOL_ERROR"],
  [
    "a connection's window past its end",
    frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(0x7fffffff)),
    "GOAWAY FLOW_CONTROL_ERROR",
  ],
  [
    "WINDOW_UPDATE on a stream that was never opened",
    frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(1)),
    "GOAWAY PROTOCOL_ERROR",
  ],
  [
    "a stream's WINDOW_UPDATE of nothing",
    Buffer.concat([OPEN, frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(0))]),
    "RST PROTOCOL_ERROR",
  ],
  [
    "a stream's window past its end",
    Buffer.concat([OPEN, frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(0x7fffffff))]),
    "RST FLOW_CONTROL_ERROR",
  ],
  // Odd, and allowed.
  [
    "padding, priority and an unknown flag",
    frame(
      FRAME.HEADERS,
      ENDS | PADDED | 0x20 | 0x40,
      1,
      Buffer.concat([Buffer.from([3]), Buffer.alloc(5), HEAD, Buffer.alloc(3)]),
    ),
    "200 END",
  ],
  [
    "a head in nine frames, most of them empty",
    Buffer.concat([
      frame(FRAME.HEADERS, FLAG.END_STREAM, 1, HEAD.subarray(0, 5)),
      ...Array.from({ length: 7 }, () => frame(FRAME.CONTINUATION, 0, 1)),
      frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 1, HEAD.subarray(5)),
    ]),
    "200 END",
  ],
  [
    "a frame and a setting that nobody knows",
    Buffer.concat([
      frame(0xbb, 0xff, 7, Buffer.alloc(10)),
      frame(FRAME.SETTINGS, 0, 0, setting(0xee, 1)),
      frame(FRAME.HEADERS, ENDS, 1, HEAD),
    ]),
    "200 END",
  ],
  [
    "DATA with padding alone, and END_STREAM on an empty one",
    Buffer.concat([
      OPEN,
      frame(FRAME.DATA, PADDED, 1, Buffer.from([3, 0, 0, 0])),
      frame(FRAME.DATA, FLAG.END_STREAM, 1),
    ]),
    "200 END",
  ],
];

async function home(t: TestContext, limits = {}): Promise<FrontHome> {
  const { port } = await startTarget(t, (req, res) => {
    if (req.url === "/mute") req.resume();
    else if (req.url?.startsWith("/bytes/") === true) sendBytes(res, Number(req.url.slice(7)));
    else void countBytes(req).then((bytes) => res.end(`${bytes}`));
  });
  return startFront(t, [siteConfig("a.test", targetConfig(port))], { limits });
}

test("frames by the letter", async (t) => {
  const front = await home(t);
  for (const [what, bytes, outcome] of ROWS) {
    for (const step of [bytes.length, 1]) {
      if (step === 1 && bytes.length > 1_000) continue;
      await t.test(`${what}${step === 1 ? ", byte by byte" : ""}: ${outcome}`, async (t) => {
        const client = await RawH2.open(front.httpsPort);
        t.after(() => client.destroy());
        for (let at = 0; at < bytes.length; at += step) client.write(bytes.subarray(at, at + step));
        assert.equal(await client.outcome(1), outcome);
      });
    }
  }
  await eventually("nothing is open", () => front.front.openConnections() === 0);
});

test("what comes before SETTINGS, or is no preface, ends the connection", async (t) => {
  const front = await home(t);
  for (const bytes of [
    Buffer.from("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"),
    Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(FRAME.HEADERS, ENDS, 1, HEAD)]),
    Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(FRAME.SETTINGS, FLAG.ACK, 0)]),
  ]) {
    const client = await RawH2.open(front.httpsPort, { preface: false });
    client.write(bytes);
    assert.ok(await client.until(() => client.isClosed));
    assert.equal(client.frames.find(({ type }) => type === FRAME.GOAWAY)?.payload.readUInt32BE(4), CODE.PROTOCOL_ERROR);
  }
});

test("a client that sends more than its windows allow is told so", async (t) => {
  const front = await home(t);
  const client = await RawH2.open(front.httpsPort);
  client.write(
    frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, headerBlock(request({ ":method": "POST", ":path": "/mute" }))),
  );
  // The target takes it all, so windows open again; only what is sent in one go is too much.
  client.write(Buffer.concat(Array.from({ length: 80 }, () => frame(FRAME.DATA, 0, 1, Buffer.alloc(16_384)))));
  assert.match(await client.outcome(1), /FLOW_CONTROL_ERROR/);
  client.destroy();
});

test("two downloads share the way, and a window that shrinks below nothing opens again", async (t) => {
  const front = await home(t);
  const client = await RawH2.open(front.httpsPort);
  const wanted = 400_000;
  client.headers(1, request({ ":path": `/bytes/${wanted}` }));
  client.headers(3, request({ ":path": `/bytes/${wanted}` }));
  const bytes = (stream: number): number =>
    client.of(stream, FRAME.DATA).reduce((sum, { payload }) => sum + payload.length, 0);
  assert.ok(await client.until(() => bytes(1) + bytes(3) === 65_535));
  client.write(frame(FRAME.SETTINGS, 0, 0, setting(4, 0)));
  client.window(0, wanted * 2);
  client.window(1, 200_000);
  client.window(3, 200_000);
  assert.ok(await client.until(() => bytes(1) === 200_000 && bytes(3) === 200_000), `${bytes(1)} and ${bytes(3)}`);
  client.write(frame(FRAME.SETTINGS, 0, 0, setting(4, wanted)));
  assert.equal(await client.outcome(1), "200 END");
  assert.equal(await client.outcome(3), "200 END");
  // Neither waits for the end of the other.
  const order = client.frames.filter(({ type }) => type === FRAME.DATA).map(({ stream }) => stream);
  assert.ok(order.lastIndexOf(1) > order.indexOf(3) && order.lastIndexOf(3) > order.indexOf(1));
  client.destroy();
});

test("a head of an answer that is larger than a frame goes on in CONTINUATION", async (t) => {
  const value = "v".repeat(20_000);
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end(`HTTP/1.1 200 OK\r\nX-Long: ${value}\r\nContent-Length: 2\r\n\r\nok`));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const front = await startFront(t, [siteConfig("a.test", targetConfig((server.address() as AddressInfo).port))], {
    limits: { answerHeadSize: 65_536 },
  });
  const client = await RawH2.open(front.httpsPort);
  client.headers(1, request());
  assert.equal(await client.outcome(1), "200 END");
  const block = Buffer.concat(
    client.frames
      .filter(({ type }) => type === FRAME.HEADERS || type === FRAME.CONTINUATION)
      .map(({ payload }) => payload),
  );
  assert.ok(client.of(1, FRAME.CONTINUATION).length === 1 && block.includes(value));
  client.destroy();
});

test("a drain serves what was sent before its GOAWAY arrived, and says then where it ends", async (t) => {
  const front = await home(t);
  const client = await RawH2.open(front.httpsPort);
  await client.until(() => client.frames.length > 2);
  const drained = front.front.drain({ withinMs: 5_000 });
  const goaways = (): Buffer[] =>
    client.frames.filter(({ type }) => type === FRAME.GOAWAY).map(({ payload }) => payload);
  assert.ok(await client.until(() => goaways().length > 0));
  front.state.draining = true;
  // As if it had not read our GOAWAY yet: the PING behind it has no answer.
  client.headers(1, request());
  assert.equal(await client.outcome(1), "200 END");
  assert.equal(goaways()[0]?.readUInt32BE(0), 0x7fffffff);
  const ping = client.frames.find(({ type, flags }) => type === FRAME.PING && flags === 0);
  client.write(frame(FRAME.PING, FLAG.ACK, 0, ping?.payload));
  assert.ok(await client.until(() => client.isClosed));
  assert.deepEqual([goaways()[1]?.readUInt32BE(0), goaways()[1]?.readUInt32BE(4)], [1, CODE.NO_ERROR]);
  await drained;
});
