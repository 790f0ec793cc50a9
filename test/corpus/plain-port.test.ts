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
