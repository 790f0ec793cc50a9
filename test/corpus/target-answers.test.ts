/**
 * What lying and broken targets send, through a real compat lane. `expected` in corpus/target-answers.json is the law,
 * corpus/target-outcomes.json the one outcome that is ours.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { proxyConfig, siteConfig, startLane, targetConfig } from "../support/proxy-lane.ts";
import { parseAnswers, rawClient, valueOf } from "../support/raw-client.ts";
import { startRecordingTarget } from "../support/recording-target.ts";

interface Case {
  id: string;
  title: string;
  bytes?: string;
  method?: string;
  behaviour: "keep open" | "close after bytes" | "drip" | "generate";
  expected: string;
}

interface Outcome {
  id: string;
  status: number;
  /** Of an answer that is relayed; our own pages are not compared. */
  body?: string;
  whole: boolean;
  target: "destroyed" | "kept";
  informational?: number[];
  error?: string;
  headers?: { absent?: string[]; is?: Record<string, string> };
}

const read = (name: string): unknown => JSON.parse(readFileSync(new URL(`data/${name}`, import.meta.url), "utf8"));
const cases = read("target-answers.json") as Case[];
const outcomes = new Map((read("target-outcomes.json") as Outcome[]).map((one) => [one.id, one]));

test("every answer of the corpus has a pinned outcome", () => {
  assert.deepEqual(
    cases.map(({ id }) => id),
    [...outcomes.keys()],
  );
  assert.equal(cases.length, 27);
});

for (const one of cases) {
  test(`${one.id} ${one.title}: ${one.expected}`, async (t) => {
    const outcome = outcomes.get(one.id);
    assert.ok(outcome);
    let isHonest = false;
    const target = await startRecordingTarget(t, (_, socket) => {
      if (isHonest) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhonest");
      else if (one.behaviour === "generate") socket.write(`HTTP/1.1 200 OK\r\n${"x: y\r\n".repeat(100_000)}\r\n`);
      else if (one.behaviour === "drip") socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx");
      else socket.write(Buffer.from(one.bytes ?? "", "base64"));
      if (!isHonest && one.behaviour === "close after bytes") socket.end();
    });
    // One byte a minute is silence to an idle limit of 300 ms.
    const timeouts = { connectMs: 2_000, firstByteMs: 2_000, idleMs: 300, tunnelIdleMs: 2_000 };
    const { port, recorded, upstream } = await startLane(
      t,
      proxyConfig([siteConfig("a.test", targetConfig(target.port), { timeouts })]),
    );
    const method = one.method ?? "GET";
    const client = rawClient(t, port);
    client.send(`${method} / HTTP/1.1\r\nHost: a.test\r\n\r\n`);
    if (outcome.whole) await client.answers(1, [method]);
    else await client.closed();
    const answers = parseAnswers(client.received(), [method]);
    const final = answers.at(-1);
    assert.equal(final?.status, outcome.status);
    assert.equal(final.isWhole, outcome.whole);
    assert.deepEqual(
      answers.slice(0, -1).map(({ status }) => status),
      outcome.informational ?? [],
    );
    if (outcome.body !== undefined) assert.equal(final.body, outcome.body);
    for (const name of outcome.headers?.absent ?? []) assert.equal(valueOf(final.headers, name), undefined, name);
    for (const [name, value] of Object.entries(outcome.headers?.is ?? {}))
      assert.equal(valueOf(final.headers, name), value);
    // Nothing of the inside in our own pages.
    if (outcome.status === 502) assert.doesNotMatch(final.body, /127\.0\.0\.1|HPE_|ECONN/);

    isHonest = true;
    const next = rawClient(t, port);
    next.send("GET /honest HTTP/1.1\r\nHost: a.test\r\n\r\n");
    const [honest] = await next.answers(1);
    assert.equal(honest?.body, "honest");
    assert.equal(target.connections(), outcome.target === "kept" ? 1 : 2, "connections to the target");
    assert.equal(target.requests.length, 2, "asked once each");
    assert.ok(upstream.openSockets() <= 2);
    assert.deepEqual(
      recorded.access.map(({ error }) => error),
      [outcome.error, undefined],
    );
  });
}
