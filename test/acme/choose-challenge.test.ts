/**
 * Which challenge is chosen, what is said about it, and how long is a failure held against one?
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type ChallengeFacts, createChallengeMemories, rankChallenges } from "../../src/acme/challenges/choose.ts";
import type { ChallengeType } from "../../src/acme/challenges/solver.ts";
import { createFileStorage } from "../../src/storage/files.ts";
import { temporaryFolder } from "../support/gatehouse.ts";

const NOW = Date.UTC(2026, 10, 21);
const DAY_MS = 86_400_000;
const ALL: ChallengeType[] = ["http-01", "tls-alpn-01", "dns-01"];

type Case = [
  when: string,
  facts: Partial<Omit<ChallengeFacts, "possible">> & { possible?: ChallengeType[] },
  order: string,
  why: RegExp,
];
const cases: Case[] = [
  ["all is possible", {}, "http-01 tls-alpn-01 dns-01", /port 80 is open/],
  [
    "nothing listens for plain HTTP",
    { possible: ["tls-alpn-01", "dns-01"] },
    "tls-alpn-01 dns-01",
    /port 443 is enough/,
  ],
  ["nothing listens at all", { possible: ["dns-01"] }, "dns-01", /leaves/],
  ["it is a wildcard", { isWildcard: true }, "dns-01", /wildcard/],
  ["it is a wildcard and there is no provider", { isWildcard: true, possible: ["http-01", "tls-alpn-01"] }, "", /^$/],
  ["it is an address", { isAddress: true }, "http-01 tls-alpn-01", /port 80/],
  ["one is wanted", { wanted: "tls-alpn-01" }, "tls-alpn-01", /acme\.challenge is tls-alpn-01/],
  ["the one wanted is not possible", { wanted: "dns-01", possible: ["http-01"] }, "", /^$/],
  [
    "another one worked the last time",
    { memory: { worked: "dns-01", failed: {} } },
    "dns-01 http-01 tls-alpn-01",
    /worked the last time/,
  ],
  [
    "the first failed an hour ago",
    { memory: { worked: undefined, failed: { "http-01": NOW - 3_600_000 } } },
    "tls-alpn-01 dns-01 http-01",
    /http-01 failed before/,
  ],
  [
    "all failed, the one that failed longest ago comes first",
    {
      memory: {
        worked: undefined,
        failed: { "http-01": NOW - 1_000, "tls-alpn-01": NOW - 3_000, "dns-01": NOW - 2_000 },
      },
    },
    "tls-alpn-01 dns-01 http-01",
    /failed before/,
  ],
  [
    "the one that worked has failed since",
    { memory: { worked: "http-01", failed: { "http-01": NOW - 1_000 } } },
    "tls-alpn-01 dns-01 http-01",
    /http-01 failed before/,
  ],
  [
    "the failure is old",
    { memory: { worked: undefined, failed: { "http-01": NOW - 8 * DAY_MS } } },
    "http-01 tls-alpn-01 dns-01",
    /port 80/,
  ],
  [
    "the failure is of a clock that was years ahead",
    { memory: { worked: undefined, failed: { "http-01": NOW + 4_000 * DAY_MS } } },
    "http-01 tls-alpn-01 dns-01",
    /port 80/,
  ],
];

for (const [when, facts, order, why] of cases) {
  test(`when ${when}, the order is ${order === "" ? "empty" : order}`, () => {
    const ranked = rankChallenges({
      wanted: "auto",
      isWildcard: false,
      isAddress: false,
      memory: { worked: undefined, failed: {} },
      now: NOW,
      ...facts,
      possible: new Set(facts.possible ?? ALL),
    });
    assert.equal(ranked.map(({ type }) => type).join(" "), order);
    assert.match(ranked[0]?.why ?? "", why);
  });
}

test("what worked and what failed is kept over a restart, and a success forgives", async (t) => {
  const folder = await temporaryFolder(t);
  const open = async () => createChallengeMemories(await createFileStorage(folder));
  const first = await open();
  assert.deepEqual(await first.read("*.a.test"), { worked: undefined, failed: {} });
  await first.failed("*.a.test", "dns-01", NOW);
  await first.failed("2001:db8::1", "http-01", NOW);
  const second = await open();
  assert.deepEqual(await second.read("*.a.test"), { worked: undefined, failed: { "dns-01": NOW } });
  assert.deepEqual(await second.read("2001:db8::1"), { worked: undefined, failed: { "http-01": NOW } });
  await second.worked("*.a.test", "dns-01");
  assert.deepEqual(await (await open()).read("*.a.test"), { worked: "dns-01", failed: {} });
});

test("a damaged memory is no memory", async (t) => {
  const storage = await createFileStorage(await temporaryFolder(t));
  for (const text of ["", "{", "[]", '{"worked":"ftp-01","failed":{"http-01":"x"}}', '{"failed":7}']) {
    await storage.write("acme/proved/a.test.json", text);
    assert.deepEqual(await createChallengeMemories(storage).read("a.test"), { worked: undefined, failed: {} });
  }
});
