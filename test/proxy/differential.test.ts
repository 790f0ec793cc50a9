/**
 * The same request through the fast lane and through the compat lane: the same reaches the target, the same comes back.
 *
 * Requests and answers are generated, lies of targets included. `npm run differential` runs 100,000 of them; a failure
 * prints seed and path, which go into DIFFERENTIAL_SEED.
 */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import fc from "fast-check";
import { proxyConfig, siteConfig, startLane, targetConfig } from "../support/proxy-lane.ts";
import { parseAnswers, type RawClient, rawClient } from "../support/raw-client.ts";
import { type SeenRequest, startRecordingTarget } from "../support/recording-target.ts";

const RUNS = Number(process.env["DIFFERENTIAL_RUNS"] ?? 300);
const SEED = process.env["DIFFERENTIAL_SEED"];

interface Asked {
  method: string;
  path: string;
  lines: string[];
  body: string;
}

interface Answered {
  bytes: string;
  ends: boolean;
}

const text = fc.stringMatching(/^[!-~](?:[ -~]{0,20}[!-~])?$/);
const field = fc.oneof(
  fc.tuple(fc.stringMatching(/^[xX]-[a-zA-Z0-9]{1,8}$/), text).map(([name, value]) => `${name}: ${value}`),
  fc.tuple(text).map(([value]) => `X-Blank:\t  ${value} \t`),
  fc.constantFrom(
    "Cookie: a=1",
    "Cookie: b=2; c=3",
    "Accept: text/html",
    "User-Agent: differential",
    "Range: bytes=0-1",
    "Connection: keep-alive",
    "Connection: X-Named",
    "X-Named: gone",
    "Connection: close",
    "X-Forwarded-For: 192.0.2.1",
    "X-Forwarded-Whatever: 1",
    "X-Real-IP: 192.0.2.1",
    "X_Under: 1",
    "TE: trailers",
    "Proxy-Connection: keep-alive",
    "Keep-Alive: 5",
    "Referer: https://a.test/",
    "X-Empty:",
    "X-Eight: caf\xe9",
  ),
);

const chunks = fc.array(fc.string({ minLength: 1, maxLength: 40, unit: "binary-ascii" }), { maxLength: 4 });
const coded = fc.tuple(chunks, fc.boolean(), fc.boolean()).map(([pieces, hasExtension, hasTrailer]) => {
  const framed = pieces.map((piece) => `${piece.length.toString(16)}${hasExtension ? ";a=b" : ""}\r\n${piece}\r\n`);
  return `${framed.join("")}0\r\n${hasTrailer ? "X-Late: 1\r\nCookie: no\r\n" : ""}\r\n`;
});

const request: fc.Arbitrary<Asked> = fc
  .record({
    method: fc.constantFrom("GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"),
    path: fc.stringMatching(/^[a-z0-9/?&=%._~-]{0,30}$/),
    lines: fc.array(field, { maxLength: 8 }),
    body: fc.oneof(
      fc.constant(undefined),
      fc
        .string({ maxLength: 60, unit: "binary-ascii" })
        .map((body) => ({ line: `Content-Length: ${body.length}`, body })),
      coded.map((body) => ({ line: "Transfer-Encoding: chunked", body })),
    ),
  })
  .map(({ method, path, lines, body }) => ({
    method,
    path: `/${path}`,
    lines: body === undefined ? lines : [...lines, body.line],
    body: body?.body ?? "",
  }));

const answerField = fc.oneof(
  fc.tuple(fc.stringMatching(/^[xX]-[a-zA-Z0-9]{1,8}$/), text).map(([name, value]) => `${name}: ${value}`),
  fc.constantFrom(
    "Set-Cookie: a=1",
    "Set-Cookie: b=2",
    'Alt-Svc: h3=":443"',
    "Connection: keep-alive",
    "Connection: X-Named",
    "X-Named: gone",
    "Keep-Alive: timeout=5",
    "Content-Type:  text/plain ",
    'ETag: "x"',
    "Upgrade: h2c",
    "Proxy-Authenticate: Basic",
    "X_Under: 1",
  ),
);

const answer: fc.Arbitrary<Answered> = fc
  .record({
    status: fc.constantFrom(
      "200 OK",
      "200 OK",
      "404 Not Found",
      "204 No Content",
      "304 Not Modified",
      "500 Oh no",
      "206 ",
    ),
    lines: fc.array(answerField, { maxLength: 6 }),
    body: fc.oneof(
      fc
        .string({ maxLength: 60, unit: "binary-ascii" })
        .map((body) => ({ line: `Content-Length: ${body.length}`, body, ends: false })),
      coded.map((body) => ({ line: "Transfer-Encoding: chunked", body, ends: false })),
      fc.string({ maxLength: 60, unit: "binary-ascii" }).map((body) => ({ line: "X-Close: 1", body, ends: true })),
      // Lies.
      fc.constantFrom(
        { line: "Content-Length: 1\r\nContent-Length: 2", body: "ab", ends: false },
        { line: "Content-Length: 2\r\nTransfer-Encoding: chunked", body: "0\r\n\r\n", ends: false },
        { line: "Transfer-Encoding: gzip", body: "ab", ends: true },
        { line: "Content-Length: 9", body: "short", ends: true },
        { line: "No colon", body: "", ends: true },
      ),
    ),
  })
  .map(({ status, lines, body }) => {
    const isBodyless = status.startsWith("204") || status.startsWith("304");
    const head = `HTTP/1.1 ${status}\r\n${[...lines, body.line].join("\r\n")}\r\n\r\n`;
    return { bytes: head + (isBodyless && !body.ends ? "" : body.body), ends: body.ends };
  });

const HOP_BY_HOP = new Set(["date", "connection", "keep-alive", "x-request-id", "transfer-encoding", "content-length"]);

const byName = (headers: readonly [string, string][]): string[] =>
  headers
    // Node's client says what HTTP/1.1 means anyway.
    .filter(([name, value]) => name !== "x-request-id" && !(name === "connection" && value === "keep-alive"))
    .map(([name, value]) => `${name}: ${value}`)
    .sort((a, b) => (a.split(":", 1)[0] ?? "").localeCompare(b.split(":", 1)[0] ?? ""));

const seenAs = ({ method, target, headers, framing, body, trailers }: SeenRequest) => {
  return { method, target, headers: byName(headers), framing, body, trailers };
};

function comparable(client: RawClient, method: string): unknown {
  return parseAnswers(client.received(), [method]).map((one) => ({
    status: one.status,
    headers: byName(one.headers.filter(([name]) => !HOP_BY_HOP.has(name))),
    // Pages of our own carry the request's id.
    body: one.status >= 400 && one.body.includes("<!doctype html>") ? "a page" : one.body,
    isWhole: one.isWhole,
    trailers: one.trailers,
  }));
}

async function bothLanes(t: TestContext) {
  let next: Answered = { bytes: "", ends: false };
  const target = await startRecordingTarget(t, (seen, socket) => {
    const bytes = seen.method === "HEAD" ? `${next.bytes.split("\r\n\r\n", 1)[0]}\r\n\r\n` : next.bytes;
    if (next.ends) socket.end(bytes, "latin1");
    else socket.write(bytes, "latin1");
  });
  const config = proxyConfig([siteConfig("a.test", targetConfig(target.port))]);
  const lanes = { fast: await startLane(t, config, {}, { lane: "fast" }), compat: await startLane(t, config) };

  return async (lane: keyof typeof lanes, asked: Asked, answered: Answered) => {
    next = answered;
    target.requests.length = 0;
    target.malformed.length = 0;
    const client = rawClient(t, lanes[lane].port);
    const head = `${asked.method} ${asked.path} HTTP/1.1\r\nHost: a.test\r\n${asked.lines.map((line) => `${line}\r\n`).join("")}\r\n`;
    client.send(Buffer.from(head + asked.body, "latin1"));
    const isDone = (received: string, isClosed: boolean): boolean =>
      isClosed || parseAnswers(received, [asked.method]).some(({ status, isWhole }) => status >= 200 && isWhole);
    await client.until("an answer", isDone);
    client.socket.destroy();
    return {
      seen: target.requests.map(seenAs),
      malformed: [...target.malformed],
      got: comparable(client, asked.method),
    };
  };
}

test("a request has the same effect and the same answer in the fast lane as in the compat lane", async (t) => {
  const through = await bothLanes(t);
  await fc.assert(
    fc.asyncProperty(request, answer, async (asked, answered) => {
      const fast = await through("fast", asked, answered);
      const compat = await through("compat", asked, answered);
      assert.deepEqual(fast, compat);
    }),
    { numRuns: RUNS, ...(SEED === undefined ? {} : { seed: Number(SEED) }) },
  );
});
