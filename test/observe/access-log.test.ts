/**
 * One line for one exchange.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createAccessLog, type ExchangeRecord } from "../../src/observe/access-log.ts";
import { exchangeRecord } from "../support/exchanges.ts";
import { keptLog } from "../support/log-lines.ts";

function lineOf(record: ExchangeRecord): Record<string, unknown> {
  const { log, lines } = keptLog();
  createAccessLog(log, { enabled: true }).write(record);
  assert.equal(lines().length, 1);
  return lines()[0] ?? {};
}

test("an access line has the fields that other programs know", () => {
  const { time, ...rest } = lineOf(exchangeRecord({ error: "GATEHOUSE_UPSTREAM_RESET" }));
  assert.ok(Math.abs(Date.now() - Number(time)) < 10_000);
  assert.deepEqual(rest, {
    level: 30,
    event: "access",
    request_id: "0199-a",
    "client.ip": "203.0.113.7",
    "http.request.method": "GET",
    "url.scheme": "https",
    "url.domain": "ha.example.org",
    "url.path": "/lovelace/0",
    "http.response.status_code": 200,
    "http.request.body.bytes": 0,
    "http.response.body.bytes": 1234,
    "event.duration": 5_100_000,
    "network.protocol.version": "1.1",
    "tls.version": "TLSv1.3",
    "user_agent.original": "Mozilla/5.0",
    "edge.site": "ha.example.org",
    "edge.upstream": "192.168.0.200:8123",
    "edge.upstream_ms": 3.25,
    "edge.error": "GATEHOUSE_UPSTREAM_RESET",
    msg: "exchange",
  });
});

test("what is not known is left out, not null", () => {
  const line = lineOf(
    exchangeRecord({
      site: undefined,
      upstream: undefined,
      upstreamMs: undefined,
      tlsVersion: undefined,
      userAgent: undefined,
    }),
  );
  for (const name of [
    "edge.site",
    "edge.upstream",
    "edge.upstream_ms",
    "tls.version",
    "user_agent.original",
    "edge.error",
  ]) {
    assert.ok(!(name in line), name);
  }
});

test("an upgrade says that it is one", () => {
  assert.equal(lineOf(exchangeRecord({ kind: "upgrade", status: 101 }))["edge.upgrade"], true);
});

const paths: [path: string, logged: string][] = [
  ["/a?token=secret", "/a"],
  ["/a?", "/a"],
  ["?token=secret", ""],
  ["/a#fragment?x", "/a"],
  ["https://a.example/x?token=secret", "https://a.example/x"],
  ["*", "*"],
];

for (const [path, logged] of paths) {
  test(`the query string never reaches the log: ${path}`, () => {
    assert.equal(lineOf(exchangeRecord({ path }))["url.path"], logged);
  });
}

test("whatever strangers send, the line is one JSON object, bounded and without control characters", () => {
  const { log, text } = keptLog();
  const access = createAccessLog(log, { enabled: true });
  let seen = 0;
  const wild = fc.oneof(fc.string({ unit: "binary", maxLength: 600 }), fc.string({ maxLength: 5_000 }));
  fc.assert(
    fc.property(wild, wild, wild, wild, fc.double(), (method, host, path, userAgent, durationMs) => {
      access.write(exchangeRecord({ method, host, path, userAgent, durationMs }));
      const line = text().slice(seen);
      seen = text().length;
      assert.ok(line.endsWith("\n"));
      assert.doesNotMatch(line.slice(0, -1), /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e]/);
      const fields = JSON.parse(line) as Record<string, unknown>;
      for (const value of Object.values(fields)) {
        if (typeof value !== "string") continue;
        assert.ok(value.length <= 256, value);
        assert.doesNotMatch(value, /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e]/);
      }
      assert.equal(fields["event"], "access");
      assert.ok(Number.isFinite(fields["event.duration"]));
    }),
    { numRuns: 300 },
  );
});

test("the access log has its own switch, whatever the level of events", () => {
  const quiet = keptLog({ level: "error" });
  createAccessLog(quiet.log, { enabled: true }).write(exchangeRecord());
  assert.equal(quiet.lines().length, 1);
  const off = keptLog();
  createAccessLog(off.log, { enabled: false }).write(exchangeRecord());
  assert.equal(off.text(), "");
});

test("on a terminal an access line is short and harmless", () => {
  const { log, text } = keptLog({ pretty: true });
  createAccessLog(log, { enabled: true }).write(
    exchangeRecord({ path: "/\u001b[31mred", status: 502, error: "GATEHOUSE_UPSTREAM_REFUSED" }),
  );
  const plain = text().replace(/\u001b\[\d+m/g, "");
  assert.match(plain, /502 GET ha\.example\.org\/\ufffd\[31mred 5\.1 ms 203\.0\.113\.7 GATEHOUSE_UPSTREAM_REFUSED\n$/);
});
