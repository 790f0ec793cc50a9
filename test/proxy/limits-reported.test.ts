/**
 * Limits that a target runs into: each ends in an answer, and is counted by its name, whatever the lane.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LimitName } from "../../src/observe/limit-names.ts";
import { eventually } from "../support/eventually.ts";
import { limitsConfig, proxyConfig, siteConfig, startLane, targetConfig } from "../support/proxy-lane.ts";
import { ask, rawClient } from "../support/raw-client.ts";
import { startRecordingTarget } from "../support/recording-target.ts";

const LANES = ["fast", "compat"] as const;

/** Bytes of one field of the answer, what may come of a whole head, and what is told. */
const HEADS: readonly [field: number, allowed: number, status: number, limits: LimitName[]][] = [
  [1_500, 2_048, 200, []],
  [3_000, 2_048, 502, ["answer_head_size"]],
  // More than node:http would take by itself.
  [30_000, 65_536, 200, []],
  [70_000, 65_536, 502, ["answer_head_size"]],
];

for (const lane of LANES) {
  for (const [field, allowed, status, limits] of HEADS) {
    test(`${lane}: a field of ${field} bytes in an answer, with answerHeadSize ${allowed}, is ${status}`, async (t) => {
      const target = await startRecordingTarget(t, (_, socket) => {
        // In two fields: one line alone may be held to less.
        const half = "a".repeat(field / 2);
        socket.write(`HTTP/1.1 200 OK\r\nx-one: ${half}\r\nx-two: ${half}\r\ncontent-length: 2\r\n\r\nok`);
      });
      const { port, recorded } = await startLane(
        t,
        proxyConfig([siteConfig("a.test", targetConfig(target.port))], {
          limits: limitsConfig({ answerHeadSize: allowed }),
        }),
        {},
        { lane },
      );
      assert.equal((await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test")).status, status);
      await eventually("logged", () => recorded.access.length === 1);
      assert.deepEqual(recorded.limits, limits);
    });
  }

  test(`${lane}: a request that waits because a target has all its connections is counted`, async (t) => {
    const target = await startRecordingTarget(t, () => {});
    const timeouts = { connectMs: 500, firstByteMs: 30_000, idleMs: 30_000, tunnelIdleMs: 30_000 };
    const { port, recorded } = await startLane(
      t,
      proxyConfig([siteConfig("a.test", targetConfig(target.port), { timeouts })]),
      {},
      { lane },
    );
    const busy = Array.from({ length: 256 }, () => {
      const client = rawClient(t, port);
      client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
      return client;
    });
    await eventually("256 busy", () => target.requests.length === 256, 15_000);
    assert.deepEqual(recorded.limits, []);
    await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test");
    assert.deepEqual(recorded.limits, ["upstream_connections"]);
    for (const client of busy) client.socket.destroy();
  });
}
