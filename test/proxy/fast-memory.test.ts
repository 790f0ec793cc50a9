/**
 * A connection that sends the same fields again: what is read in them once more, from memory, is the same.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { ConnectionFacts } from "../../src/proxy/lanes/check-request.ts";
import { HeadReader } from "../../src/proxy/lanes/fast/head.ts";
import { HeadMemory } from "../../src/proxy/lanes/fast/memory.ts";
import { limitsConfig } from "../support/proxy-lane.ts";

const FACTS: ConnectionFacts = {
  peerAddress: "127.0.0.1",
  peerPort: 1,
  localPort: 443,
  serverName: undefined,
  tlsVersion: undefined,
  scheme: "https",
};
const LINES = ["GET / ", "GET /a?b=c ", "POST /up ", "HEAD / ", "DELETE /x ", "PUT /x ", "get / ", "GET \\ "];
const SECTIONS = [
  "Host: a.test\r\n",
  "host: a.test\r\n",
  "Host: b.test\r\n",
  "Host: a.test\r\nUser-Agent: one\r\nCookie: a=b\r\n",
  "Host: a.test\r\nUser-Agent:  two \r\nX-Forwarded-For: 1.2.3.4\r\nAccept: */*\r\n",
  "Host: a.test\r\nContent-Length: 0\r\n",
  "Host: a.test\r\nContent-Length: 5\r\n",
  "Host: a.test\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
  "Host: a.test\r\nTransfer-Encoding: chunked\r\n",
  "Host: a.test\r\nConnection: close\r\n",
  "Host: a.test\r\nX: y\n",
  `Host: a.test\r\nX: ${"y".repeat(200)}\r\n`,
  `Host: a.test\r\nX: ${"y".repeat(5_000)}\r\n`,
  "Connection: keep-alive\r\n",
];
const LIMITS = [limitsConfig(), limitsConfig({ fieldSize: 100 })] as const;

function readings(reader: HeadReader, text: string, limits: (typeof LIMITS)[number], memory?: HeadMemory): unknown {
  const end = reader.read(Buffer.from(text, "latin1"), limits, memory);
  if (end <= 0) return end;
  const { method, target, authority, userAgent, body, contentLength, isLast } = reader;
  const head = reader.head(FACTS, "a.test");
  const forTarget = reader.forTarget("/for", "a.test", "x-added: yes\r\n");
  return { end, method, target, authority, userAgent, body, contentLength, isLast, headers: head.headers, forTarget };
}

test("any sequence of heads is read alike with and without memory of the one before", () => {
  const [withMemory, without] = [new HeadReader(), new HeadReader()];
  const request = fc.record({
    line: fc.constantFrom(...LINES),
    section: fc.constantFrom(...SECTIONS),
    again: fc.integer({ min: 1, max: 3 }),
    rest: fc.constantFrom("", "hello", "GET / HTTP/1.1\r\n"),
    isWhole: fc.integer({ min: 0, max: 9 }).map((die) => die > 0),
    limits: fc.constantFrom(...LIMITS, LIMITS[0], LIMITS[0]),
  });
  fc.assert(
    fc.property(fc.array(request, { maxLength: 12 }), (requests) => {
      const memory = new HeadMemory();
      for (const { line, section, again, rest, isWhole, limits } of requests) {
        const text = `${line}HTTP/1.1\r\n${section}${isWhole ? `\r\n${rest}` : ""}`;
        for (let time = 0; time < again; time++) {
          assert.deepEqual(readings(withMemory, text, limits, memory), readings(without, text, limits));
        }
      }
    }),
    { numRuns: 300 },
  );
});

test("fields are found again by the bytes as they came, under the same limits, until the connection has waited", () => {
  const reader = new HeadReader();
  const memory = new HeadMemory();
  const fields = (): Buffer => Buffer.from("Host: a.test\r\nAccept: */*\r\n\r\n");
  const [limits, others] = LIMITS;
  const ask = (path: string): number =>
    reader.read(Buffer.concat([Buffer.from(`GET ${path} HTTP/1.1\r\n`), fields()]), limits, memory);
  ask("/one");
  memory.use(1_000);
  assert.equal(memory.find(fields(), 0, limits)?.authority, "a.test");
  assert.equal(memory.find(fields(), 0, others), undefined);
  assert.equal(memory.find(Buffer.from(fields().toString().toLowerCase()), 0, limits), undefined);
  memory.fade(2_900);
  assert.notEqual(memory.find(fields(), 0, limits), undefined);
  memory.fade(3_000);
  assert.equal(memory.find(fields(), 0, limits), undefined);
  ask("/two");
  assert.equal(memory.find(fields(), 0, limits)?.authority, "a.test");
});

test("who sends other fields each time is soon not copied any more", () => {
  const memory = new HeadMemory();
  const copies = Array.from({ length: 10 }, (_, number) => memory.copy(Buffer.from(`x: ${number}`), 0));
  assert.equal(copies.filter((copy) => copy !== undefined).length, 4);
});
