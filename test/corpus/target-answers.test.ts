/**
 * What lying and broken targets send, through every lane. `expected` in data/target-answers.json is the law,
 * data/target-outcomes.json the one outcome that is ours.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test, type TestContext } from "node:test";
import type { SiteConfig } from "../../src/config/model.ts";
import { eventually } from "../support/eventually.ts";
import { startFront } from "../support/front-home.ts";
import { FRAME, RawH2, request } from "../support/h2-raw.ts";
import { proxyConfig, type Recorded, siteConfig, startLane, targetConfig } from "../support/proxy-lane.ts";
import { parseAnswers, type RawClient, rawClient, valueOf } from "../support/raw-client.ts";
import { type RecordingTarget, startRecordingTarget } from "../support/recording-target.ts";

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
  error?: string | undefined;
  headers?: { absent?: string[]; is?: Record<string, string> };
  /** Where our own engine reads the answer and differs: it knows more of what is wrong. */
  byEngine?: Partial<Pick<Outcome, "status" | "whole" | "target">> & { error?: string | null };
}

const read = (name: string): unknown => JSON.parse(readFileSync(new URL(`data/${name}`, import.meta.url), "utf8"));
/** The corpus as it was given, then our own finds. */
const cases = [...(read("target-answers.json") as Case[]), ...(read("own-answers.json") as Case[])];
const outcomes = new Map(
  [...(read("target-outcomes.json") as Outcome[]), ...(read("own-answer-outcomes.json") as Outcome[])].map((one) => [
    one.id,
    one,
  ]),
);

test("every answer of the corpus has a pinned outcome", () => {
  assert.deepEqual(
    cases.map(({ id }) => id),
    [...outcomes.keys()],
  );
  assert.ok(cases.length > 27);
});

/** One byte a minute is silence to an idle limit of 300 ms. */
const TIMEOUTS = { connectMs: 2_000, firstByteMs: 2_000, idleMs: 300, tunnelIdleMs: 2_000 };

/** Answers as the case says until `beHonest`. */
async function lyingTarget(t: TestContext, one: Case): Promise<{ target: RecordingTarget; beHonest(): void }> {
  let isHonest = false;
  const target = await startRecordingTarget(t, (_, socket) => {
    if (isHonest) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhonest");
    else if (one.behaviour === "generate") socket.write(`HTTP/1.1 200 OK\r\n${"x: y\r\n".repeat(100_000)}\r\n`);
    else if (one.behaviour === "drip") socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx");
    else socket.write(Buffer.from(one.bytes ?? "", "base64"));
    if (!isHonest && one.behaviour === "close after bytes") socket.end();
  });
  return { target, beHonest: () => (isHonest = true) };
}

const siteOf = (target: RecordingTarget): SiteConfig =>
  siteConfig("a.test", targetConfig(target.port), { timeouts: TIMEOUTS });

function outcomeOf(one: Case, isByEngine = false): Outcome {
  const outcome = outcomes.get(one.id);
  assert.ok(outcome);
  const { error, ...rest } = (isByEngine ? outcome.byEngine : undefined) ?? {};
  return { ...outcome, ...rest, ...(error === undefined ? {} : { error: error ?? undefined }) };
}

interface Running {
  recorded: Recorded;
  connect(): RawClient;
}

/** Lanes that speak HTTP/1.1 to the client. */
const lanes: { name: string; isByEngine: boolean; start(t: TestContext, site: SiteConfig): Promise<Running> }[] = [
  {
    name: "the compat lane",
    isByEngine: false,
    async start(t, site) {
      const { port, recorded } = await startLane(t, proxyConfig([site]));
      return { recorded, connect: () => rawClient(t, port) };
    },
  },
  {
    name: "the fast lane",
    isByEngine: true,
    async start(t, site) {
      const { port, recorded } = await startLane(t, proxyConfig([site]), {}, { lane: "fast" });
      return { recorded, connect: () => rawClient(t, port) };
    },
  },
  {
    name: "the front over TLS",
    isByEngine: true,
    async start(t, site) {
      const { httpsPort, recorded } = await startFront(t, [site]);
      return { recorded, connect: () => rawClient(t, httpsPort, "a.test") };
    },
  },
];

for (const lane of lanes) {
  for (const one of cases) {
    test(`${one.id} ${one.title}: ${one.expected}: ${lane.name}`, async (t) => {
      const outcome = outcomeOf(one, lane.isByEngine);
      const { target, beHonest } = await lyingTarget(t, one);
      const { recorded, connect } = await lane.start(t, siteOf(target));
      const method = one.method ?? "GET";
      const client = connect();
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

      beHonest();
      const next = connect();
      next.send("GET /honest HTTP/1.1\r\nHost: a.test\r\n\r\n");
      const [honest] = await next.answers(1);
      assert.equal(honest?.body, "honest");
      assert.equal(target.connections(), outcome.target === "kept" ? 1 : 2, "connections to the target");
      assert.equal(target.requests.length, 2, "asked once each");
      assert.ok(target.openConnections() <= 2);
      await eventually("both are told", () => recorded.access.length === 2);
      assert.deepEqual(
        recorded.access.map(({ error }) => error),
        [outcome.error, undefined],
      );
    });
  }
}

for (const one of cases) {
  test(`${one.id} ${one.title}, over HTTP/2`, async (t) => {
    const outcome = outcomeOf(one, true);
    const { target, beHonest } = await lyingTarget(t, one);
    const home = await startFront(t, [siteOf(target)]);
    const client = await RawH2.open(home.httpsPort);
    t.after(() => client.destroy());
    client.headers(1, request({ ":method": one.method ?? "GET" }));
    assert.equal(await client.outcome(1), `${outcome.status} ${outcome.whole ? "END" : "RST INTERNAL_ERROR"}`);
    if (outcome.body !== undefined) assert.equal(client.body(1), outcome.body);
    assert.doesNotMatch(client.body(1), /127\.0\.0\.1|HPE_|ECONN/);
    assert.equal(client.of(1, FRAME.HEADERS).length >= 1 + (outcome.informational?.length ?? 0), true);

    beHonest();
    client.headers(3, request({ ":path": "/honest" }));
    assert.equal(await client.outcome(3), "200 END");
    assert.equal(client.body(3), "honest");
    assert.equal(target.connections(), outcome.target === "kept" ? 1 : 2, "connections to the target");
    assert.equal(target.requests.length, 2, "asked once each");
    await eventually("both are told", () => home.recorded.access.length === 2);
    assert.deepEqual(
      home.recorded.access.map(({ error }) => error),
      [outcome.error, undefined],
    );
  });
}

for (const one of cases.filter(({ method }) => method !== "HEAD")) {
  const asked = `${one.id} ${one.title}, when asked to become a WebSocket`;
  test(asked, async (t) => {
    const outcome = outcomeOf(one);
    const { target, beHonest } = await lyingTarget(t, one);
    const { httpsPort, recorded } = await startFront(t, [siteOf(target)]);
    const client = rawClient(t, httpsPort, "a.test");
    client.send(
      "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    // R13 is the one honest answer here: the target agrees, and what it then says is no HTTP.
    const isTunnel = one.id === "R13";
    if (isTunnel) await client.until("the tunnel", (received) => received.endsWith("\r\n\r\nraw"));
    else await client.closed();
    const answers = parseAnswers(client.received());
    assert.equal(answers.length, 1, "interim answers have no meaning here");
    assert.equal(answers[0]?.status, isTunnel ? 101 : outcome.status);
    if (!isTunnel) assert.equal(answers[0].isWhole, outcome.whole);
    // A body that breaks off may lose what came before the break.
    if (outcome.body !== undefined && outcome.whole) assert.equal(answers[0]?.body, outcome.body);
    if (outcome.status === 502) assert.doesNotMatch(answers[0]?.body ?? "", /127\.0\.0\.1|HPE_|ECONN/);
    client.socket.destroy();
    await eventually("the target is let go", () => target.openConnections() === 0);
    await eventually("one line", () => recorded.access.length === 1);

    beHonest();
    const next = rawClient(t, httpsPort, "a.test");
    next.send("GET /honest HTTP/1.1\r\nHost: a.test\r\n\r\n");
    const [honest] = await next.answers(1);
    assert.equal(honest?.body, "honest");
    assert.equal(target.requests.length, 2, "asked once each");
  });
}
