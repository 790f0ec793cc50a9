/**
 * The compat lane with honest clients and honest or tired targets: framing, streaming, limits, deadlines, aborts.
 */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { Agent, request as httpRequest } from "node:http";
import { test, type TestContext } from "node:test";
import type { SiteConfig } from "../../src/config/model.ts";
import { eventually } from "../support/eventually.ts";
import {
  limitsConfig,
  proxyConfig,
  type RunningLane,
  siteConfig,
  startLane,
  targetConfig,
} from "../support/proxy-lane.ts";
import { ask, rawClient, valueOf } from "../support/raw-client.ts";
import { startRecordingTarget } from "../support/recording-target.ts";
import { countBytes, sendBytes, startTarget } from "../support/target.ts";

const GET = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

async function laneTo(t: TestContext, port: number, changes: Partial<SiteConfig> = {}): Promise<RunningLane> {
  return startLane(t, proxyConfig([siteConfig("a.test", targetConfig(port), changes)]));
}

const timeouts = (changes: Partial<SiteConfig["timeouts"]>): Partial<SiteConfig> => {
  return { timeouts: { connectMs: 5_000, firstByteMs: 5_000, idleMs: 5_000, tunnelIdleMs: 5_000, ...changes } };
};

test("one connection to the target serves many requests of many clients", async (t) => {
  const target = await startRecordingTarget(t);
  const { port, recorded } = await laneTo(t, target.port);
  for (let at = 0; at < 5; at++) assert.equal((await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test")).body, "ok");
  assert.equal(target.connections(), 1);
  assert.deepEqual(
    recorded.access.map(({ status, bytesOut, upstream }) => [status, bytesOut, upstream]),
    Array.from({ length: 5 }, () => [200, 2, `127.0.0.1:${target.port}`]),
  );
});

for (const [name, method, answer, expected] of [
  [
    "HEAD keeps the length and has no body",
    "HEAD",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    ["5", undefined, ""],
  ],
  ["204 has neither body nor length", "GET", "HTTP/1.1 204 No Content\r\n\r\n", [undefined, undefined, ""]],
  [
    "304 keeps the length of what it does not send",
    "GET",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n",
    ["5", undefined, ""],
  ],
  ["an empty answer keeps its zero", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ["0", undefined, ""]],
  [
    "a chunked answer stays chunked",
    "GET",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    [undefined, "chunked", "ok"],
  ],
] as const) {
  test(name, async (t) => {
    const target = await startRecordingTarget(t, (_, socket) => void socket.write(answer));
    const { port } = await laneTo(t, target.port);
    const client = rawClient(t, port);
    client.send(`${method} / HTTP/1.1\r\nHost: a.test\r\n\r\n`);
    const [first] = await client.answers(1, [method]);
    assert.deepEqual(
      [
        valueOf(first?.headers ?? [], "content-length"),
        valueOf(first?.headers ?? [], "transfer-encoding"),
        first?.body,
      ],
      expected,
    );
    client.send(`${method} / HTTP/1.1\r\nHost: a.test\r\n\r\n`);
    await client.answers(2, [method, method]);
    assert.equal(target.connections(), 1);
  });
}

test("a target that ends its answer by closing is relayed, and its connection is not kept", async (t) => {
  const target = await startRecordingTarget(t, (_, socket) => void socket.end("HTTP/1.0 200 OK\r\n\r\nall of it"));
  const { port } = await laneTo(t, target.port);
  assert.equal((await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test")).body, "all of it");
  await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test");
  assert.equal(target.connections(), 2);
});

test("an HTTP/1.0 client gets a plain body and a close", async (t) => {
  const target = await startTarget(t, (_, res) => {
    res.write("a");
    res.end("b");
  });
  const { port } = await laneTo(t, target.port);
  const client = rawClient(t, port);
  client.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
  const received = await client.closed();
  assert.match(received, /\r\n\r\nab$/);
  assert.doesNotMatch(received, /transfer-encoding/i);
});

test("an event is at the client as soon as the target sends it", async (t) => {
  let send: ((text: string) => void) | undefined;
  const target = await startTarget(t, (_, res) => {
    res.writeHead(200, { "content-type": "text/event-stream" });
    res.flushHeaders();
    send = (text) => void res.write(text);
  });
  const { port } = await laneTo(t, target.port);
  const client = rawClient(t, port);
  client.send(GET);
  // The head does not wait for the first event.
  await client.until("the head", (received) => received.includes("\r\n\r\n"));
  for (const event of ["data: 1\n\n", "data: 2\n\n"]) {
    const sentAt = performance.now();
    send?.(event);
    await client.until(event, (received) => received.includes(event));
    assert.ok(performance.now() - sentAt < 50);
  }
});

test("64 MB go up and down unchanged", async (t) => {
  const total = 64 * 1_048_576;
  const up = await startTarget(t, (req, res) => {
    if (req.method === "GET") sendBytes(res, total);
    else void countBytes(req).then((bytes) => res.end(String(bytes)));
  });
  const { port } = await laneTo(t, up.port);
  const agent = new Agent();
  t.after(() => agent.destroy());
  const down = httpRequest({ port, host: "127.0.0.1", headers: { host: "a.test" }, agent }).end();
  const [answer] = (await once(down, "response")) as [import("node:http").IncomingMessage];
  assert.equal(await countBytes(answer), total);
  const upload = httpRequest({ port, host: "127.0.0.1", method: "PUT", headers: { host: "a.test" }, agent });
  const piece = Buffer.alloc(1_048_576, "u");
  for (let at = 0; at < 64; at++) if (!upload.write(piece)) await once(upload, "drain");
  upload.end();
  const [done] = (await once(upload, "response")) as [import("node:http").IncomingMessage];
  assert.equal((await done.toArray()).join(""), String(total));
});

test("binary bodies arrive bit for bit", async (t) => {
  const body = randomBytes(300_000);
  const target = await startTarget(t, (req, res) => req.pipe(res));
  const { port } = await laneTo(t, target.port);
  const client = rawClient(t, port);
  client.send(`POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`);
  client.send(body);
  const [answer] = await client.answers(1);
  const hash = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
  assert.equal(hash(Buffer.from(answer?.body ?? "", "latin1")), hash(body));
});

test("a client that does not read stops the target, and a target that does not read stops the client", async (t) => {
  let written = 0;
  const fast = await startTarget(t, (req, res) => {
    if (req.method === "POST") return;
    const piece = Buffer.alloc(65_536);
    const more = () => {
      while (written < 512 * 1_048_576) {
        written += piece.length;
        if (!res.write(piece)) return;
      }
    };
    res.on("drain", more);
    more();
  });
  const config = proxyConfig([siteConfig("a.test", targetConfig(fast.port), timeouts({ idleMs: 500 }))], {
    limits: limitsConfig({ writeStallMs: 500 }),
  });
  const { port, recorded } = await startLane(t, config);
  const reader = rawClient(t, port);
  reader.socket.pause();
  reader.send(GET);
  // The lane says itself when nothing has moved for long.
  await eventually("nothing moves", () => recorded.limits.includes("write_stall"));
  // What fills are the buffers of three sockets; the kernel's grow to several megabytes on loopback.
  assert.ok(written > 0 && written < 64 * 1_048_576, `target wrote ${written}`);

  const writer = rawClient(t, port);
  writer.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
  let sent = 0;
  const chunk = Buffer.concat([Buffer.from("10000\r\n"), Buffer.alloc(65_536), Buffer.from("\r\n")]);
  const push = () => {
    while (sent < 512 * 1_048_576 && writer.socket.write(chunk)) sent += chunk.length;
  };
  writer.socket.on("drain", push);
  push();
  await eventually("nothing moves", () => recorded.access.some(({ status }) => status === 504));
  assert.ok(sent > 0 && sent < 64 * 1_048_576, `client sent ${sent}`);
});

test("a chunked body is cut off at maxBody with a 413, and the target never sees it whole", async (t) => {
  const target = await startRecordingTarget(t);
  const { port, recorded, upstream } = await laneTo(t, target.port, { maxBody: 10 });
  const client = rawClient(t, port);
  client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n");
  await eventually("first piece", () => upstream.openSockets() === 1);
  client.send("8\r\n12345678\r\n0\r\n\r\n");
  assert.match(await client.closed(), /^HTTP\/1\.1 413 /);
  assert.deepEqual(target.requests, []);
  await eventually("target's connection is gone", () => upstream.openSockets() === 0);
  assert.deepEqual(recorded.upstreamErrors, []);
  const declared = rawClient(t, port);
  declared.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 11\r\n\r\n");
  assert.match(await declared.closed(), /^HTTP\/1\.1 413 /);
});

test("a client that waits for 100 hears 413 instead and sends nothing", async (t) => {
  const target = await startRecordingTarget(t);
  const { port } = await laneTo(t, target.port, { maxBody: 10 });
  const client = rawClient(t, port);
  client.send("POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n");
  assert.match(await client.closed(), /^HTTP\/1\.1 413 /);
  assert.equal(target.connections(), 0);
});

// CVE-2025-4366 class: the rest of an upload must not become a request, on either connection.
test("an answer in the middle of an upload arrives, then both connections end", async (t) => {
  const target = await startTarget(t, (_, res) => void res.writeHead(403).end("no"));
  const { port, upstream, recorded } = await laneTo(t, target.port);
  const client = rawClient(t, port);
  client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\nsome");
  await client.until("403", (received) => received.includes("no"));
  client.send(`${"x".repeat(996)}GET /SMUG HTTP/1.1\r\nHost: a.test\r\n\r\n`);
  const received = await client.closed();
  assert.match(received, /^HTTP\/1\.1 403 Forbidden\r\n[^]*connection: close\r\n/);
  assert.equal(received.match(/HTTP\/1\.1/g)?.length, 1);
  await eventually("closed", () => upstream.openSockets() === 0 && recorded.access.length === 1);
});

test("an answer that flows while the upload flows goes on to the end of both", async (t) => {
  const target = await startTarget(t, (req, res) => req.pipe(res));
  const { port } = await laneTo(t, target.port);
  const client = rawClient(t, port);
  client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
  await client.until("first echo", (received) => received.includes("one"));
  client.send("3\r\ntwo\r\n0\r\n\r\n");
  const [answer] = await client.answers(1);
  assert.equal(answer?.body, "onetwo");
});

test("a kept connection that died is replaced once for a GET, never for a POST", async (t) => {
  let asked = 0;
  const target = await startRecordingTarget(t, (request, socket) => {
    asked++;
    // The second request on a connection finds it dying.
    if (asked % 2 === 0 && request.target === "/dies") socket.destroy();
    else socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  });
  const { port, recorded } = await laneTo(t, target.port);
  await ask(t, port, "GET /first HTTP/1.1\r\nHost: a.test");
  assert.equal((await ask(t, port, "GET /dies HTTP/1.1\r\nHost: a.test")).status, 200);
  assert.equal(target.connections(), 2);
  assert.deepEqual(recorded.upstreamErrors, []);
  asked = 0;
  await ask(t, port, "GET /first HTTP/1.1\r\nHost: a.test");
  assert.equal((await ask(t, port, "POST /dies HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2", "hi")).status, 502);
  asked = 1;
  // On a fresh connection nothing is tried again: the target has seen the request.
  assert.equal((await ask(t, port, "GET /dies HTTP/1.1\r\nHost: a.test")).status, 502);
});

test("a client that is silent in its body hears 408; a target that is silent in its answer is cut", async (t) => {
  const target = await startTarget(t, (req, res) => {
    if (req.method === "GET") res.writeHead(200, { "content-length": "9" }).write("x");
    else req.resume();
  });
  const { port, recorded, upstream } = await laneTo(t, target.port, timeouts({ idleMs: 200 }));
  const slow = rawClient(t, port);
  slow.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nx");
  assert.match(await slow.closed(), /^HTTP\/1\.1 408 /);
  const cut = rawClient(t, port);
  cut.send(GET);
  assert.match(await cut.closed(), /\r\n\r\nx$/);
  await eventually("both are logged", () => recorded.access.length === 2);
  assert.deepEqual(
    recorded.access.map(({ status, error }) => [status, error]),
    [
      [408, "GATEHOUSE_REQUEST_REFUSED"],
      [200, "GATEHOUSE_UPSTREAM_SLOW"],
    ],
  );
  await eventually("no connection is left", () => upstream.openSockets() === 0);
});

test("a client that takes nothing of its answer is cut off, and the target with it", async (t) => {
  const target = await startTarget(t, (_, res) => sendBytes(res, 512 * 1_048_576));
  const config = proxyConfig([siteConfig("a.test", targetConfig(target.port))], {
    limits: limitsConfig({ writeStallMs: 300 }),
  });
  const { port, lane, upstream, recorded } = await startLane(t, config);
  const client = rawClient(t, port);
  client.socket.pause();
  client.send(GET);
  await eventually("both gone", () => recorded.access.length === 1 && lane.openConnections() === 0);
  await eventually("target's connection", () => upstream.openSockets() === 0);
});

test("a slow answer is no stalled client", async (t) => {
  let finish: (() => void) | undefined;
  const target = await startTarget(t, (req, res) => {
    if (req.url === "/endless") {
      sendBytes(res, 512 * 1_048_576);
      return;
    }
    res.write("first");
    finish = () => res.end("last");
  });
  const config = proxyConfig([siteConfig("a.test", targetConfig(target.port))], {
    limits: limitsConfig({ writeStallMs: 50 }),
  });
  const { port, recorded } = await startLane(t, config);
  const client = rawClient(t, port);
  client.send(GET);
  await client.until("first", (received) => received.includes("first"));
  // Others meet the limit of a client's silence, one after the other.
  for (let count = 1; count <= 3; count++) {
    const stalled = rawClient(t, port);
    stalled.socket.pause();
    stalled.send("GET /endless HTTP/1.1\r\nHost: a.test\r\n\r\n");
    await eventually("one that stalls is cut", () => recorded.access.length === count);
  }
  finish?.();
  await client.until("last", (received) => received.includes("last"));
});

test("a target that stays away is a line in the log now and then, not one per visitor", async (t) => {
  const { port, recorded } = await laneTo(t, 9);
  for (let at = 0; at < 5; at++) assert.equal((await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test")).status, 502);
  const lines = recorded.lines.filter(({ event }) => event === "upstream.failed");
  assert.equal(lines.length, 1);
  assert.match(String(lines[0]?.["hint"]), /listen/);
  assert.equal(recorded.upstreamErrors.length, 5);
});

test("a head that drips is answered 408 and closed", async (t) => {
  const config = proxyConfig([siteConfig("a.test", targetConfig(9))], { limits: limitsConfig({ headMs: 100 }) });
  const { port, lane, recorded } = await startLane(t, config);
  assert.equal(lane.server.requestTimeout, 0);
  const client = rawClient(t, port);
  client.send("GET / HTTP/1.1\r\nHost: a.te");
  assert.match(await client.closed(8_000), /^HTTP\/1\.1 408 /);
  assert.deepEqual(recorded.limits, ["head_time"]);
});

test("requests far ahead of their answers close the connection instead of filling memory", async (t) => {
  const target = await startRecordingTarget(t, () => {});
  const { port, recorded } = await laneTo(t, target.port);
  const client = rawClient(t, port);
  client.send(GET.repeat(1_000));
  assert.equal(await client.closed(), "");
  // One at a time: the others never became an exchange.
  assert.equal(target.requests.length <= 1, true);
  await eventually("logged", () => recorded.access.length === 1);
});

test("when every connection to a target is busy the next request says 503", async (t) => {
  const target = await startRecordingTarget(t, () => {});
  const { port } = await laneTo(t, target.port, timeouts({ connectMs: 1_500 }));
  const busy = Array.from({ length: 256 }, () => {
    const client = rawClient(t, port);
    client.send(GET);
    return client;
  });
  await eventually("256 busy", () => target.requests.length === 256);
  const answer = await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test");
  assert.equal(answer.status, 503);
  assert.equal(valueOf(answer.headers, "retry-after"), "5");
  for (const client of busy) client.socket.destroy();
});

test("drain lets an answer end and serves one more request of a kept connection; who comes too late gets 503", async (t) => {
  let finish: (() => void) | undefined;
  const target = await startTarget(t, (_, res) => {
    res.write("begun");
    finish = () => res.end(" and ended");
  });
  const { port, lane, state } = await laneTo(t, target.port);
  const idle = rawClient(t, port);
  idle.send("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n");
  await idle.answers(1);
  const busy = rawClient(t, port);
  busy.send(GET);
  await busy.until("begun", (received) => received.includes("begun"));
  const quiet = rawClient(t, port);
  quiet.send("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n");
  await quiet.answers(1);
  state.leaving = true;
  lane.drain(500);
  idle.send("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n");
  assert.match(await idle.closed(), /^HTTP\/1\.1 204 (?:(?!close)[^])*HTTP\/1\.1 204 [^]*\r\nconnection: close\r\n/i);
  assert.doesNotMatch(await quiet.closed(), /close/i);
  finish?.();
  assert.match(await busy.closed(), /and ended\r\n0\r\n\r\n$/);
  state.draining = true;
  const late = await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test");
  assert.equal(late.status, 503);
  assert.equal(valueOf(late.headers, "connection"), "close");
});

test("an upgrade behind a request waits until that one is answered", async (t) => {
  const target = await startRecordingTarget(t);
  const { port, upgrades } = await laneTo(t, target.port);
  const client = rawClient(t, port);
  client.send(
    `${GET}GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n` +
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  );
  assert.match(await client.closed(), /^HTTP\/1\.1 200 [^]*okHTTP\/1\.1 101 /);
  assert.equal(upgrades[0]?.head.target, "/ws");
});

for (const [name, change, status] of [
  ["a key that is not 16 bytes", ["dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="], 400],
  ["a body", ["Upgrade: websocket", "Upgrade: websocket\r\nContent-Length: 5"], 400],
  ["two protocols", ["Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: x"], 400],
  ["HTTP/1.0", ["HTTP/1.1", "HTTP/1.0"], 400],
  ["another method", ["GET", "PUT"], 400],
  ["another version", ["13", "8"], 426],
] as const) {
  test(`an upgrade with ${name} is refused with ${status} before anything is dialled`, async (t) => {
    const target = await startRecordingTarget(t);
    const { port, upgrades, recorded } = await laneTo(t, target.port);
    const client = rawClient(t, port);
    const head =
      "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.send(head.replace(change[0], change[1]));
    assert.match(await client.closed(), new RegExp(`^HTTP/1\\.1 ${status} `));
    assert.deepEqual([upgrades.length, target.connections()], [0, 0]);
    assert.equal(recorded.access.length, 1);
  });
}

test("thousands of aborted requests leave no connection behind", async (t) => {
  const target = await startTarget(t, (req, res) => {
    req.resume();
    // Silent, or in the middle of an answer.
    if (req.url === "/stream") sendBytes(res, 10_000_000);
  });
  const { port, upstream, recorded, lane } = await laneTo(t, target.port);
  const heads = [
    "GET /stream HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "GET /silent HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST /up HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\nabc",
    "POST /up HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    "GET /stream HTTP/1.1\r\nHost: a.test\r\n",
  ];
  let left = 2_000;
  const worker = async (): Promise<void> => {
    while (left-- > 0) {
      const client = rawClient(t, port);
      const head = heads[left % heads.length] ?? "";
      client.send(head);
      await once(client.socket, "connect");
      if (left % 3 === 0 && head.includes("/stream") && head.endsWith("\r\n\r\n"))
        await client.until("bytes", (received) => received !== "");
      if (left % 2 === 0) client.socket.resetAndDestroy();
      else client.socket.destroy();
    }
  };
  await Promise.all(Array.from({ length: 20 }, worker));
  await eventually("all closed", () => lane.openConnections() === 0 && upstream.openSockets() === 0, 10_000);
  assert.equal(recorded.access.length, recorded.started);
  const connections = await new Promise<number>((resolve, reject) =>
    target.server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
  );
  assert.equal(connections, 0);
});
