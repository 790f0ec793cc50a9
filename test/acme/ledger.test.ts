/**
 * Do we know, before the CA says so, that it would refuse? Every limit of Let's Encrypt, a clock of our own.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { explain } from "../../src/acme/explain.ts";
import { type Attempt, createLedger } from "../../src/acme/ledger/ledger.ts";
import { type LimitKind, domainOf, giveBack, nextAt, spend } from "../../src/acme/ledger/limits.ts";
import { AcmeProblem } from "../../src/acme/problem.ts";
import { GatehouseError, isGatehouseError } from "../../src/core/errors.ts";
import { createFileStorage } from "../../src/storage/files.ts";
import { memoryLog } from "../support/acme-home.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const START = Date.UTC(2027, 0, 1);
const LETSENCRYPT = "https://acme-v02.api.letsencrypt.org/directory";

const wanted = (over: Partial<Attempt> = {}): Attempt => ({
  name: "nas.example.org",
  names: [over.name ?? "nas.example.org"],
  account: undefined,
  who: "machine",
  isRenewal: false,
  isAdvised: false,
  ...over,
});

async function makeWorld(t: TestContext, directoryUrl = LETSENCRYPT) {
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-ledger-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const storage = await createFileStorage(folder);
  const { log, lines } = memoryLog();
  const world = { now: START };
  const open = () => createLedger({ directoryUrl, storage, clock: { now: () => world.now }, log });
  /** When may this be asked? 0: at once. */
  const wait = async (ledger = open(), attempt = wanted(), kinds: LimitKind[] = ["set"]): Promise<number> => {
    try {
      await ledger.admit(attempt, kinds);
      return 0;
    } catch (error) {
      assert.ok(isGatehouseError(error, "GATEHOUSE_ACME_RATE_LIMITED"), String(error));
      assert.equal(error.detail["local"], true);
      assert.match(error.message, /Next allowed at 2\d{3}-/);
      return (error.notBefore ?? 0) - world.now;
    }
  };
  return { world, storage, open, wait, lines };
}

/** How many at once for the machine and for a person, and when the next one is allowed to the machine. */
const published: [kind: LimitKind, machine: number, person: number, next: number][] = [
  ["set", 4, 5, (7 * DAY) / 5],
  ["domain", 40, 50, (7 * DAY) / 50],
  ["orders", 240, 300, 36_000],
  ["failures", 4, 5, 12 * MINUTE],
  ["accounts", 8, 10, 18 * MINUTE],
];
for (const [kind, machine, person, next] of published) {
  test(`of Let's Encrypt's ${person} ${kind} the machine takes ${machine} and leaves the rest to people`, async (t) => {
    const { world, open, wait } = await makeWorld(t);
    const ledger = open();
    let spent = 0;
    while ((await wait(ledger, wanted(), [kind])) === 0) {
      await ledger.spend(wanted(), [kind]);
      spent++;
    }
    assert.equal(spent, machine);
    assert.equal(Math.round(await wait(ledger, wanted(), [kind])), next);
    for (; (await wait(ledger, wanted({ who: "person" }), [kind])) === 0; spent++) await ledger.spend(wanted(), [kind]);
    assert.equal(spent, person);
    assert.equal(await wait(ledger, wanted({ who: "insists" }), [kind]), 0);
    world.now += (person - machine + 1) * next;
    assert.equal(await wait(ledger, wanted(), [kind]), 0);
  });
}

test("what was spent is known after a restart, and to a second process on the same folder", async (t) => {
  const { open, wait } = await makeWorld(t);
  await Promise.all([open(), open(), open(), open()].map((each) => each.spend(wanted(), ["set"])));
  assert.ok((await wait(open())) > 0);
});

test("one set of names, one domain, one account do not hold another back", async (t) => {
  const { open, wait } = await makeWorld(t);
  const ledger = open();
  const kinds: LimitKind[] = ["set", "failures"];
  for (let i = 0; i < 5; i++) await ledger.spend(wanted(), kinds);
  assert.ok((await wait(ledger, wanted(), kinds)) > 0);
  assert.equal(await wait(ledger, wanted({ name: "cam.example.org" }), kinds), 0);
  assert.ok((await wait(ledger, wanted({ account: "me@example.org" }), ["set"])) > 0, "a set counts over accounts");
  assert.equal(await wait(ledger, wanted({ account: "me@example.org" }), ["failures"]), 0);
  const both = wanted({ names: ["b.example.org", "a.example.org"] });
  for (let i = 0; i < 4; i++) await ledger.spend(both, ["set"]);
  assert.ok((await wait(ledger, wanted({ names: ["a.example.org", "b.example.org"] }))) > 0, "order has no meaning");
});

const domains: [name: string, domain: string][] = [
  ["nas.example.org", "example.org"],
  ["*.lab.example.org", "example.org"],
  ["example.org", "example.org"],
  ["a.b.example.co.uk", "example.co.uk"],
  ["ha.myhome.duckdns.org", "myhome.duckdns.org"],
  ["myhome.duckdns.org", "myhome.duckdns.org"],
  ["203.0.113.7", "203.0.113.7"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
  ["2001:db8::1", "2001:db8:0:0::/64"],
  ["2001:db8:1:2::9", "2001:db8:1:2::/64"],
];
for (const [name, domain] of domains) {
  test(`certificates for ${name} count for ${domain}`, () => assert.equal(domainOf(name), domain));
}

const said = (type: string, status: number, detail: string, retryAfterMs?: number): unknown =>
  explain(new AcmeProblem({ type, status, detail, subproblems: [], retryAfterMs }), "ordering a certificate", START);

const inText = "2027-01-03 04:05:06 UTC: see https://letsencrypt.org/docs/rate-limits/";
const at = Date.UTC(2027, 0, 3, 4, 5, 6) - START;
const otherName = wanted({ name: "cam.example.org" });
const elsewhere = wanted({ name: "nas.example.net" });
const refusals: [what: string, error: unknown, held: number, free: Attempt | undefined, kinds: LimitKind[]][] = [
  [
    "the text",
    said(
      "rateLimited",
      429,
      `too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, retry after ${inText}`,
    ),
    at,
    otherName,
    ["set"],
  ],
  [
    "the text about a domain",
    said(
      "rateLimited",
      429,
      `too many certificates (50) already issued for "example.org" in the last 168h0m0s, retry after ${inText}`,
    ),
    at,
    elsewhere,
    ["domain"],
  ],
  [
    "the later of text and Retry-After",
    said(
      "rateLimited",
      429,
      `too many failed authorizations (5) for "nas.example.org" in the last 1h0m0s, retry after ${inText}`,
      HOUR,
    ),
    at,
    otherName,
    ["failures"],
  ],
  [
    "Retry-After about an account",
    said("rateLimited", 429, "too many new orders (300) from this account in the last 3h0m0s", 3 * HOUR),
    3 * HOUR,
    undefined,
    ["orders"],
  ],
  ["a busy CA", said("rateLimited", 503, "Service busy; retry later.", 10 * MINUTE), 10 * MINUTE, undefined, []],
  ["a CA in trouble", said("serverInternal", 500, "sorry", 5 * MINUTE), 5 * MINUTE, undefined, []],
  [
    "a month, which is held to a week",
    said("rateLimited", 429, "too many new orders, retry after 2027-06-01 00:00:00 UTC"),
    7 * DAY,
    undefined,
    ["orders"],
  ],
];
for (const [what, error, held, free, kinds] of refusals) {
  test(`what a CA said is kept to over restarts: ${what}`, async (t) => {
    const { world, open, wait } = await makeWorld(t);
    await open().heed(wanted(), error);
    assert.equal(await wait(open(), wanted({ who: "person" }), kinds), held);
    if (free !== undefined) assert.equal(await wait(open(), free, kinds), 0);
    else assert.equal(await wait(open(), elsewhere, kinds), held);
    world.now += held;
    assert.equal(await wait(open(), wanted(), kinds), 0);
  });
}

test("a clock that was years ahead, or a damaged file, holds nothing back for long", async (t) => {
  const { world, storage, open, wait, lines } = await makeWorld(t);
  world.now = START + 4_000 * DAY;
  for (let i = 0; i < 10; i++) await open().spend(wanted(), ["set"]);
  await open().heed(
    wanted(),
    new GatehouseError("GATEHOUSE_ACME_UNAVAILABLE", { message: "x", notBefore: world.now + HOUR }),
  );
  world.now = START;
  assert.ok((await wait()) <= 7 * DAY + 2 * DAY);
  const [place = ""] = await storage.list("acme");
  for (const text of ["", "{", "[]", '{"buckets":7,"holds":{"ca":3}}', '{"buckets":{"set -":"x"}}']) {
    await storage.write(place, text);
    assert.equal(await wait(), 0);
  }
  assert.deepEqual(lines, []);
});

test("the ledger stays small: what is full again is forgotten", async (t) => {
  const { world, storage, open } = await makeWorld(t);
  for (let i = 0; i < 60; i++) {
    await open().spend(wanted({ name: `n${i}.example.org` }), ["failures", "set"]);
    world.now += 2 * HOUR;
  }
  const [place = ""] = await storage.list("acme");
  const book = JSON.parse((await storage.read(place))?.toString() ?? "") as { buckets: object };
  const keys = Object.keys(book.buckets);
  assert.equal(keys.filter((key) => key.startsWith("failures")).length, 1);
  assert.equal(keys.filter((key) => key.startsWith("set")).length, 17);
});

test("never more than the burst and what came back since, whatever is asked and given back when", () => {
  const limit = { burst: 5, periodMs: HOUR };
  fc.assert(
    fc.property(
      fc.array(fc.record({ pause: fc.integer({ min: 0, max: HOUR }), isBack: fc.boolean() }), { maxLength: 60 }),
      (steps) => {
        let [now, fullAt] = [START, undefined as number | undefined];
        const taken: number[] = [];
        for (const { pause, isBack } of steps) {
          now += pause;
          if (nextAt(fullAt, limit, now, 1) > now) continue;
          fullAt = spend(fullAt, limit, now);
          if (isBack) fullAt = giveBack(fullAt, limit);
          else taken.push(now);
        }
        for (const [from, start] of taken.entries()) {
          for (let to = from; to < taken.length; to++) {
            const most = limit.burst + ((taken[to] ?? 0) - start) / (limit.periodMs / limit.burst);
            assert.ok(to - from + 1 <= most + 1e-6);
          }
        }
      },
    ),
  );
});
