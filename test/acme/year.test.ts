/**
 * A year in the life of 150 names (500 with GATEHOUSE_YEAR_NAMES=500), at a CA that is often ill, in seconds: no published
 * limit is ever passed, and no certificate ends while the CA could be had for a quarter of the time that there was for its
 * renewal. The year runs in a process of its own, because node:test watches every promise, and there are millions.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { renewAt } from "../../src/acme/schedule/due.ts";
import type { CertificateBundle } from "../../src/storage/bundles.ts";
import { type Trouble, simulateCa } from "../support/simulated-ca.ts";
import { simulateHome } from "../support/simulated-home.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const START = Date.UTC(2027, 0, 1);
const CA = "https://acme-v02.api.letsencrypt.org/directory";
const STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory";

/** Mulberry32: the same year each time. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** From day to day: the CA is down. */
const OUTAGES = [
  [3, 5],
  [70, 84],
  [130, 133],
  [180, 192],
  [250, 251],
  [300, 313],
] as const;
/** On this day the CA wants everything back that it signed before. */
const REVOCATION_DAY = 220;

const isIn = (spans: readonly (readonly [number, number])[], at: number): boolean =>
  spans.some(([from, to]) => at >= START + from * DAY && at < START + to * DAY);

const wantedNames = Number(process.env["GATEHOUSE_YEAR_NAMES"] ?? 150);
const isTheYear = process.env["GATEHOUSE_TEST_CHILD"] === "year";

interface Year {
  violations: string[];
  /** Certificates that ended although they could have been renewed. */
  ended: string[];
  /** Names that never had one, and could have. */
  never: string[];
  /** What the CA wanted back and was not replaced in two days. */
  late: string[];
  names: number;
  orders: number;
  certificates: number;
  replacements: number;
  rehearsals: number;
  cpuSeconds: number;
}

async function live(): Promise<Year> {
  const random = seeded(20_270_101);
  const names = [
    ...Array.from({ length: Math.round(wantedNames * 0.4) }, (_, i) => `n${i}.crowded.org`),
    ...Array.from({ length: Math.round(wantedNames * 0.6) - 14 }, (_, i) => `n${i}.home${i % 30}.duckdns.org`),
    ...Array.from({ length: 10 }, (_, i) => `*.w${i}.example.net`),
    ...Array.from({ length: 4 }, (_, i) => `short${i}.example.com`),
  ];
  const broken = new Map(
    names
      .filter((_, i) => i % 19 === 0)
      .map((name, i) => {
        const from = Math.floor(random() * 320);
        return [name.replace(/^\*\./, ""), [[from, i % 7 === 0 ? 400 : from + 5 + Math.floor(random() * 20)]] as const];
      }),
  );
  const isReachable = (name: string): boolean => !isIn(broken.get(name) ?? [], home.clock.now());
  const isUp = (at: number): boolean => !isIn(OUTAGES, at);
  const bad: readonly Trouble[] = [
    { road: "cut" },
    { road: "lost" },
    { road: "timeout" },
    { status: 500, type: "serverInternal", detail: "sorry" },
    { status: 503, type: "unknown", detail: "busy", retryAfterMs: 10 * 60_000 },
    { status: 429, type: "rateLimited", detail: "Service busy; retry later.", retryAfterMs: HOUR },
    { status: 400, type: "badNonce", detail: "stale" },
  ];
  const trouble = (): Trouble | undefined => {
    if (!isUp(home.clock.now())) return { road: "refused" };
    return random() < 0.02 ? bad[Math.floor(random() * bad.length)] : undefined;
  };
  const lifeMs = (name: string): number =>
    name.startsWith("short") ? 160 * HOUR : name.endsWith("0.duckdns.org") ? 45 * DAY : 90 * DAY;
  const clock = { now: () => home.clock.now() };
  const ca = simulateCa({
    directoryUrl: CA,
    clock,
    lifeMs,
    trouble,
    isReachable,
    retryAfterMs: DAY,
    window({ notBefore, notAfter }) {
      const revokedAt = START + REVOCATION_DAY * DAY;
      const life = notAfter - notBefore;
      const middle =
        home.clock.now() >= revokedAt && notBefore < revokedAt
          ? revokedAt - DAY
          : notBefore + life * (life < 10 * DAY ? 1 / 2 : 2 / 3);
      return { start: middle - life / 100, end: middle + life / 100, explanationUrl: undefined };
    },
  });
  const staging = simulateCa({ directoryUrl: STAGING, clock, lifeMs, trouble, isReachable });
  const home = simulateHome({
    startAt: START,
    random,
    cas: [{ directoryUrl: CA, ca }],
    staging: { directoryUrl: STAGING, ca: staging },
  });
  home.start(names);

  // Restarted each month, and once in a loop.
  for (let month = 0; month < 12; month++) {
    await home.live((365 / 12) * DAY);
    for (let loop = month === 6 ? 20 : 1; loop > 0; loop--) {
      await home.stop();
      home.start(names);
    }
  }
  await home.live(1_000);

  const end = home.clock.now();
  const ended: string[] = [];
  const byName = new Map<string, CertificateBundle[]>();
  for (const bundle of home.announced) byName.set(bundle.name, [...(byName.get(bundle.name) ?? []), bundle]);
  for (const [name, all] of byName) {
    for (const [at, bundle] of all.entries()) {
      const next = all[at + 1];
      const until = next?.issuedAt ?? end;
      if (until <= bundle.notAfter) continue;
      const from = renewAt(bundle);
      const looks = Array.from({ length: 200 }, (_, i) => from + ((bundle.notAfter - from) * i) / 200);
      const could = looks.filter((look) => isUp(look) && !isIn(broken.get(name.replace(/^\*\./, "")) ?? [], look));
      if (could.length >= 50)
        ended.push(`${name} ended ${new Date(bundle.notAfter).toISOString()}, ${could.length / 2} %`);
    }
  }
  const never = names.filter((name) => !byName.has(name) && !broken.has(name.replace(/^\*\./, "")));
  // What the CA wanted back was replaced within two days, for whoever could be reached, and cost no limit.
  const revokedAt = START + REVOCATION_DAY * DAY;
  const late = [...byName].filter(([name, all]) => {
    const held = all.findLast(({ issuedAt }) => issuedAt < revokedAt);
    const next = all.find(({ issuedAt }) => issuedAt >= revokedAt);
    return (
      held !== undefined &&
      held.notAfter > revokedAt + 2 * DAY &&
      !broken.has(name.replace(/^\*\./, "")) &&
      (next?.issuedAt ?? end) > revokedAt + 2 * DAY
    );
  });
  const { user, system } = process.cpuUsage();
  await home.stop();
  return {
    violations: [...ca.violations, ...staging.violations],
    ended,
    never,
    late: late.map(([name]) => name),
    names: names.length,
    orders: ca.orders,
    certificates: ca.certificates,
    replacements: ca.replacements,
    rehearsals: staging.orders,
    cpuSeconds: Math.round((user + system) / 1e6),
  };
}

async function lived(): Promise<Year> {
  const child = spawn(process.execPath, [import.meta.filename], {
    // Nor may it think that it is a test itself.
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, GATEHOUSE_TEST_CHILD: "year" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
  const code = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  assert.equal(code, 0, said);
  return JSON.parse(said) as Year;
}

if (isTheYear) process.stdout.write(JSON.stringify(await live()));
else {
  test(
    `a year of ${wantedNames} names under faults passes no limit and lets no name end that could be renewed`,
    { timeout: 600_000 },
    async (t) => {
      const year = await lived();
      assert.deepEqual(year.violations, []);
      assert.deepEqual(year.ended, []);
      assert.deepEqual(year.never, []);
      assert.deepEqual(year.late, []);
      assert.ok(year.replacements > year.names);
      const { orders, certificates, replacements, rehearsals, cpuSeconds } = year;
      t.diagnostic(
        `${orders} orders, ${certificates} certificates, ${replacements} free renewals, ${rehearsals} rehearsals in ${cpuSeconds} s of CPU`,
      );
    },
  );
}
