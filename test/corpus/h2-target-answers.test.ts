/**
 * What lying and broken targets send, through the HTTP/2 lane: the outcomes of the HTTP/1 lane hold here as well.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { eventually, startFront } from "../support/front-home.ts";
import { FRAME, RawH2, request } from "../support/h2-raw.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { startRecordingTarget } from "../support/recording-target.ts";

interface Case {
  id: string;
  title: string;
  bytes?: string;
  method?: string;
  behaviour: "keep open" | "close after bytes" | "drip" | "generate";
}
interface Outcome {
  id: string;
  status: number;
  body?: string;
  whole: boolean;
  target: "destroyed" | "kept";
  informational?: number[];
  error?: string;
}

const read = (name: string): unknown => JSON.parse(readFileSync(new URL(`data/${name}`, import.meta.url), "utf8"));
const cases = read("target-answers.json") as Case[];
const outcomes = new Map((read("target-outcomes.json") as Outcome[]).map((one) => [one.id, one]));

for (const one of cases) {
  test(`${one.id} ${one.title}, over HTTP/2`, async (t) => {
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
    const timeouts = { connectMs: 2_000, firstByteMs: 2_000, idleMs: 300, tunnelIdleMs: 2_000 };
    const home = await startFront(t, [siteConfig("a.test", targetConfig(target.port), { timeouts })]);
    const client = await RawH2.open(home.httpsPort);
    t.after(() => client.destroy());
    client.headers(1, request({ ":method": one.method ?? "GET" }));
    assert.equal(await client.outcome(1), `${outcome.status} ${outcome.whole ? "END" : "RST INTERNAL_ERROR"}`);
    if (outcome.body !== undefined) assert.equal(client.body(1), outcome.body);
    assert.doesNotMatch(client.body(1), /127\.0\.0\.1|HPE_|ECONN/);
    assert.equal(client.of(1, FRAME.HEADERS).length >= 1 + (outcome.informational?.length ?? 0), true);

    isHonest = true;
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
