/**
 * The HTTP/1 attack corpus against a real compat lane, with a target that reads by the letter of RFC 9112.
 *
 * corpus/http1-requests.json says what a correct proxy may do (`expected`); corpus/http1-outcomes.json pins the one
 * outcome that is ours, each judged against `expected` by a person. Change it only with such a judgement.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { proxyConfig, siteConfig, startLane, targetConfig } from "../support/proxy-lane.ts";
import { ask, parseAnswers, rawClient, valueOf } from "../support/raw-client.ts";
import { startRecordingTarget } from "../support/recording-target.ts";

interface Case {
  id: string;
  title: string;
  bytes: string;
  expected: string;
}

interface Outcome {
  id: string;
  /** Status of every answer in order, informational ones included. */
  answers: number[];
  connection: "open" | "closed";
  /** What reached the target, in order. */
  target: { method: string; target: string; host: string; framing: string; bodyBytes: number }[];
  /** Fields of the target's first request. */
  headers?: { absent?: string[]; is?: Record<string, string> };
}

const read = (name: string): unknown => JSON.parse(readFileSync(new URL(`corpus/${name}`, import.meta.url), "utf8"));
const cases = read("http1-requests.json") as Case[];
const outcomes = new Map((read("http1-outcomes.json") as Outcome[]).map((one) => [one.id, one]));

/** The corpus hides a request for /SMUG in bodies; only these two pipeline it openly. */
const HONEST_PIPELINES = ["B24", "F17"];

test("every case of the corpus has a pinned outcome", () => {
  assert.deepEqual(
    cases.map(({ id }) => id),
    [...outcomes.keys()],
  );
  assert.equal(cases.length, 131);
});

test("each attack on the request line, fields, framing and routing has its pinned outcome", async (t) => {
  const target = await startRecordingTarget(t);
  const sites = ["a.test", "b.test"].map((name) => siteConfig(name, targetConfig(target.port)));
  const { port, recorded } = await startLane(t, proxyConfig(sites));
  for (const one of cases) {
    await t.test(`${one.id} ${one.title}: ${one.expected}`, async (t) => {
      const outcome = outcomes.get(one.id);
      assert.ok(outcome);
      target.requests.length = 0;
      const bytes = Buffer.from(one.bytes, "base64");
      const methods = bytes.toString("latin1").startsWith("HEAD") ? ["HEAD"] : [];
      const client = rawClient(t, port);
      client.send(bytes);
      const statuses = () => parseAnswers(client.received(), methods).map(({ status }) => status);
      if (outcome.connection === "closed") {
        await client.closed();
      } else {
        await client.until("answers", () => statuses().length >= outcome.answers.length);
        // Still the same connection, and nothing of the case is left on it.
        client.send("GET /after HTTP/1.1\r\nHost: a.test\r\n\r\n");
        await client.until("the next request", () => statuses().length > outcome.answers.length);
        assert.equal(statuses().pop(), 200);
        assert.equal(target.requests.pop()?.target, "/after");
      }
      assert.deepEqual(statuses().slice(0, outcome.answers.length), outcome.answers);
      if (outcome.connection === "closed") assert.equal(statuses().length, outcome.answers.length);
      const seen = target.requests.map(({ method, target, headers, framing, body }) => {
        return { method, target, host: valueOf(headers, "host"), framing, bodyBytes: body.length };
      });
      assert.deepEqual(seen, outcome.target);
      if (!HONEST_PIPELINES.includes(one.id)) assert.ok(!seen.some(({ target }) => target.includes("SMUG")));
      for (const name of outcome.headers?.absent ?? []) {
        assert.equal(valueOf(target.requests[0]?.headers ?? [], name), undefined, name);
      }
      for (const [name, value] of Object.entries(outcome.headers?.is ?? {})) {
        assert.equal(valueOf(target.requests[0]?.headers ?? [], name), value, name);
      }
      assert.deepEqual(target.malformed, []);
      client.socket.destroy();

      const honest = await ask(t, port, "GET /honest HTTP/1.1\r\nHost: a.test");
      assert.equal(honest.status, 200);
      assert.equal(honest.body, "ok");
    });
  }
  // One access line per exchange, whatever happened to it.
  assert.equal(recorded.access.length, recorded.started);
  assert.ok(recorded.access.length > cases.length);
});

test("what is pipelined behind a refusal is never a request", async (t) => {
  const target = await startRecordingTarget(t);
  const sites = ["a.test", "b.test"].map((name) => siteConfig(name, targetConfig(target.port)));
  const { port } = await startLane(t, proxyConfig(sites));
  const refused = cases.filter(({ id }) => outcomes.get(id)?.connection === "closed");
  for (const one of refused) {
    const client = rawClient(t, port);
    const behind = Buffer.from("GET /behind HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.send(Buffer.concat([Buffer.from(one.bytes, "base64"), behind]));
    await client.closed();
    client.socket.destroy();
  }
  assert.deepEqual(
    target.requests.map(({ target }) => target).filter((path) => path !== "/"),
    [],
  );
});

test("a case cut into single bytes has the same outcome as in one piece", async (t) => {
  const target = await startRecordingTarget(t);
  const sites = ["a.test", "b.test"].map((name) => siteConfig(name, targetConfig(target.port)));
  const { port } = await startLane(t, proxyConfig(sites));
  // Long ones would only be slow; the parser's states are all in the short ones.
  const short = cases.filter(({ bytes }) => bytes.length < 300);
  assert.ok(short.length > 100);
  await Promise.all(
    short.map(async (one) => {
      const outcome = outcomes.get(one.id);
      const bytes = Buffer.from(one.bytes, "base64");
      const methods = bytes.toString("latin1").startsWith("HEAD") ? ["HEAD"] : [];
      const client = rawClient(t, port);
      const statuses = () => parseAnswers(client.received(), methods).map(({ status }) => status);
      for (const byte of bytes) {
        if (client.isClosed()) break;
        await new Promise<void>((resolve) => client.socket.write(Buffer.of(byte), () => setImmediate(resolve)));
      }
      await client.until(`${one.id} ${one.title}`, (_, closed) =>
        outcome?.connection === "closed" ? closed : statuses().length >= (outcome?.answers.length ?? 0),
      );
      assert.deepEqual(statuses(), outcome?.answers, `${one.id} ${one.title}`);
      client.socket.destroy();
    }),
  );
  assert.deepEqual(target.malformed, []);
});
