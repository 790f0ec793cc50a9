/**
 * Records of TLS clients in one buffer: on this Node it is really so, a socket can become an ordinary stream again, and
 * bodies stay whole while the buffer is read into anew.
 */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { connect, createServer, type TLSSocket } from "node:tls";
import { createYoungGarbage } from "../../src/core/young-garbage.ts";
import { SharedReading } from "../../src/proxy/lanes/fast/shared-reading.ts";
import { makeCa } from "../support/certificates.ts";
import { startFront } from "../support/front-home.ts";
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

test("what a target never takes is left to it, and the others go on", async (t) => {
  const { accepted, client } = await pair(t);
  const other = await pair(t);
  const reading = new SharedReading(createYoungGarbage());
  const pieces: Buffer[] = [];
  other.client.cork();
  reading.start(accepted, (bytes) => {
    const piece = reading.keep(bytes, other.client);
    other.client.write(piece);
    pieces.push(piece);
  });
  const body = randomBytes(3_000_000);
  client.write(body);
  const size = (): number => pieces.reduce((sum, { length }) => sum + length, 0);
  while (size() < body.length) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(Buffer.compare(Buffer.concat(pieces), body), 0);
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
