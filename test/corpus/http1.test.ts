/**
 * The HTTP/1 attack corpus through every lane that can receive it, with a target that reads by the letter of RFC 9112.
 *
 * data/http1-requests.json says what a correct proxy may do (`expected`); data/http1-outcomes.json pins the one outcome
 * that is ours, each judged against `expected` by a person. Change it only with such a judgement. own-*.json: our finds.
 */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { parseAnswers, type RawClient, valueOf } from "../support/raw-client.ts";
import {
  bytesOf,
  type Case,
  cases,
  lanes,
  methodsOf,
  type Outcome,
  outcomeOf,
  outcomes,
  startHttp1,
} from "./http1-lanes.ts";
import type { RunningHttp1 } from "./http1-lanes.ts";

/** The corpus hides a request for /SMUG in bodies; only these pipeline it openly. */
const HONEST_PIPELINES = new Set(["B24", "F17", "X59"]);
const AHEAD = "GET /ahead HTTP/1.1\r\nHost: a.test\r\n\r\n";

test("every case of the corpus has a pinned outcome", () => {
  assert.deepEqual(
    cases.map(({ id }) => id),
    [...outcomes.keys()],
  );
  assert.ok(cases.length > 131);
});

const statusesOf = (client: RawClient, methods: readonly string[]): number[] =>
  parseAnswers(client.received(), methods).map(({ status }) => status);

/** What reached the target since it was last cleared is what the outcome says, and every byte of it was in order. */
function assertTargetSaw(running: RunningHttp1, one: Case, outcome: Outcome): void {
  const { target } = running;
  const seen = target.requests.map(({ method, target, headers, framing, body }) => {
    return { method, target, host: valueOf(headers, "host"), framing, bodyBytes: body.length };
  });
  assert.deepEqual(seen, outcome.target);
  if (!HONEST_PIPELINES.has(one.id)) assert.ok(!seen.some(({ target }) => target.includes("SMUG")));
  const first = target.requests[0]?.headers ?? [];
  for (const name of outcome.headers?.absent ?? []) assert.equal(valueOf(first, name), undefined, name);
  for (const [name, value] of Object.entries(outcome.headers?.is ?? {}))
    assert.equal(valueOf(first, name), value, name);
  assert.deepEqual(target.malformed, []);
}

async function assertHonestIsServed(t: TestContext, running: RunningHttp1): Promise<void> {
  const client = running.connect(t);
  client.send("GET /honest HTTP/1.1\r\nHost: a.test\r\n\r\n");
  const [honest] = await client.answers(1);
  assert.equal(honest?.status, 200);
  assert.equal(honest.body, "ok");
  client.socket.destroy();
}

for (const lane of lanes) {
  test(`each attack on line, fields, framing and routing has its pinned outcome: ${lane.name}`, async (t) => {
    const running = await startHttp1(t, lane);
    const { target, recorded } = running;
    for (const one of cases) {
      await t.test(`${one.id} ${one.title}: ${one.expected}`, async (t) => {
        const outcome = outcomeOf(one, lane);
        target.requests.length = 0;
        const client = running.connect(t);
        client.send(bytesOf(one));
        const statuses = () => statusesOf(client, methodsOf(one));
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
        assertTargetSaw(running, one, outcome);
        client.socket.destroy();
        await assertHonestIsServed(t, running);
      });
    }
    // One access line per exchange, whatever happened to it.
    assert.equal(recorded.access.length, recorded.started);
    assert.ok(recorded.access.length > cases.length);
  });

  test(`a case has the same outcome on a connection that was ordinary until then: ${lane.name}`, async (t) => {
    const running = await startHttp1(t, lane);
    const { target } = running;
    for (const one of cases) {
      const outcome = outcomeOf(one, lane);
      await t.test(`${one.id} ${one.title}`, async (t) => {
        const client = running.connect(t);
        client.send(AHEAD);
        await client.answers(1);
        target.requests.length = 0;
        client.send(bytesOf(one));
        const statuses = () => statusesOf(client, ["GET", ...methodsOf(one)]);
        if (outcome.connection === "closed") await client.closed();
        else await client.until("answers", () => statuses().length > outcome.answers.length);
        assert.deepEqual(statuses(), [200, ...outcome.answers]);
        assertTargetSaw(running, one, outcome);
        client.socket.destroy();
      });
    }
  });

  test(`a case in one packet with an ordinary request gets that one answered and nothing more done: ${lane.name}`, async (t) => {
    const running = await startHttp1(t, lane);
    const { target } = running;
    for (const one of cases) {
      const outcome = outcomeOf(one, lane);
      await t.test(`${one.id} ${one.title}`, async (t) => {
        target.requests.length = 0;
        const client = running.connect(t);
        client.send(Buffer.concat([Buffer.from(AHEAD), bytesOf(one)]));
        const statuses = () => statusesOf(client, ["GET", ...methodsOf(one)]);
        if (outcome.connection === "closed") await client.closed();
        else await client.until("answers", () => statuses().length > outcome.answers.length);
        assert.equal(target.requests.shift()?.target, "/ahead");
        // A parser may find the fault while the first answer is under way; then that answer is the last word.
        const [first, ...rest] = statuses();
        assert.equal(first, 200);
        if (rest.length > 0 || outcome.target.length > 0) assert.deepEqual(rest, outcome.answers);
        assertTargetSaw(running, one, outcome);
        client.socket.destroy();
      });
    }
  });

  test(`what is pipelined behind a refusal is never a request: ${lane.name}`, async (t) => {
    const running = await startHttp1(t, lane);
    for (const one of cases.filter((one) => outcomeOf(one, lane).connection === "closed")) {
      const client = running.connect(t);
      const behind = Buffer.from("GET /behind HTTP/1.1\r\nHost: a.test\r\n\r\n");
      client.send(Buffer.concat([bytesOf(one), behind]));
      await client.closed();
      client.socket.destroy();
    }
    assert.deepEqual(
      running.target.requests.filter(({ target }) => target === "/behind" || target.includes("SMUG")),
      [],
    );
    assert.deepEqual(running.target.malformed, []);
  });

  test(`a case cut into single bytes has the same outcome as in one piece: ${lane.name}`, async (t) => {
    const running = await startHttp1(t, lane);
    // Long ones would only be slow; the parser's states are all in the short ones.
    const short = cases.filter(({ bytes }) => bytes.length < 300);
    assert.ok(short.length > 100);
    await Promise.all(
      short.map(async (one) => {
        const outcome = outcomeOf(one, lane);
        const client = running.connect(t);
        const statuses = () => statusesOf(client, methodsOf(one));
        for (const byte of bytesOf(one)) {
          if (client.isClosed()) break;
          await new Promise<void>((resolve) => client.socket.write(Buffer.of(byte), () => setImmediate(resolve)));
        }
        await client.until(`${one.id} ${one.title}`, (_, closed) =>
          outcome.connection === "closed" ? closed : statuses().length >= outcome.answers.length,
        );
        assert.deepEqual(statuses(), outcome.answers, `${one.id} ${one.title}`);
        client.socket.destroy();
      }),
    );
    assert.deepEqual(running.target.malformed, []);
  });
}
