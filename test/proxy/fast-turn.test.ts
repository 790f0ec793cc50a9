/**
 * Many connections at work: their writes wait for the end of the turn, and nothing is mixed up or forgotten by that.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Turn } from "../../src/proxy/lanes/fast/turn.ts";
import { eventually } from "../support/eventually.ts";
import { startFront } from "../support/front-home.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { parseAnswers, rawClient } from "../support/raw-client.ts";
import { startTarget } from "../support/target.ts";

test("with few at work nothing waits; with enough, each is called once, in order, before the loop polls again", async () => {
  const called: string[] = [];
  const turn = new Turn(() => void called.push("ended"), 2);
  const one = (name: string) => ({ turnEnds: () => void called.push(name) });
  turn.atWork = 1;
  assert.equal(turn.wait(one("early")), false);
  turn.atWork = 2;
  assert.equal(turn.wait(one("first")), true);
  // Who comes while the turn ends belongs to the next one.
  turn.wait({ turnEnds: () => void (called.push("second"), turn.wait(one("third"))) });
  assert.deepEqual(called, []);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(called, ["first", "second"]);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(called, ["first", "second", "third", "ended"]);
});

test("twenty-four TLS clients at once, some pipelining, some leaving: each gets its own answers and one line for each", async (t) => {
  const PER_CLIENT = 6;
  const CLIENTS = 24;
  const LEAVERS = 8;
  const { port } = await startTarget(t, (req, res) => {
    if (req.url === "/never") return;
    // Sizes on both sides of a record, and of what is written together.
    const [, client, at] = /^\/(\d+)\/(\d+)$/.exec(req.url ?? "") ?? [];
    const size = Number(at) * (Number(client) % 3 === 0 ? 60_001 : 1_777);
    const body = `${req.url} `.repeat(Math.ceil(size / 8) + 1);
    if (size % 2 === 0) res.setHeader("content-length", body.length);
    res.end(body);
  });
  const timeouts = { connectMs: 60_000, firstByteMs: 60_000, idleMs: 60_000, tunnelIdleMs: 60_000 };
  const home = await startFront(t, [siteConfig("a.test", targetConfig(port), { timeouts })]);
  const ask = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a.test\r\n\r\n`;
  const leavers = Array.from({ length: LEAVERS }, () => rawClient(t, home.httpsPort, "a.test"));
  for (const client of leavers) client.send(ask("/never"));
  await Promise.all(
    Array.from({ length: CLIENTS }, async (_, number) => {
      const client = rawClient(t, home.httpsPort, "a.test");
      const paths = Array.from({ length: PER_CLIENT }, (__, at) => `/${number}/${at}`);
      if (number % 4 === 0) client.send(paths.map(ask).join(""));
      for (const [at, path] of paths.entries()) {
        if (number % 4 !== 0) client.send(ask(path));
        const isThere = (text: string): boolean => parseAnswers(text)[at]?.isWhole ?? false;
        const body = parseAnswers(await client.until("an answer", isThere, 60_000))[at]?.body ?? "";
        assert.equal(body.replaceAll(`${path} `, ""), "", `answer ${at} of client ${number}`);
        assert.notEqual(body, "");
      }
      if (number % 10 === 0) leavers.pop()?.socket.destroy();
    }),
  );
  for (const client of leavers) client.socket.destroy();
  await eventually("a line for each", () => home.recorded.access.length === CLIENTS * PER_CLIENT + LEAVERS, 60_000);
  assert.equal(home.recorded.access.filter(({ status }) => status === 200).length, CLIENTS * PER_CLIENT);
  assert.equal(home.recorded.access.filter(({ error }) => error === "GATEHOUSE_CLIENT_GONE").length, LEAVERS);
});
