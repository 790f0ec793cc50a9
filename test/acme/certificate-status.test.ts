/**
 * How do things stand with a name that has no certificate yet?
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateStatus } from "../../src/acme/certificate-status.ts";

const NOW = Date.UTC(2026, 10, 21);
const known = { name: "home.example.org", bundle: undefined, failure: undefined, heldBy: undefined };

for (const [what, nextTry, expected] of [
  ["was due from the first moment on is tried now, and not in 1970", 0, NOW],
  ["has been due for an hour is tried now", NOW - 3_600_000, NOW],
  ["rests is tried when it has rested", NOW + 60_000, NOW + 60_000],
  ["nobody orders for is not tried", undefined, undefined],
] as const) {
  test(`a name that ${what}`, () => {
    const status = certificateStatus(known, { nextTry, renewAt: 0, now: NOW });
    assert.deepEqual([status.state, status.nextTry], ["pending", expected]);
  });
}
