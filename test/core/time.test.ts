/**
 * Are lengths of time and sizes read as written, and written as they can be read?
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatDuration, formatSize, parseDuration, parseSize } from "../../src/core/time.ts";

const durations: [text: string, ms: number | undefined][] = [
  ["0s", 0],
  ["250ms", 250],
  ["90s", 90_000],
  ["1h30m", 5_400_000],
  ["2d", 172_800_000],
  ["60", undefined],
  ["", undefined],
  ["s", undefined],
  ["1.5s", undefined],
  ["-1s", undefined],
  ["1 s", undefined],
  ["1S", undefined],
  ["1s\n", undefined],
  ["99999999999999d", undefined],
];
for (const [text, ms] of durations) {
  test(`${JSON.stringify(text)} is ${ms === undefined ? "no length of time" : `${ms} ms`}`, () =>
    assert.equal(parseDuration(text), ms));
}

const sizes: [text: string, bytes: number | undefined][] = [
  ["0B", 0],
  ["1B", 1],
  ["20GB", 20_000_000_000],
  ["1.5MB", 1_500_000],
  ["512KiB", 524_288],
  ["1 TiB", 1_099_511_627_776],
  ["20", undefined],
  ["20gb", undefined],
  ["20G", undefined],
  ["-1MB", undefined],
  ["1e3MB", undefined],
  ["99999999999TB", undefined],
];
for (const [text, bytes] of sizes) {
  test(`${JSON.stringify(text)} is ${bytes === undefined ? "no size" : `${bytes} bytes`}`, () =>
    assert.equal(parseSize(text), bytes));
}

test("every length of time is read back as it was written", () => {
  fc.assert(fc.property(fc.maxSafeNat(), (ms) => assert.equal(parseDuration(formatDuration(ms)), ms)));
});

test("every size is read back as it was written, in the largest unit that divides it", () => {
  fc.assert(fc.property(fc.maxSafeNat(), (bytes) => assert.equal(parseSize(formatSize(bytes)), bytes)));
  assert.deepEqual([20_000_000_000, 524_288, 1_024_000, 1].map(formatSize), ["20GB", "512KiB", "1000KiB", "1B"]);
});
