/**
 * The wait before a first order: how long, for what, and for whom not.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createWayIn } from "../../src/keeping/way-in.ts";
import { keptLog } from "../support/log-lines.ts";

const never = new AbortController().signal;

test("an order waits while the router or the name's service is at it, and says so once", async () => {
  const { log, lines } = keptLog();
  const steps = { opening: 2, naming: 3 };
  const wayIn = createWayIn({
    isOpening: () => steps.opening-- > 0,
    isNaming: (name) => name === "a.test" && steps.naming-- > 0,
    log,
  });
  await wayIn("a.test", never);
  assert.ok(steps.opening < 0 && steps.naming < 0);
  assert.equal(lines().filter(({ event }) => event === "acme.waits_for_way_in").length, 1);
});

test("where nothing is under way nothing is waited for or said", async () => {
  const { log, lines } = keptLog();
  await createWayIn({ isOpening: () => false, isNaming: () => false, log })("a.test", never);
  assert.deepEqual(lines(), []);
});

test("the wait ends by itself, and at once when it is stopped", async () => {
  const { log } = keptLog();
  const stuck = { isOpening: () => true, isNaming: () => true, log };
  await createWayIn({ ...stuck, withinMs: 300 })("a.test", never);
  const stopping = new AbortController();
  const waiting = createWayIn({ ...stuck, withinMs: 600_000 })("a.test", stopping.signal);
  stopping.abort(new Error("Gatehouse is stopping"));
  await assert.rejects(waiting, /stopping/);
});
