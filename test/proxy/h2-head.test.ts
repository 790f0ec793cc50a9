/**
 * The quick reading of an HTTP/2 head against the careful one: what the first takes, the second takes the same way.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RequestIds } from "../../src/core/request-ids.ts";
import type { ConnectionFacts } from "../../src/proxy/lanes/check-request.ts";
import { addedLines, clientOf, standingUnder } from "../../src/proxy/lanes/fast/standing.ts";
import { linesOf } from "../../src/proxy/lanes/fast/answer.ts";
import { framingLine, H2HeadReader } from "../../src/proxy/lanes/h2/head.ts";
import { Field, FieldName } from "../../src/proxy/lanes/http2/field.ts";
import { checkH2Request } from "../../src/proxy/lanes/h2/request.ts";
import { requestHeaders } from "../../src/proxy/rules/headers.ts";
import { createRules } from "../../src/proxy/rules/policy.ts";
import { MARK, limitsConfig, proxyConfig, siteConfig, targetConfig } from "../support/proxy-lane.ts";

const FACTS: ConnectionFacts = {
  peerAddress: "192.0.2.7",
  peerPort: 50_000,
  localPort: 443,
  serverName: "a.test",
  tlsVersion: "TLSv1.3",
  scheme: "https",
};
const SITE = siteConfig("a.test", targetConfig(1));
const RULES = createRules(proxyConfig([SITE]), MARK);
const LIMITS = limitsConfig({ headSize: 2_000, headFields: 12, fieldSize: 300, urlSize: 100 });

const name = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom("accept", "user-agent", "cookie", "referer", "x-own", "range", "accept-encoding"),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "host",
      "content-length",
      "connection",
      "te",
      "trailer",
      "expect",
      "upgrade",
      "keep-alive",
      "proxy",
      "proxy-x",
      "x-forwarded-for",
      "x-forwarded-y",
      "forwarded",
      "x-real-ip",
      "x-request-id",
      "x_y",
      "X-Upper",
      "transfer-encoding",
      "http2-settings",
      "sec-websocket-key",
      "authorization",
      ":path",
      "a b",
      "",
    ),
  },
);
const value = fc.oneof(
  fc.constantFrom("", "1", "0", "5", "a.test", "100-continue", "trailers", "a=1", "chunked", "close", "x".repeat(290)),
  fc.string({ maxLength: 20 }),
  fc.string({ unit: "binary", maxLength: 5 }),
);
const field = fc.tuple(name, value);
const pseudo = fc.record({
  ":method": fc.constantFrom("GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "get", "BREW", ""),
  ":scheme": fc.constantFrom("https", "http", ""),
  ":authority": fc.constantFrom("a.test", "A.test:8443", "a.test.", "b.test", "u@a.test", "", "a test"),
  ":path": fc.oneof(
    fc.constantFrom("/", "/a?b=c", "*", "", "a", "/x y", "/#", "/\\", "//x", "https://a.test/", `/${"p".repeat(100)}`),
    fc.webPath(),
  ),
});

/** As the decoder gives them. */
const fieldsOf = (raw: readonly string[]): Field[] =>
  raw.flatMap((name, at) => (at % 2 === 0 ? [new Field(new FieldName(name), raw[at + 1] ?? "")] : []));

test("what is read quickly reaches the target as if it had been read carefully", () => {
  const reader = new H2HeadReader();
  let ordinary = 0;
  const property = fc.property(
    pseudo,
    fc.array(field, { maxLength: 14 }),
    fc.boolean(),
    (first, fields, endsAtHead) => {
      const raw = [...Object.entries(first), ...fields].flat();
      const list = fieldsOf(raw);
      if (!reader.read(list, endsAtHead, LIMITS)) return;
      const standing = standingUnder(RULES, reader.authority, FACTS, undefined);
      const verdict = checkH2Request(raw, endsAtHead, FACTS, LIMITS);
      if (standing === undefined) return;
      assert.ok("head" in verdict && verdict.head !== undefined, `careful: ${JSON.stringify(verdict)}`);
      const head = reader.head(FACTS, standing.host, list);
      const client = clientOf(standing, head, new RequestIds());
      const quick = reader.forTarget(head.target, standing.canonical, addedLines(standing, client, SITE, head));
      const careful = `${verdict.head.method} ${verdict.head.target} HTTP/1.1\r\n${linesOf(requestHeaders(verdict.head, client, SITE))}${framingLine(verdict.head)}\r\n`;
      assert.equal(quick, careful);
      const { headers: _, userAgent: agent, ...facts } = { ...verdict.head };
      for (const [key, expected] of Object.entries(facts)) {
        assert.equal(head[key as keyof typeof head], expected, key);
      }
      const agents = fields.filter(([key]) => key === "user-agent");
      assert.equal(head.userAgent, agents[0]?.[1] ?? agent);
      ordinary++;
    },
  );
  // A failing case prints its seed and path.
  fc.assert(property, { numRuns: 20_000 });
  assert.ok(ordinary > 200, `only ${ordinary} were ordinary`);
});

test("a browser's request is an ordinary one", () => {
  const reader = new H2HeadReader();
  const raw = [
    ":method",
    "GET",
    ":authority",
    "a.test",
    ":scheme",
    "https",
    ":path",
    "/lovelace?x=1",
    "sec-ch-ua",
    '"Chromium";v="120"',
    "accept",
    "*/*",
    "user-agent",
    "Mozilla/5.0",
    "referer",
    "https://a.test/",
    "accept-encoding",
    "gzip, deflate, br, zstd",
    "cookie",
    "a=1",
    "cookie",
    "b=2",
    "priority",
    "u=1, i",
  ];
  assert.equal(reader.read(fieldsOf(raw), true, limitsConfig()), true);
  assert.match(reader.forTarget("/", "a.test", ""), /\r\ncookie: a=1; b=2\r\npriority: u=1, i\r\n\r\n$/);
});
