/**
 * When is a certificate due, for lives from an hour to three months, and how long is the wait after a failure?
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { renewAt } from "../../src/acme/schedule/due.ts";
import { recordFailure } from "../../src/acme/schedule/failures.ts";
import { GatehouseError } from "../../src/core/errors.ts";
import { formatDuration } from "../../src/core/time.ts";
import type { CertificateBundle } from "../../src/storage/bundles.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const START = Date.UTC(2027, 0, 1);

const living = (life: number, serial = "00000000"): CertificateBundle => ({
  name: "home.example.org",
  names: ["home.example.org"],
  keyPem: "",
  chainPem: "",
  notBefore: START,
  notAfter: START + life,
  issuer: "test",
  serial,
  ca: "test",
  issuedAt: START,
});

const lives: [life: number, share: number | undefined, earliest: number, latest: number][] = [
  [90 * DAY, undefined, 60 * DAY, 61 * DAY],
  [64 * DAY, undefined, (64 * DAY * 2) / 3, 44 * DAY],
  [45 * DAY, undefined, 30 * DAY, 31 * DAY],
  [160 * HOUR, undefined, 80 * HOUR, 83 * HOUR],
  [6 * DAY, undefined, 3 * DAY, 3 * DAY + 3 * HOUR],
  [HOUR, undefined, 30 * MINUTE, 31 * MINUTE],
  [90 * DAY, 0.5, 45 * DAY, 46 * DAY],
  // However small the share: in the last twentieth it is due.
  [90 * DAY, 0.001, 85.5 * DAY, 85.5 * DAY],
  // However large: not at birth, or an order would follow each minute.
  [90 * DAY, 0.9999, 0.9 * DAY, 1.1 * DAY],
  [100 * 1000, 0.99, 1000, 3000],
];
for (const [life, share, earliest, latest] of lives) {
  test(`a life of ${formatDuration(life)}${share === undefined ? "" : `, share ${share}`}, is due after ${formatDuration(Math.round(earliest))}`, () => {
    for (const serial of ["00000000", "80000000", "FFFFFFFF", "not a number"]) {
      const after = renewAt(living(life, serial), share) - START;
      assert.ok(after >= earliest && after <= latest, `${after / life} of life with ${serial}`);
    }
  });
}

test("names that were issued together come apart, and a restart does not move them", () => {
  const at = ["1A2B3C4D", "5A2B3C4D", "9A2B3C4D"].map((serial) => renewAt(living(90 * DAY, serial)));
  assert.equal(new Set(at).size, 3);
  assert.deepEqual(
    at,
    ["1A2B3C4D", "5A2B3C4D", "9A2B3C4D"].map((serial) => renewAt(living(90 * DAY, serial))),
  );
});

const refusedNow = (
  before: number,
  bundle: CertificateBundle | undefined,
  now: number,
  error: unknown,
  random = 0,
): number => {
  let failure = undefined;
  for (let count = 0; count <= before; count++) {
    failure = recordFailure(error, { name: "n", ca: "c", before: failure, bundle, now, random: () => random });
  }
  return (failure?.nextTry ?? 0) - now;
};
const down = new GatehouseError("GATEHOUSE_ACME_UNAVAILABLE", { message: "down" });
const no = new GatehouseError("GATEHOUSE_ACME_REFUSED", { message: "no" });
const later = (ms: number) =>
  new GatehouseError("GATEHOUSE_ACME_RATE_LIMITED", { message: "later", notBefore: START + ms });

const waits: [
  what: string,
  before: number,
  bundle: CertificateBundle | undefined,
  now: number,
  error: unknown,
  wait: number,
][] = [
  ["the first failure", 0, undefined, START, down, MINUTE],
  ["the second", 1, undefined, START, down, 10 * MINUTE],
  ["the third", 2, undefined, START, down, 100 * MINUTE],
  ["the fourth", 3, undefined, START, down, DAY],
  ["the fortieth", 39, undefined, START, down, DAY],
  ["a failure of our own", 0, undefined, START, new Error("bug"), MINUTE],
  ["a refusal that needs a person", 0, undefined, START, no, DAY],
  ["a rate limit", 0, undefined, START, later(3 * DAY), 3 * DAY],
  ["a Retry-After shorter than the back-off", 2, undefined, START, later(MINUTE), 100 * MINUTE],
  ["a 90-day certificate with 30 days left", 3, living(90 * DAY), START + 60 * DAY, down, DAY],
  ["one with 4 days left", 3, living(90 * DAY), START + 86 * DAY, down, DAY / 2],
  ["one with 10 minutes left", 3, living(90 * DAY), START + 90 * DAY - 10 * MINUTE, down, 15 * MINUTE],
  ["one that has expired", 3, living(90 * DAY), START + 91 * DAY, down, DAY],
  ["a 6-day one with 3 days left", 3, living(6 * DAY), START + 3 * DAY, down, 9 * HOUR],
  ["a one-hour one with half an hour left", 3, living(HOUR), START + HOUR / 2, down, 3.75 * MINUTE],
  ["a one-hour one that has expired", 3, living(HOUR), START + 2 * HOUR, down, 7.5 * MINUTE],
];
for (const [what, before, bundle, now, error, wait] of waits) {
  test(`after ${what} the wait is ${formatDuration(wait)}`, () => {
    assert.equal(refusedNow(before, bundle, now, error), wait);
  });
}

test("jitter makes a wait longer by a quarter at most, never shorter, and never passes an eighth of what is left", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 20 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      fc.integer({ min: HOUR, max: 90 * DAY }),
      fc.double({ min: 0.01, max: 1, noNaN: true }),
      (before, random, life, leftShare) => {
        const plain = refusedNow(before, undefined, START, down);
        const jittered = refusedNow(before, undefined, START, down, random);
        assert.ok(jittered >= plain && jittered <= plain * 1.25);
        const now = START + Math.round(life * (1 - leftShare));
        const left = START + life - now;
        const wait = refusedNow(before, living(life), now, down, random);
        assert.ok(wait <= Math.max(left / 8, 15 * MINUTE), `${wait} of ${left}`);
        assert.ok(wait >= Math.min(MINUTE, jittered));
      },
    ),
  );
});

test("three failures fit into the first hour, not five (Let's Encrypt: 5 failed checks per hour)", () => {
  let at = START;
  let failure = recordFailure(down, {
    name: "n",
    ca: "c",
    before: undefined,
    bundle: undefined,
    now: at,
    random: () => 0,
  });
  let tries = 1;
  while (failure.nextTry < START + HOUR) {
    at = failure.nextTry;
    failure = recordFailure(down, { name: "n", ca: "c", before: failure, bundle: undefined, now: at, random: () => 0 });
    tries++;
  }
  assert.equal(tries, 3);
});
