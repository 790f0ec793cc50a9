/**
 * Hostile HTTP/2 clients (S9 to S15): each is cut, memory stays, an honest client is served meanwhile, and it is counted
 * without a flood in the log.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectH2 } from "node:http2";
import { test, type TestContext } from "node:test";
import { type Attack, ATTACKS } from "../support/h2-attacks.ts";
import { eventually } from "../support/eventually.ts";
import { type FrontHome, startFront } from "../support/front-home.ts";
import { CODE, FLAG, FRAME, frame, headerBlock, RawH2, request } from "../support/h2-raw.ts";
import { memoryHeldHere } from "../support/held-memory.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { sendBytes, startTarget } from "../support/target.ts";

/** Bytes. What every attack here would need far more of if it were not cut. */
const MOST_SENT = 100_000_000;
const WITHIN_MS = 60_000;
/** Bytes, attacker included: the HPACK bomb alone would be 32 MB for each request. */
const MOST_MEMORY = 96_000_000;

function memoryHeld(): number {
  const { heapUsed, external } = memoryHeldHere();
  return heapUsed + external;
}

async function settled(home: FrontHome): Promise<void> {
  // Kept connections would stay for some seconds.
  home.upstream.close();
  await eventually("nothing is open", () => home.front.openConnections() === 0 && home.upstream.openSockets() === 0);
}

/** Asks again and again, one request at a time, until it is told to stop; the slowest answer in milliseconds. */
function honestClient(t: TestContext, home: FrontHome): { stop(): Promise<{ served: number; slowestMs: number }> } {
  const client = connectH2(`https://a.test:${home.httpsPort}`, {
    ca: home.ca.caPem,
    host: "127.0.0.1",
    servername: "a.test",
  });
  t.after(() => client.destroy());
  const over = new AbortController();
  let served = 0;
  let slowestMs = 0;
  const asking = (async () => {
    while (!over.signal.aborted) {
      const since = performance.now();
      const stream = client.request({ ":authority": "a.test", ":path": "/honest" });
      stream.resume();
      const [headers] = (await once(stream, "response")) as [Record<string, unknown>];
      await once(stream, "close");
      assert.equal(headers[":status"], 200);
      served++;
      slowestMs = Math.max(slowestMs, performance.now() - since);
    }
  })();
  return {
    async stop() {
      over.abort();
      await asking;
      client.close();
      return { served, slowestMs };
    },
  };
}

/** Writes until it is cut; how much it could send. */
async function run(attack: Attack, client: RawH2): Promise<number> {
  const { socket } = client;
  // One for the whole flood: thousands of writes wait for room.
  let wake = (): void => {};
  socket.on("drain", () => wake());
  socket.on("close", () => wake());
  const until = performance.now() + WITHIN_MS;
  let sent = 0;
  if (attack.first !== undefined) client.write(attack.first);
  for (let n = 0; !client.isClosed && socket.writable && sent < MOST_SENT && performance.now() < until; n++) {
    const piece = attack.piece(n);
    sent += piece.length;
    if (socket.write(piece)) {
      if (n % 20 === 19) await new Promise((resolve) => setImmediate(resolve));
    } else {
      await new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, 1_000).unref();
      });
    }
  }
  return sent;
}

for (const attack of ATTACKS) {
  test(`${attack.name}: cut, counted, and nobody else notices`, async (t) => {
    let requests = 0;
    const { port } = await startTarget(t, (req, res) => {
      if (req.url !== "/honest") requests++;
      res.end("ok");
    });
    const home = await startFront(t, [siteConfig("a.test", targetConfig(port))]);
    const honest = honestClient(t, home);
    // Garbage counts: what was made for the attacker in one piece was there.
    const memory = (): number => process.memoryUsage().heapUsed + process.memoryUsage().external;
    const before = memory();
    const client = await RawH2.open(home.httpsPort);
    const sent = await run(attack, client);
    await eventually("the attacker is cut", () => client.isClosed || !client.socket.writable, WITHIN_MS);
    const grown = memory() - before;
    const { served, slowestMs } = await honest.stop();
    client.destroy();
    assert.ok(grown < MOST_MEMORY, `${grown} bytes of memory`);
    assert.ok(sent < MOST_SENT, `${sent} bytes were taken`);
    assert.ok(served > 0 && slowestMs < 10_000, `an honest client waited ${slowestMs} ms`);
    assert.ok(requests < 200, `${requests} requests reached the target`);
    assert.ok(home.recorded.limits.includes(attack.limit), `counted: ${home.recorded.limits.join(", ")}`);
    const loud = home.recorded.lines.filter(({ event, level }) => event !== "access" && Number(level) >= 40);
    assert.ok(loud.length <= 2, JSON.stringify(loud.slice(0, 5)));
    await settled(home);
  });
}

test("requests that are called off one by one, after the target has them, are counted as well", async (t) => {
  const { port } = await startTarget(t, () => {});
  const home = await startFront(t, [siteConfig("a.test", targetConfig(port))], { limits: { h2: { resets: 20 } } });
  const client = await RawH2.open(home.httpsPort);
  let stream = 1;
  for (; !client.isClosed && stream < 101; stream += 2) {
    client.headers(stream, request());
    await eventually("the target is asked", () => client.isClosed || home.upstream.openSockets() > 0);
    client.reset(stream);
    await eventually("it is called off", () => client.isClosed || home.upstream.openSockets() === 0);
  }
  assert.ok(await client.until(() => client.isClosed));
  assert.ok(stream >= 39 && stream < 60, `cut after ${(stream - 1) / 2}`);
  const goaway = client.frames.find(({ type }) => type === FRAME.GOAWAY);
  assert.equal(goaway?.payload.readUInt32BE(4), CODE.ENHANCE_YOUR_CALM);
  assert.deepEqual(home.recorded.limits, ["h2_resets"]);
  await settled(home);
});

test("an honest upload in small pieces, a download with eager window updates and pings are no flood", async (t) => {
  const { port } = await startTarget(t, (req, res) => {
    req.resume();
    if (req.url === "/up") req.on("end", () => res.end("ok"));
    else sendBytes(res, 30_000_000);
  });
  const home = await startFront(t, [siteConfig("a.test", targetConfig(port))], {
    limits: { h2: { overhead: 20_000 } },
  });
  const client = await RawH2.open(home.httpsPort);
  client.headers(1, request({ ":method": "POST", ":path": "/up" }), FLAG.END_HEADERS);
  const small = Buffer.concat(Array.from({ length: 1_000 }, () => frame(FRAME.DATA, 0, 1, Buffer.from("sixsix"))));
  for (let count = 0; count < 10; count++) {
    client.write(small);
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
  client.data(1, "");
  assert.equal(await client.outcome(1), "200 END");
  // Updates for every 4 KiB, of the stream and of the session.
  client.headers(3, request());
  let opened = 0;
  let read = 0;
  let at = 0;
  const isWhole = await client.until(() => {
    for (; at < client.frames.length; at++) {
      const one = client.frames[at];
      if (one?.stream === 3 && one.type === FRAME.DATA) read += one.payload.length;
    }
    for (; read - opened >= 4_096; opened += 4_096) {
      client.window(0, 4_096);
      client.window(3, 4_096);
    }
    return client.hasEnded(3);
  }, 30_000);
  assert.ok(isWhole && read === 30_000_000, `${read} bytes; ${home.recorded.limits.join(", ")}`);
  assert.deepEqual(home.recorded.limits, []);
  client.destroy();
  await settled(home);
});

test("a hundred streams without a window hold little, and are cut (S15)", async (t) => {
  const { port } = await startTarget(t, (_, res) => sendBytes(res, 50_000_000));
  const home = await startFront(t, [siteConfig("a.test", targetConfig(port))], { limits: { writeStallMs: 700 } });
  const honest = honestClient(t, home);
  const before = memoryHeld();
  const client = await RawH2.open(home.httpsPort, { settings: [[4, 0]] });
  for (let stream = 1; stream < 200; stream += 2) client.headers(stream, request());
  await client.until(() => client.hasEnded(1));
  const grown = memoryHeld() - before;
  assert.ok(grown < MOST_MEMORY, `${grown} bytes of memory`);
  assert.equal(await client.outcome(1), "200 RST INTERNAL_ERROR");
  await client.until(() => client.hasEnded(199));
  assert.ok(home.recorded.limits.includes("write_stall"), home.recorded.limits.join(", "));
  const { served } = await honest.stop();
  assert.ok(served > 0, "nobody else was served");
  client.destroy();
  await settled(home);
});

test("half a preface, half a head and a head in drops are cut in time (S14)", async (t) => {
  const { port } = await startTarget(t, (_, res) => res.end("ok"));
  const home = await startFront(t, [siteConfig("a.test", targetConfig(port))], { limits: { h2: { idleMs: 200 } } });
  const preface = await RawH2.open(home.httpsPort, { preface: false });
  preface.write(Buffer.from("PRI * HTTP/2.0\r\n"));
  const head = await RawH2.open(home.httpsPort);
  head.headers(1, request(), FLAG.END_STREAM);
  const drops = await RawH2.open(home.httpsPort);
  const bytes = frame(
    FRAME.HEADERS,
    FLAG.END_HEADERS | FLAG.END_STREAM,
    1,
    headerBlock(request({ "x-long": "x".repeat(500) })),
  );
  let at = 0;
  const drip = setInterval(() => drops.write(bytes.subarray(at, ++at)), 20);
  t.after(() => clearInterval(drip));
  for (const client of [preface, head, drops]) assert.ok(await client.until(() => client.isClosed));
  // The raw client acknowledges SETTINGS, in the middle of a preface or a head: that ends two of them sooner.
  assert.deepEqual([home.recorded.limits.length, home.recorded.limits.includes("h2_idle_time")], [3, true]);
  clearInterval(drip);
  await settled(home);
});
