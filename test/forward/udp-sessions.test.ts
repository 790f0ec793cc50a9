/**
 * Does the table of UDP sessions keep its bound and its promises, whatever comes?
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { createUdpSessions } from "../../src/forward/udp-sessions.ts";

const LIMIT = 8;
const IDLE_MS = 100;

const step = fc.oneof(
  fc.record({ kind: fc.constant("receive"), client: fc.integer({ min: 0, max: 30 }), bytes: fc.nat(2_000) }),
  fc.record({ kind: fc.constant("answer"), client: fc.integer({ min: 0, max: 30 }), bytes: fc.nat(4_000) }),
  fc.record({ kind: fc.constant("wait"), client: fc.constant(0), bytes: fc.nat(60) }),
);

test("never more sessions than the limit, never more than three times back to the unproven, each ended once", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      let now = 0;
      let opened = 0;
      const ended = new Set<number>();
      const sessions = createUdpSessions<number>({
        limit: () => LIMIT,
        idleMs: () => IDLE_MS,
        now: () => now,
        isKnown: () => false,
        ended: ({ outlet }) => {
          assert.ok(!ended.has(outlet), "ended twice");
          ended.add(outlet);
        },
      });
      for (const { kind, client, bytes } of steps) {
        const key = String(client);
        if (kind === "wait") {
          now += bytes;
          sessions.sweep();
          for (const session of sessions.all()) assert.ok(now - session.touchedAt < IDLE_MS);
        } else if (kind === "receive") {
          const wasProven = [...sessions.all()].filter(({ isProven }) => isProven).map((one) => one.key);
          const session =
            sessions.find(key) ?? sessions.admit({ key, address: "192.0.2.1", port: client }, () => opened++);
          if (session === undefined) assert.equal(wasProven.length, LIMIT);
          else sessions.received(session, bytes);
          for (const proven of wasProven) assert.ok(sessions.find(proven), "a proven session was pushed out");
        } else {
          const session = sessions.find(key);
          if (session === undefined) continue;
          const may = sessions.mayAnswer(session, bytes);
          if (!session.isProven) assert.ok(session.bytesOut <= 3 * session.bytesIn);
          else assert.ok(may);
        }
        assert.ok(sessions.size <= LIMIT);
        assert.equal(sessions.size, opened - ended.size);
      }
    }),
    { numRuns: 500 },
  );
});

test("an address that is certainly the sender's own may be answered with more than it sent", () => {
  const known = new Set(["192.0.2.7"]);
  const sessions = createUdpSessions<string>({
    limit: () => LIMIT,
    idleMs: () => IDLE_MS,
    now: () => 0,
    isKnown: (address) => known.has(address),
    ended: () => {},
  });
  const answers = (address: string): boolean => {
    const session = sessions.admit({ key: address, address, port: 1 }, () => address);
    assert.ok(session);
    sessions.received(session, 4);
    return sessions.mayAnswer(session, 1_420);
  };
  assert.equal(answers("192.0.2.7"), true);
  assert.equal(answers("192.0.2.8"), false);
  known.clear();
  const first = sessions.find("192.0.2.7");
  assert.ok(first !== undefined && sessions.mayAnswer(first, 1_420), "it stays so for the session");
});
