/**
 * What must happen within what time when a CA is ill for hours or weeks? The rows of the list of faults that only time
 * shows, each a home of one name in a clock of its own. Faults on the wire are in faults.test.ts, before a real CA.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type SimulatedCa, type Trouble, simulateCa } from "../support/simulated-ca.ts";
import { type SimulatedHome, simulateHome } from "../support/simulated-home.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const START = Date.UTC(2027, 0, 1);
const NAME = "home.example.org";
const [CA, STAGING, SECOND] = [
  "https://acme-v02.api.letsencrypt.org/directory",
  "https://acme-staging-v02.api.letsencrypt.org/directory",
  "https://second.example/directory",
];

interface Row {
  what: string;
  /** At the first CA; `at` is ms since the start. */
  trouble?: (question: string, at: number, asked: number) => Trouble | undefined;
  isReachable?: (at: number) => boolean;
  windowMovesAt?: number;
  skewMs?: (at: number) => number;
  hasSecond?: boolean;
  /** How long it is watched; a certificate lives for 90 days. */
  for: number;
  /** When a certificate came, in ms since the start: each must lie between the two. */
  issued: [from: number, to: number][];
  orders: number;
  /** At the staging of the first CA, at most. */
  rehearsals?: number;
  by?: string;
}

const down: Trouble = { road: "refused" };
const between = (from: number, to: number) => (_: string, at: number) => (at >= from && at < to ? down : undefined);

const rows: Row[] = [
  {
    what: "nothing is wrong",
    for: 70 * DAY,
    issued: [
      [0, MINUTE],
      [58 * DAY, 62 * DAY],
    ],
    orders: 2,
  },
  {
    what: "the CA is down for the first three days",
    trouble: between(0, 3 * DAY),
    for: 10 * DAY,
    issued: [[3 * DAY, 4.5 * DAY]],
    orders: 1,
  },
  {
    what: "the CA wants three days of peace",
    trouble: (question, at) =>
      question === "newOrder" && at < HOUR
        ? { status: 429, type: "rateLimited", detail: "too many new orders", retryAfterMs: 3 * DAY }
        : undefined,
    for: 10 * DAY,
    issued: [[3 * DAY, 3 * DAY + 5 * MINUTE]],
    orders: 1,
  },
  {
    what: "the CA says in its text when it will hear of these names again",
    trouble: (question, at) =>
      question === "newOrder" && at < HOUR
        ? {
            status: 429,
            type: "rateLimited",
            detail:
              "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, retry after 2027-01-02 12:00:00 UTC",
          }
        : undefined,
    for: 10 * DAY,
    issued: [[1.5 * DAY, 1.5 * DAY + 5 * MINUTE]],
    orders: 1,
  },
  {
    what: "the answer to finalize is lost, and the order cannot be looked at for an hour",
    trouble: (question, at, asked) =>
      question === "finalize" && asked === 1
        ? { road: "lost" }
        : question === "getOrder" && at < HOUR
          ? down
          : undefined,
    for: 10 * DAY,
    issued: [[HOUR, 2.5 * HOUR]],
    orders: 1,
  },
  {
    what: "the CA is down for the first ten days of the time for renewal",
    trouble: between(55 * DAY, 70 * DAY),
    for: 80 * DAY,
    issued: [
      [0, MINUTE],
      [70 * DAY, 71.5 * DAY],
    ],
    orders: 2,
  },
  {
    what: "the CA is gone when the certificate ends",
    trouble: between(55 * DAY, 110 * DAY),
    for: 120 * DAY,
    issued: [
      [0, MINUTE],
      [110 * DAY, 111.5 * DAY],
    ],
    orders: 2,
  },
  {
    what: "the router is wrong for five days: the CA's staging is asked instead",
    isReachable: (at) => at >= 5 * DAY,
    for: 10 * DAY,
    issued: [[5 * DAY, 6.5 * DAY]],
    orders: 2,
    rehearsals: 12,
  },
  {
    what: "the CA takes the certificate back after ten days",
    windowMovesAt: 10 * DAY,
    for: 12 * DAY,
    issued: [
      [0, MINUTE],
      [10 * DAY, 10 * DAY + 7 * HOUR],
    ],
    orders: 2,
  },
  {
    what: "the clock is two days ahead until noon",
    skewMs: (at) => (at < DAY / 2 ? -2 * DAY : 0),
    for: 3 * DAY,
    issued: [[DAY / 2, 2 * DAY]],
    orders: 1,
  },
  {
    what: "the clock is two years behind until noon",
    skewMs: (at) => (at < DAY / 2 ? 730 * DAY : 0),
    for: 3 * DAY,
    issued: [[DAY / 2, 2 * DAY]],
    orders: 1,
  },
  {
    what: "a challenge is solved and the CA cannot be asked about it for an hour",
    trouble: (question, at) => (question === "pollAuthorization" && at < HOUR ? down : undefined),
    for: 10 * DAY,
    // The next try looks at the authorization anew, and has no need to ask for the challenge again.
    issued: [[MINUTE, 5 * MINUTE]],
    orders: 1,
  },
  {
    what: "the CA is ill in every way in turn, and well each second hour",
    trouble(_, at, asked) {
      const ills: Trouble[] = [
        { road: "cut" },
        { road: "timeout" },
        { status: 500, type: "serverInternal", detail: "sorry" },
        { status: 503, type: "unknown", detail: "busy", retryAfterMs: 10 * MINUTE },
        { status: 400, type: "badNonce", detail: "stale" },
      ];
      return Math.floor(at / HOUR) % 2 === 0 ? ills[asked % ills.length] : undefined;
    },
    for: 10 * DAY,
    issued: [[HOUR, 1.5 * DAY]],
    orders: 1,
  },
  {
    what: "the first CA never answers and there is a second",
    trouble: () => down,
    hasSecond: true,
    for: 70 * DAY,
    issued: [
      [0, 20 * MINUTE],
      [58 * DAY, 62 * DAY],
    ],
    orders: 0,
    by: SECOND,
  },
  {
    what: "the first CA signs nothing usable",
    trouble: (question) =>
      question === "certificate" ? { status: 500, type: "serverInternal", detail: "sorry" } : undefined,
    hasSecond: true,
    for: 5 * DAY,
    issued: [[0, HOUR]],
    orders: 1,
    by: SECOND,
  },
];

for (const row of rows) {
  test(`when ${row.what}, ${row.issued.length === 1 ? "a certificate comes" : "certificates come"} in time and ${row.orders} orders are spent`, async (t) => {
    const counts = new Map<string, number>();
    const at = (): number => home.clock.now() - START;
    const clock = { now: () => home.clock.now() };
    const facts = { clock, lifeMs: () => 90 * DAY, isReachable: () => row.isReachable?.(at()) ?? true };
    const ca: SimulatedCa = simulateCa({
      ...facts,
      directoryUrl: CA,
      skewMs: () => row.skewMs?.(at()) ?? 0,
      trouble(question) {
        counts.set(question, (counts.get(question) ?? 0) + 1);
        return row.trouble?.(question, at(), counts.get(question) ?? 0);
      },
      window({ notBefore, notAfter }) {
        const moved = row.windowMovesAt;
        const isBack = moved !== undefined && at() >= moved && notBefore < START + moved - DAY;
        const middle = isBack ? START + moved - DAY : notBefore + ((notAfter - notBefore) * 2) / 3;
        return { start: middle - HOUR, end: middle + HOUR, explanationUrl: undefined };
      },
    });
    const staging = simulateCa({ ...facts, directoryUrl: STAGING });
    const second = simulateCa({ ...facts, directoryUrl: SECOND });
    const cas = [{ directoryUrl: CA, ca }, ...(row.hasSecond === true ? [{ directoryUrl: SECOND, ca: second }] : [])];
    const home: SimulatedHome = simulateHome({
      startAt: START,
      random: () => 0.5,
      cas,
      staging: { directoryUrl: STAGING, ca: staging },
    });
    home.start([NAME]);
    t.after(() => home.stop());
    await home.live(row.for);
    const came = home.announced.map(({ issuedAt }) => issuedAt - START);
    const story = home.lines
      .filter(({ event }) => event?.startsWith("certificate") === true)
      .map((line) => JSON.stringify(line))
      .join("\n");
    assert.equal(came.length, row.issued.length, `${came.map((ms) => ms / HOUR).join(", ")} h\n${story}`);
    for (const [index, [from, to]] of row.issued.entries()) {
      const ms = came[index] ?? 0;
      assert.ok(ms >= from && ms <= to, `certificate ${index + 1} came after ${ms / HOUR} h\n${story}`);
    }
    assert.equal(ca.orders, row.orders);
    assert.ok(staging.orders <= (row.rehearsals ?? 0), `${staging.orders} rehearsals`);
    assert.deepEqual([ca.violations, second.violations], [[], []]);
    assert.equal(home.announced.at(-1)?.ca, row.by ?? CA);
  });
}
