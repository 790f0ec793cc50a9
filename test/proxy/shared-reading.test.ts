/**
 * Records of TLS clients in one buffer: on this Node it is really so, a socket can become an ordinary stream again, and
 * bodies stay whole while the buffer is read into anew.
 */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { PassThrough } from "node:stream";
import { test, type TestContext } from "node:test";
import { connect, createServer, type TLSSocket } from "node:tls";
import { createYoungGarbage } from "../../src/core/young-garbage.ts";
import { SharedReading } from "../../src/proxy/lanes/fast/shared-reading.ts";
import { makeCa } from "../support/certificates.ts";
import { startFront } from "../support/front-home.ts";
import { memoryHeldHere } from "../support/held-memory.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { startTarget } from "../support/target.ts";
import { secureClient } from "../support/tls-client.ts";

/** Both ends of a TLS connection. */
async function pair(t: TestContext): Promise<{ accepted: TLSSocket; client: TLSSocket }> {
  const { keyPem, certificatePem, caPem } = await (await makeCa()).issue({ names: ["a.test"] });
  const server = createServer({ key: keyPem, cert: certificatePem });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const client = connect({ host: "127.0.0.1", port, servername: "a.test", ca: caPem });
  const [accepted] = (await once(server, "secureConnection")) as [TLSSocket];
  t.after(() => {
    client.destroy();
    accepted.destroy();
    server.close();
  });
  return { accepted, client };
}

test("records are given in one piece of memory, and a copy stays", async (t) => {
  const { accepted, client } = await pair(t);
  const reading = new SharedReading(createYoungGarbage());
  let arrived: (bytes: Buffer) => void = () => {};
  const next = () => new Promise<Buffer>((resolve) => (arrived = resolve));
  reading.start(accepted, (bytes) => arrived(bytes));
  client.write("first");
  const first = await next();
  const [kept, copied] = [reading.keep(first, client), reading.copy(first)];
  client.write("other");
  const other = await next();
  assert.equal(first.buffer, other.buffer);
  assert.equal(`${first.toString()} ${kept.toString()} ${copied.toString()}`, "other first first");
  assert.equal(accepted.listenerCount("data"), 0);
});

test("memory of kept pieces is filled again once they are taken, and not before", async (t) => {
  const { accepted, client } = await pair(t);
  const other = await pair(t);
  const reading = new SharedReading(createYoungGarbage());
  let arrived: (bytes: Buffer) => void = () => {};
  reading.start(accepted, (bytes) => arrived(bytes));
  const kept = async (taker: TLSSocket): Promise<Buffer> => {
    const bytes = new Promise<Buffer>((resolve) => (arrived = resolve));
    client.write("some bytes of a body");
    return reading.keep(await bytes, taker);
  };
  const first = await kept(other.client);
  // Corked, as an upload is until the end of the turn.
  other.client.cork();
  other.client.write(first);
  const second = await kept(other.accepted);
  assert.equal(second.byteOffset, first.byteOffset + first.length);
  other.client.uncork();
  await once(other.accepted, "data");
  while (other.client.writableLength > 0) await new Promise((resolve) => setImmediate(resolve));
  const third = await kept(other.client);
  assert.equal(third.buffer, first.buffer);
  assert.equal(third.byteOffset, first.byteOffset);
});

test("a target that takes nothing does not keep the memory of the others from being filled again", async (t) => {
  const { accepted, client } = await pair(t);
  const [deaf, quick] = [await pair(t), await pair(t)];
  const reading = new SharedReading(createYoungGarbage());
  deaf.client.cork();
  const memories = new Set<ArrayBufferLike>();
  const hash = createHash("sha256");
  let size = 0;
  let held: Buffer | undefined;
  reading.start(accepted, (bytes) => {
    if (held === undefined) deaf.client.write((held = reading.keep(bytes, deaf.client)));
    const piece = reading.keep(bytes, quick.client);
    memories.add(piece.buffer);
    size += piece.length;
    if (!quick.client.write(piece)) accepted.pause();
  });
  quick.client.on("drain", () => accepted.resume());
  const taken = createHash("sha256");
  quick.accepted.on("data", (piece: Buffer) => taken.update(piece));
  const body = randomBytes(6_000_000);
  client.write(body);
  while (size < body.length) await new Promise((resolve) => setImmediate(resolve));
  quick.client.end();
  await once(quick.accepted, "end");
  assert.equal(taken.digest("hex"), hash.update(body).digest("hex"));
  assert.ok(memories.size <= 3, `${memories.size} memories`);
  assert.equal(Buffer.compare(held ?? Buffer.alloc(0), body.subarray(0, held?.length)), 0);
});

/** Reads on and gives the pieces one by one. */
function pieces(reading: SharedReading, socket: TLSSocket): () => Promise<Buffer> {
  let arrived: (bytes: Buffer) => void = () => {};
  reading.start(socket, (bytes) => arrived(bytes));
  return () => new Promise((resolve) => (arrived = resolve));
}

test("with memory of its own a body is not copied, and what was taken is written over", async (t) => {
  const { accepted, client } = await pair(t);
  const other = await pair(t);
  const reading = new SharedReading(createYoungGarbage());
  const next = pieces(reading, accepted);
  const ask = async (text: string): Promise<Buffer> => {
    const piece = next();
    client.write(text);
    return piece;
  };
  const shared = await ask("before");
  assert.equal(reading.lend(accepted, other.client), true);
  assert.equal((await ask("the last in the buffer of all")).buffer, shared.buffer);
  // Corked with what came before, as when a target is slow: it has not taken what it is given now.
  other.client.cork();
  other.client.write("sooner");
  const first = await ask("first");
  assert.notEqual(first.buffer, shared.buffer);
  assert.equal(reading.keep(first, other.client), first);
  const second = await ask("second");
  assert.equal(`${first.toString()} ${second.toString()}`, "first second");
  assert.equal(second.buffer, first.buffer);
  const copied = reading.copy(second);
  other.client.uncork();
  while (other.client.writableLength > 0) await new Promise((resolve) => setImmediate(resolve));
  await ask("goes behind");
  const again = await ask("over");
  assert.equal(again.byteOffset, first.byteOffset);
  assert.equal(copied.toString(), "second");
  reading.takeBack(accepted);
  await ask("the last in its own");
  assert.equal((await ask("in the buffer of all")).buffer, shared.buffer);
});

for (const isLent of [false, true])
  test(`what a target never takes is left to it, and the others go on${isLent ? ", in copies once the lent memory is full" : ""}`, async (t) => {
    const { accepted, client } = await pair(t);
    const other = await pair(t);
    const reading = new SharedReading(createYoungGarbage());
    const kept: Buffer[] = [];
    other.client.cork();
    reading.start(accepted, (bytes) => {
      const piece = reading.keep(bytes, other.client);
      other.client.write(piece);
      kept.push(piece);
      if (isLent) assert.equal(reading.lend(accepted, other.client), true);
    });
    const body = randomBytes(3_000_000);
    client.write(body);
    const size = (): number => kept.reduce((sum, { length }) => sum + length, 0);
    while (size() < body.length) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(Buffer.compare(Buffer.concat(kept), body), 0);
  });

test("memory that is taken back is nobody else's until the socket reads elsewhere", async (t) => {
  const [one, two, three, target] = [await pair(t), await pair(t), await pair(t), await pair(t)];
  const reading = new SharedReading(createYoungGarbage());
  const own = async ({
    accepted,
    client,
  }: typeof one): Promise<{ memory: ArrayBufferLike; next(): Promise<Buffer> }> => {
    const next = pieces(reading, accepted);
    assert.equal(reading.lend(accepted, target.client), true);
    const say = (): Promise<Buffer> => {
      const piece = next();
      client.write("a piece");
      return piece;
    };
    await say();
    return { memory: (await say()).buffer, next: say };
  };
  const first = await own(one);
  reading.takeBack(one.accepted);
  const second = await own(two);
  assert.notEqual(second.memory, first.memory);
  assert.equal((await first.next()).buffer, first.memory);
  assert.equal((await own(three)).memory, first.memory);
});

test("eight bodies at a time have memory of their own, and only for targets that are sockets", async (t) => {
  const reading = new SharedReading(createYoungGarbage());
  const all = await Promise.all(Array.from({ length: 9 }, async () => pair(t)));
  for (const { accepted } of all) reading.start(accepted, () => {});
  const [last] = all.splice(-1);
  assert.ok(last !== undefined);
  assert.equal(reading.lend(last.accepted, new PassThrough()), false);
  for (const { accepted, client } of all) assert.equal(reading.lend(accepted, client), true);
  assert.equal(reading.lend(last.accepted, last.client), false);
  reading.takeBack(all[0]?.accepted ?? last.accepted);
  assert.equal(reading.lend(last.accepted, last.client), true);
});

test("a socket that is given away is a stream again, and its end is heard", async (t) => {
  const { accepted, client } = await pair(t);
  const reading = new SharedReading(createYoungGarbage());
  const text = await new Promise<string>((resolve) => {
    const take = (bytes: Buffer): void => {
      accepted.pause();
      accepted.unshift(reading.copy(bytes));
      reading.stop(accepted, take);
      let all = "";
      accepted.on("data", (piece: Buffer) => (all += piece.toString()));
      accepted.on("end", () => resolve(all));
      accepted.resume();
      client.end("later");
    };
    reading.start(accepted, take);
    client.write("sooner ");
  });
  assert.equal(text, "sooner later");
});

for (const framing of ["length", "chunked"] as const) {
  test(`50 MB (${framing}) from four TLS clients reach a target that reads in bursts unbroken`, async (t) => {
    const { port } = await startTarget(t, (req, res) => {
      const hash = createHash("sha256");
      let burst = 0;
      req.on("data", (piece: Buffer) => {
        hash.update(piece);
        burst += piece.length;
        if (burst < 1_234_567) return;
        burst = 0;
        req.pause();
        setTimeout(() => req.resume(), 2);
      });
      req.on("end", () => res.end(hash.digest("hex")));
    });
    const home = await startFront(t, [siteConfig("a.test", targetConfig(port))]);
    const upload = async (length: number): Promise<void> => {
      const body = randomBytes(length);
      const client = await secureClient(t, { port: home.httpsPort, servername: "a.test", ca: home.ca.caPem });
      let answer = "";
      client.on("data", (piece: Buffer) => (answer += piece.toString("latin1")));
      const field = framing === "length" ? `Content-Length: ${length}` : "Transfer-Encoding: chunked";
      client.write(`POST /up HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n${field}\r\n\r\n`);
      for (let at = 0, size = 1; at < length; at += size, size = (size * 3 + 1) % 200_003 || 1) {
        const piece = body.subarray(at, at + size);
        if (framing === "chunked") client.write(`${piece.length.toString(16)}\r\n`);
        client.write(piece);
        if (framing === "chunked") client.write("\r\n");
        if (client.writableNeedDrain) await once(client, "drain");
      }
      if (framing === "chunked") client.write("0\r\n\r\n");
      await once(client, "end");
      assert.match(answer, /^HTTP\/1\.1 200 /);
      assert.ok(answer.includes(createHash("sha256").update(body).digest("hex")), answer);
    };
    await Promise.all([upload(20_000_000), upload(10_000_000), upload(300_000), upload(20_000_000)]);
  });
}

test("uploads and small requests in turn, sent without waiting, are each answered for what they were", async (t) => {
  const { port } = await startTarget(t, (req, res) => {
    const hash = createHash("sha256");
    req.on("data", (piece: Buffer) => hash.update(piece));
    req.on("end", () => res.end(`${req.url} ${hash.digest("hex")};`));
  });
  const home = await startFront(t, [siteConfig("a.test", targetConfig(port))]);
  const client = await secureClient(t, { port: home.httpsPort, servername: "a.test", ca: home.ca.caPem });
  let text = "";
  client.on("data", (piece: Buffer) => (text += piece.toString("latin1")));
  const bodies = [300_000, 0, 90_000, 1, 1_000_000, 65_536, 0].map((length) => randomBytes(length));
  const last = bodies.length - 1;
  const all = bodies.map((body, at) => {
    const fields = `Host: a.test\r\nContent-Length: ${body.length}\r\n${at === last ? "Connection: close\r\n" : ""}`;
    return Buffer.concat([Buffer.from(`PUT /${at} HTTP/1.1\r\n${fields}\r\n`), body]);
  });
  client.write(Buffer.concat(all));
  await once(client, "end");
  const hashes = bodies.map((body, at) => `/${at} ${createHash("sha256").update(body).digest("hex")}`);
  assert.deepEqual(text.match(/\/\d [0-9a-f]{64}/g), hashes);
});

test("who has uploaded and stays holds no memory for it", async (t) => {
  const { port } = await startTarget(t, (req, res) => {
    req.resume();
    req.on("end", () => res.end("thanks"));
  });
  const home = await startFront(t, [siteConfig("a.test", targetConfig(port))]);
  const body = Buffer.alloc(200_000);
  const upload = async (): Promise<void> => {
    const client = await secureClient(t, { port: home.httpsPort, servername: "a.test", ca: home.ca.caPem });
    client.write(`PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${body.length}\r\n\r\n`);
    client.write(body);
    await once(client, "data");
  };
  await upload();
  const before = memoryHeldHere().arrayBuffers;
  for (let count = 0; count < 60; count++) await upload();
  const grown = memoryHeldHere().arrayBuffers - before;
  assert.ok(grown < 8_000_000, `${Math.round(grown / 60_000)} KB for each`);
});
