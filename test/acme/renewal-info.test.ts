/**
 * Is a certificate renewed when its CA says so (RFC 9773), and at a sensible time when what it says makes no sense?
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { certificateId } from "../../src/acme/certificate-id.ts";
import { renewAt } from "../../src/acme/schedule/due.ts";
import { createRenewalInfo } from "../../src/acme/schedule/renewal-info.ts";
import { createAcmeInfo } from "../../src/acme/wire/info.ts";
import { GatehouseError, isGatehouseError } from "../../src/core/errors.ts";
import { systemClock } from "../../src/core/time.ts";
import type { CertificateBundle } from "../../src/storage/bundles.ts";
import { type Home, makeHome, memoryLog, noSignal } from "../support/acme-home.ts";
import { makeCa } from "../support/certificates.ts";
import { type FaultProxy, startFaultProxy } from "../support/fault-proxy.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { type Pebble, startPebble, needsPebble as skip } from "../support/pebble.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const URL = "https://ca.example/directory";

/** RFC 9773 appendix A.1. */
const EXAMPLE = `-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----`;

test("a certificate is named as RFC 9773 §4.1 does it", () => {
  assert.equal(certificateId(EXAMPLE), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
  assert.equal(certificateId("nonsense"), undefined);
});

const life = { notBefore: 0, notAfter: 90 * DAY, issuedAt: 0, serial: "00000000" };
const advised: [what: string, at: number, renew: number][] = [
  ["inside the life", 40 * DAY, 40 * DAY],
  ["in the past", -DAY, 0.9 * DAY],
  ["far in the future", 900 * DAY, 85.5 * DAY],
];
for (const [what, at, renew] of advised) {
  test(`an instant ${what} is renewed at ${renew / DAY} days of 90`, () => {
    assert.equal(renewAt(life, undefined, at), renew);
  });
}

/** A CA that is a function. */
async function makeWorld() {
  const ca = await makeCa();
  const bundle: CertificateBundle = { ...(await ca.issueBundle({ names: ["a.example.org"] })), ca: URL };
  const storage = memoryStorage();
  const { log, lines } = memoryLog();
  const world = {
    now: Date.now(),
    bundle,
    lines,
    asked: 0,
    read: 0,
    random: 0.5,
    url: `${URL}/info` as string | undefined,
    answer: (): {
      window: { start: number; end: number; explanationUrl: undefined } | undefined;
      retryAfterMs: number | undefined;
    } => ({
      window: { start: bundle.notBefore + 50 * DAY, end: bundle.notBefore + 52 * DAY, explanationUrl: undefined },
      retryAfterMs: 6 * HOUR,
    }),
    open: () =>
      createRenewalInfo({
        directoryUrl: URL,
        storage,
        clock: { now: () => world.now },
        log,
        random: () => world.random,
        info: {
          directory: async () => {
            world.read++;
            return { renewalInfoUrl: world.url, skewMs: 0 };
          },
          renewalInfo: async () => {
            world.asked++;
            return world.answer();
          },
        },
      }),
  };
  return world;
}

test("one instant is chosen in the window and stays, over restarts, until the window moves", async () => {
  const world = await makeWorld();
  const { bundle } = world;
  const middle = bundle.notBefore + 51 * DAY;
  assert.equal((await world.open().ask(bundle, noSignal())).advice?.renewAt, middle);
  for (const random of [0, 0.1, 0.9]) {
    world.random = random;
    assert.equal((await world.open().ask(bundle, noSignal())).advice?.renewAt, middle);
    assert.equal((await world.open().known(bundle))?.renewAt, middle);
  }
  world.answer = () => ({
    window: { start: world.now - 2 * DAY, end: world.now - DAY, explanationUrl: undefined },
    retryAfterMs: 1,
  });
  const moved = await world.open().ask(bundle, noSignal());
  assert.ok((moved.advice?.renewAt ?? world.now) < world.now);
  assert.ok(moved.advice?.isOpen(world.now));
  assert.ok(world.lines.some(({ event, level }) => event === "acme.renewal_info.window" && level === 40));
  assert.equal(await world.open().known({ ...bundle, serial: "01" }), undefined, "it is of another certificate");
});

const pauses: [what: string, retryAfterMs: number | undefined, wait: number][] = [
  ["what the CA says", 5 * HOUR, 5 * HOUR],
  ["six hours when it says nothing", undefined, 6 * HOUR],
  ["a minute when it says less", 0, MINUTE],
  ["a day when it says more", 30 * DAY, DAY],
];
for (const [what, retryAfterMs, wait] of pauses) {
  test(`the CA is asked again after ${what}`, async () => {
    const world = await makeWorld();
    world.answer = () => ({ window: undefined, retryAfterMs });
    const { advice, askAgainAt } = await world.open().ask(world.bundle, noSignal());
    assert.equal(advice, undefined);
    assert.equal(askAgainAt - world.now, wait);
  });
}

test("a CA without renewal information is asked for it once a day, all names together", async () => {
  const world = await makeWorld();
  world.url = undefined;
  const info = world.open();
  for (let i = 0; i < 5; i++) assert.equal((await info.ask(world.bundle, noSignal())).askAgainAt, world.now + DAY);
  assert.deepEqual([world.read, world.asked], [1, 0]);
  assert.equal(await info.replaces(world.bundle, noSignal()), undefined);
  world.now += DAY + 1;
  world.url = URL;
  assert.ok((await info.ask(world.bundle, noSignal())).advice);
});

test("a CA that does not answer is left alone for longer each time, at most six hours, and what was known counts on", async () => {
  const world = await makeWorld();
  const info = world.open();
  const known = (await info.ask(world.bundle, noSignal())).advice?.renewAt;
  const good = world.answer;
  world.answer = () => {
    throw new GatehouseError("GATEHOUSE_ACME_UNAVAILABLE", { message: "down" });
  };
  world.random = 0;
  const waits: number[] = [];
  for (let i = 0; i < 8; i++) {
    const asked = world.asked;
    const { advice, askAgainAt } = await info.ask(world.bundle, noSignal());
    assert.equal(advice?.renewAt, known);
    assert.equal(world.asked, asked + 1);
    await info.ask(world.bundle, noSignal());
    assert.equal(world.asked, asked + 1, "another name asked in the pause");
    waits.push((askAgainAt - world.now) / MINUTE);
    world.now = askAgainAt;
  }
  assert.deepEqual(waits, [10, 20, 40, 80, 160, 320, 360, 360]);
  world.answer = good;
  assert.equal((await info.ask(world.bundle, noSignal())).askAgainAt, world.now + 6 * HOUR);
});

describe("with pebble behind a front that adds renewal information", { skip, timeout: 300_000 }, () => {
  let home: Home;
  let pebble: Pebble;
  let front: FaultProxy;
  before(async () => {
    home = await makeHome();
    pebble = await startPebble(undefined, { httpPort: home.httpPort });
    front = await startFaultProxy(pebble);
    front.inject("directory", {
      rewrite: (body) =>
        JSON.stringify({ ...JSON.parse(body), renewalInfo: front.directoryUrl.replace("/dir", "/renewal-info") }),
    });
  });
  after(async () => {
    await front?.stop();
    await pebble?.stop();
    await home?.stop();
  });

  const say = (body: unknown, headers: Record<string, string> = {}): void =>
    front.inject("renewalInfo", {
      answer: { status: 200, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) },
    });
  const open = () => {
    const { directoryUrl, caPem: roots } = front;
    const info = createAcmeInfo({ directoryUrl, roots, clock: systemClock });
    return createRenewalInfo({ directoryUrl, info, storage: home.storage, clock: systemClock, log: memoryLog().log });
  };

  test("a window in the past renews at once, naming what it replaces; a CA that knows the successor hears of it no more", async () => {
    const name = "ari.example.org";
    const first = await home.issuer(front).issue(name, "first", noSignal());
    assert.equal((await home.issuer(front).issue(name, "renewal", noSignal())).serial, first.serial, "not due yet");
    const [start, end] = [Date.now() - 2 * DAY, Date.now() - DAY].map((ms) => new Date(ms).toISOString());
    say({ suggestedWindow: { start, end }, explanationURL: "https://ca.example/why" }, { "retry-after": "7200" });
    const { advice, askAgainAt } = await open().ask(first, noSignal());
    assert.equal(advice?.explanationUrl, "https://ca.example/why");
    assert.ok(Math.abs(askAgainAt - Date.now() - 2 * HOUR) < MINUTE);
    // A new certificate rests for a hundredth of its life whatever the CA says: let it be old enough.
    const old = { ...first, issuedAt: Date.now() - 200 * DAY };
    await home.bundles.save(old);
    const refusal = { type: "urn:ietf:params:acme:error:alreadyReplaced", detail: "it has a successor" };
    front.inject(
      "newOrder",
      {
        answer: { status: 409, headers: { "content-type": "application/problem+json" }, body: JSON.stringify(refusal) },
      },
      1,
    );
    const before = front.count("newOrder");
    const renewed = await home.issuer(front).issue(name, "renewal", noSignal());
    assert.notEqual(renewed.serial, first.serial);
    assert.equal(front.count("newOrder") - before, 2);
    assert.equal(await open().replaces(old, noSignal()), undefined);
    assert.match((await open().replaces(renewed, noSignal())) ?? "", /^[\w-]+\.[\w-]+$/);
  });

  test("a CA that knows the predecessor as another account's signs without hearing of it, and the account stays", async () => {
    const name = "other-account.example.org";
    const first = await home.issuer(front).issue(name, "first", noSignal());
    const [start, end] = [Date.now() - 2 * DAY, Date.now() - DAY].map((ms) => new Date(ms).toISOString());
    say({ suggestedWindow: { start, end } });
    await open().ask(first, noSignal());
    await home.bundles.save({ ...first, issuedAt: Date.now() - 200 * DAY });
    const refusal = { type: "urn:ietf:params:acme:error:unauthorized", detail: "requester account did not request it" };
    front.inject(
      "newOrder",
      {
        answer: { status: 403, headers: { "content-type": "application/problem+json" }, body: JSON.stringify(refusal) },
      },
      1,
    );
    const before = { orders: front.count("newOrder"), accounts: front.count("newAccount") };
    const renewed = await home.issuer(front).issue(name, "renewal", noSignal());
    assert.notEqual(renewed.serial, first.serial);
    assert.equal(front.count("newOrder") - before.orders, 2);
    assert.equal(front.count("newAccount"), before.accounts, "an account was made anew");
  });

  const nonsense: [what: string, answer: unknown][] = [
    ["ends before it starts", { suggestedWindow: { start: "2027-02-01T00:00:00Z", end: "2027-01-01T00:00:00Z" } }],
    ["is no window", { suggestedWindow: "soon" }],
    ["has no dates", { suggestedWindow: { start: "soon", end: "later" } }],
    ["is empty", {}],
    ["is centuries away", { suggestedWindow: { start: "2027-02-01T00:00:00Z", end: "9999-01-01T00:00:00Z" } }],
  ];
  for (const [what, answer] of nonsense) {
    test(`a window that ${what} counts as no answer`, async () => {
      const bundle = await home.issuer(front).issue("nonsense.example.org", "first", noSignal());
      say(answer);
      assert.equal((await open().ask(bundle, noSignal())).advice, undefined);
    });
  }

  test("nothing is ordered while our clock and the CA's are more than an hour apart, and it is said which way", async () => {
    for (const [days, says] of [
      [2, /2d ahead of/],
      [-2, /2d behind/],
      [-365, /365d behind/],
    ] as const) {
      const before = front.count("newOrder");
      const clock = { now: () => Date.now() + days * DAY };
      await assert.rejects(
        home.issuer(front, { clock }).issue(`clock${days}.example.org`, "first", noSignal()),
        (error) => {
          assert.ok(isGatehouseError(error, "GATEHOUSE_ACME_UNAVAILABLE"));
          assert.match(error.message, says);
          return true;
        },
      );
      assert.equal(front.count("newOrder"), before);
    }
  });
});
