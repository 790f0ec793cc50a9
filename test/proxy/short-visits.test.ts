/**
 * Connections of a few milliseconds are collected cheaply: V8 does not take them for something that stays.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { handshakes } from "../../bench/loads/handshakes.ts";
import { eventually } from "../support/eventually.ts";
import { startFront } from "../support/front-home.ts";
import { garbageGrownOldHere } from "../support/held-memory.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";

const VISITS = 400;
/** Two sockets that nobody listens to any more, which is Node's part, are 4 KB. With what listened it was 7.5. */
const MOST_BYTES_EACH = 5_500;

test("a connection that has ended leaves little behind for the old generation", async (t) => {
  const { front, httpsPort } = await startFront(t, [siteConfig("a.test", targetConfig(9))]);
  const visit = handshakes({ isResumed: false, connections: 8 });
  const visits = async (count: number): Promise<void> => {
    const { failed } = await visit({ port: httpsPort, host: "a.test", folder: "", core: undefined }, { count });
    assert.equal(failed, 0, "a visit failed");
    await eventually("closed connections", () => front.openConnections() === 0);
  };
  await visits(50);
  garbageGrownOldHere();
  await visits(VISITS);
  const each = garbageGrownOldHere() / VISITS;
  t.diagnostic(`${each.toFixed(0)} bytes each`);
  assert.ok(each < MOST_BYTES_EACH, `${each.toFixed(0)} bytes of each connection have grown old`);
});
