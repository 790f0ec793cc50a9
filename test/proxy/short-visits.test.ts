/**
 * Connections of a few milliseconds are collected cheaply: V8 does not take them for something that stays.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { fork } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { startFront } from "../support/front-home.ts";
import { garbageGrownOldHere } from "../support/held-memory.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";

const VISITS = 400;
/** Two sockets that nobody listens to any more, which is Node's part, are 4 KB. With what listened it was 7.5. */
const MOST_BYTES_EACH = 5_500;

test("a connection that has ended leaves little behind for the old generation", async (t) => {
  const { front, httpsPort } = await startFront(t, [siteConfig("a.test", targetConfig(9))]);
  const visits = async (count: number): Promise<void> => {
    const script = join(import.meta.dirname, "../support/short-visits.ts");
    const child = fork(script, [`${httpsPort}`, "a.test", `${count}`], { stdio: "inherit" });
    const [code] = (await once(child, "exit")) as [number];
    assert.equal(code, 0, "a visit failed");
    await eventually("closed connections", () => front.openConnections() === 0);
  };
  await visits(50);
  garbageGrownOldHere();
  await visits(VISITS);
  const each = garbageGrownOldHere() / VISITS;
  t.diagnostic(`${each.toFixed(0)} bytes each`);
  assert.ok(each < MOST_BYTES_EACH, `${each.toFixed(0)} bytes of each connection have grown old`);
});
