/**
 * The HTTP/1 attack corpus against the plain port, where nothing is forwarded: each case has its pinned outcome, no
 * target hears of any, and no redirect leads anywhere but to a site of ours.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { startFront } from "../support/front-home.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { ask, parseAnswers, rawClient, valueOf } from "../support/raw-client.ts";
import { startRecordingTarget } from "../support/recording-target.ts";
import { bytesOf, cases, methodsOf } from "./http1-lanes.ts";

/** By id: the status of every answer, then whether the connection is open or closed. */
const outcomes = JSON.parse(readFileSync(new URL("data/plain-outcomes.json", import.meta.url), "utf8")) as Record<
  string,
  (number | "open" | "closed")[]
>;

/** These pipeline a request for /SMUG openly, so a redirect to it is an honest answer. */
const HONEST_PIPELINES = new Set(["B24", "F17", "X59"]);

test("each attack on the plain port has its pinned outcome and reaches no target", async (t) => {
  assert.deepEqual(
    Object.keys(outcomes),
    cases.map(({ id }) => id),
  );
  const target = await startRecordingTarget(t);
  const to = targetConfig(target.port);
  const { httpPort: port } = await startFront(t, [siteConfig("a.test", to), siteConfig("b.test", to)]);
  for (const one of cases) {
    await t.test(`${one.id} ${one.title}`, async (t) => {
      const expected = outcomes[one.id] ?? [];
      const statuses = expected.slice(0, -1);
      const client = rawClient(t, port);
      client.send(bytesOf(one));
      const answers = () => parseAnswers(client.received(), methodsOf(one));
      if (expected.at(-1) === "closed") {
        await client.closed();
      } else {
        await client.until("answers", () => answers().length >= statuses.length);
        client.send("GET /after HTTP/1.1\r\nHost: a.test\r\n\r\n");
        await client.until("the next request", () => answers().length > statuses.length);
        assert.match(valueOf(answers().at(-1)?.headers ?? [], "location") ?? "", /^https:\/\/a\.test\/after$/);
      }
      assert.deepEqual(
        answers()
          .map(({ status }) => status)
          .slice(0, statuses.length),
        statuses,
      );
      if (expected.at(-1) === "closed") assert.equal(answers().length, statuses.length);
      for (const { status, headers } of answers()) {
        const location = valueOf(headers, "location");
        assert.equal(status === 308, location !== undefined);
        if (location === undefined) continue;
        assert.match(location, /^https:\/\/[ab]\.test\/[!-~]*$/);
        if (!HONEST_PIPELINES.has(one.id)) assert.doesNotMatch(location, /SMUG/);
      }
      client.socket.destroy();
      const honest = await ask(t, port, "GET /x?y HTTP/1.1\r\nHost: b.test");
      assert.equal(valueOf(honest.headers, "location"), "https://b.test/x?y");
    });
  }
  assert.equal(target.connections(), 0);
});

test("T10 a case that reaches the plain port byte by byte has the same outcome as in one piece", async (t) => {
  const { httpPort: port } = await startFront(t, [
    siteConfig("a.test", targetConfig(1)),
    siteConfig("b.test", targetConfig(1)),
  ]);
  // Long ones would only be slow; the parser's states are all in the short ones.
  const short = cases.filter(({ bytes }) => bytes.length < 300);
  assert.ok(short.length > 100);
  await Promise.all(
    short.map(async (one) => {
      const expected = outcomes[one.id] ?? [];
      const client = rawClient(t, port);
      const statuses = () => parseAnswers(client.received(), methodsOf(one)).map(({ status }) => status);
      for (const byte of bytesOf(one)) {
        if (client.isClosed()) break;
        await new Promise<void>((resolve) => client.socket.write(Buffer.of(byte), () => setImmediate(resolve)));
      }
      await client.until(`${one.id} ${one.title}`, (_, isClosed) =>
        expected.at(-1) === "closed" ? isClosed : statuses().length >= expected.length - 1,
      );
      // A reset may overtake the answer of somebody who writes on behind the end (RFC 9112 §9.6).
      const told = client.socket.errored === null ? expected.slice(0, -1) : expected.slice(0, statuses().length);
      assert.deepEqual(statuses(), told, `${one.id} ${one.title}`);
      client.socket.destroy();
    }),
  );
});

test("T11 what follows a refusal on the plain port is not answered", async (t) => {
  const { httpPort: port } = await startFront(t, [
    siteConfig("a.test", targetConfig(1)),
    siteConfig("b.test", targetConfig(1)),
  ]);
  const refused = cases.filter(({ id }) => outcomes[id]?.at(-1) === "closed");
  assert.ok(refused.length > 50);
  for (const one of refused) {
    const client = rawClient(t, port);
    client.send(Buffer.concat([bytesOf(one), Buffer.from("GET /behind HTTP/1.1\r\nHost: a.test\r\n\r\n")]));
    await client.closed();
    assert.doesNotMatch(client.received(), /location: https:\/\/a\.test\/behind/i, one.id);
  }
});
