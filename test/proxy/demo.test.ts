/**
 * The built-in sample target, seen through the proxy and straight.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { WebSocket } from "ws";
import { createDemo } from "../../src/proxy/demo/demo.ts";
import { eventually } from "../support/eventually.ts";
import { proxyConfig, siteConfig, startLane, targetConfig } from "../support/proxy-lane.ts";
import { ask, rawClient, valueOf } from "../support/raw-client.ts";

const DEMO = proxyConfig([siteConfig("home.localhost", targetConfig(0, { kind: "demo", text: "demo" }))]);

/** The demo on a port of its own, for clients that want one. */
async function startDemo(t: TestContext): Promise<number> {
  const demo = createDemo();
  const server = createServer((socket) => {
    const inside = demo.connect();
    socket.on("error", () => inside.destroy());
    socket.pipe(inside).pipe(socket);
    socket.on("close", () => inside.destroy());
    inside.on("close", () => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    demo.close();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

test("the page shows what the target saw, escaped, and asks nothing of the outside", async (t) => {
  const { port } = await startLane(t, DEMO);
  const answer = await ask(
    t,
    port,
    `GET /?q=<script> HTTP/1.1\r\nHost: home.localhost\r\nX-Mark: <img src=x onerror="alert(1)">`,
  );
  assert.equal(answer.status, 200);
  assert.match(answer.body, /x-forwarded-for[^]*127\.0\.0\.1/);
  assert.match(answer.body, /&lt;img src=x onerror=&quot;alert\(1\)&quot;&gt;/);
  assert.doesNotMatch(answer.body, /<img|\/\?q=<script>|https?:\/\//);
  assert.match(valueOf(answer.headers, "content-security-policy") ?? "", /default-src 'none'/);
});

test("/api/echo tells method, path, headers and body as JSON", async (t) => {
  const { port } = await startLane(t, DEMO);
  const answer = await ask(
    t,
    port,
    "POST /api/echo?x=1 HTTP/1.1\r\nHost: home.localhost:8443\r\nContent-Length: 5",
    "hello",
  );
  const seen = JSON.parse(answer.body) as {
    method: string;
    path: string;
    clientAddress: string;
    headers: [string, string][];
    body: string;
    bodyBytes: number;
  };
  assert.deepEqual(
    [seen.method, seen.path, seen.clientAddress, seen.body, seen.bodyBytes],
    ["POST", "/api/echo?x=1", "127.0.0.1", "hello", 5],
  );
  assert.equal(valueOf(seen.headers, "host"), "home.localhost:8443");
});

test("/sse sends its first event at once and stops when the client leaves", async (t) => {
  const { port, upstream } = await startLane(t, DEMO);
  const client = rawClient(t, port);
  client.send("GET /sse HTTP/1.1\r\nHost: home.localhost\r\n\r\n");
  await client.until("two events", (received) => (received.match(/event: clock/g)?.length ?? 0) >= 2);
  client.socket.destroy();
  await eventually("closed", () => upstream.openSockets() <= 0);
});

test("what the sample target does not have says 404", async (t) => {
  const { port } = await startLane(t, DEMO);
  assert.equal((await ask(t, port, "GET /nothing HTTP/1.1\r\nHost: home.localhost")).status, 404);
});

test("the WebSocket echoes text, binary, fragments and large messages, answers pings and closes as asked", async (t) => {
  const port = await startDemo(t);
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`);
  await once(socket, "open");
  const echo = async (data: string | Buffer): Promise<{ data: Buffer; isBinary: boolean }> => {
    const heard = once(socket, "message") as Promise<[Buffer, boolean]>;
    socket.send(data);
    const [back, isBinary] = await heard;
    return { data: back, isBinary };
  };
  for (const text of ["hello", "", "ü€😀", "x".repeat(200), "y".repeat(70_000), "z".repeat(1_048_576)]) {
    const back = await echo(text);
    assert.deepEqual([back.data.toString(), back.isBinary], [text, false]);
  }
  const bytes = Buffer.from([0, 255, 128, 1]);
  assert.deepEqual(await echo(bytes), { data: bytes, isBinary: true });
  const joined = once(socket, "message") as Promise<[Buffer]>;
  socket.send("one ", { fin: false });
  socket.send("two", { fin: true });
  assert.equal((await joined)[0].toString(), "one two");
  const pong = once(socket, "pong") as Promise<[Buffer]>;
  socket.ping("beat");
  assert.equal((await pong)[0].toString(), "beat");
  const closed = once(socket, "close") as Promise<[number]>;
  socket.close(4_321, "done");
  assert.equal((await closed)[0], 4_321);
});

/** Client frames: masked with zeros, so that the payload is readable here. */
const frame = (first: number, payload: Buffer | string, size = Buffer.byteLength(payload)): Buffer =>
  Buffer.concat([Buffer.from([first, 0x80 | size, 0, 0, 0, 0]), Buffer.from(payload)]);

for (const [name, bytes, code] of [
  ["an unmasked frame", Buffer.from([0x81, 0x01, 0x61]), 1002],
  ["a reserved bit", frame(0xc1, "a"), 1002],
  ["an unknown opcode", frame(0x83, "a"), 1002],
  ["a continuation of nothing", frame(0x80, "a"), 1002],
  ["a new message inside another", Buffer.concat([frame(0x01, "a"), frame(0x81, "b")]), 1002],
  ["a fragmented ping", frame(0x09, "a"), 1002],
  ["a close with half a code", frame(0x88, "a"), 1002],
  ["a close code that may not be sent", frame(0x88, Buffer.from([3, 237])), 1002],
  ["a close without a code", frame(0x88, ""), 1000],
  ["text that is not UTF-8", frame(0x81, Buffer.from([0xff, 0xfe])), 1007],
  ["a message that is announced too large", Buffer.from([0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0]), 1009],
] as const) {
  test(`the WebSocket answers ${name} with ${code}`, async (t) => {
    const client = rawClient(t, await startDemo(t));
    client.send(
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    await client.until("101", (received) => received.includes("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client.send(bytes);
    const received = await client.closed();
    const close = Buffer.from(received.slice(received.indexOf("\r\n\r\n") + 4), "latin1");
    assert.deepEqual([close[0], close.readUInt16BE(2)], [0x88, code]);
  });
}
