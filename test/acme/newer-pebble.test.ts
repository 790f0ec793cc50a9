/**
 * Renewal information and profiles as a CA itself does them, without a front of ours before it: with a Pebble that has them
 * (GATEHOUSE_PEBBLE names it; Debian's is older).
 */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { createRenewalInfo } from "../../src/acme/schedule/renewal-info.ts";
import { createAcmeInfo } from "../../src/acme/wire/info.ts";
import { systemClock } from "../../src/core/time.ts";
import { makeHome, memoryLog, noSignal } from "../support/acme-home.ts";
import { needsPebble, startPebble } from "../support/pebble.ts";

const DAY = 86_400_000;
const NAME = "home.example.org";
const skip =
  needsPebble ||
  (process.env["GATEHOUSE_PEBBLE"] === undefined && "needs a pebble newer than Debian's (GATEHOUSE_PEBBLE)");

async function open(t: TestContext) {
  const home = await makeHome();
  t.after(() => home.stop());
  const profiles = { classic: 90 * 86_400, shortlived: 6 * 86_400 };
  const pebble = await startPebble(t, { httpPort: home.httpPort, profiles });
  const { directoryUrl, caPem: roots } = pebble;
  const info = createAcmeInfo({ directoryUrl, roots, clock: systemClock });
  const renewalInfo = createRenewalInfo({
    directoryUrl,
    info,
    storage: home.storage,
    clock: systemClock,
    log: memoryLog().log,
  });
  return { home, pebble, renewalInfo };
}

test(
  "the CA's window is kept, one in the past renews by naming what it replaces, and once is enough",
  { skip, timeout: 300_000 },
  async (t) => {
    const { home, pebble, renewalInfo } = await open(t);
    const issuer = home.issuer(pebble, { profile: "classic" });
    const first = await issuer.issue(NAME, "first", noSignal());
    const { advice } = await renewalInfo.ask(first, noSignal());
    const renewAt = advice?.renewAt ?? 0;
    assert.ok(renewAt > first.notBefore && renewAt < first.notAfter, new Date(renewAt).toISOString());

    const [start, end] = [Date.now() - 2 * DAY, Date.now() - DAY].map((ms) => new Date(ms).toISOString());
    await pebble.setRenewalInfo(first.chainPem, { suggestedWindow: { start, end } });
    // A new certificate rests for a hundredth of its life whatever the CA says: let it be old enough.
    const old = { ...first, issuedAt: Date.now() - 30 * DAY };
    await home.bundles.save(old);
    await renewalInfo.ask(old, noSignal());
    const second = await home.issuer(pebble, { profile: "classic" }).issue(NAME, "renewal", noSignal());
    assert.notEqual(second.serial, first.serial);
    assert.match(pebble.log(), /is a replacement of/);

    // The predecessor comes back (a restored backup): the CA has its successor already, and signs without hearing of it.
    await home.bundles.save({ ...old, issuedAt: Date.now() - 30 * DAY });
    const third = await home.issuer(pebble, { profile: "classic" }).issue(NAME, "renewal", noSignal());
    assert.notEqual(third.serial, second.serial);
    assert.ok(home.lines.some(({ event }) => event === "acme.order.unreplaced"));
  },
);

test(
  "profiles are asked for by name, and an address gets the short-lived one by itself",
  { skip, timeout: 300_000 },
  async (t) => {
    const { home, pebble } = await open(t);
    const life = async (name: string, profile: string | undefined): Promise<number> => {
      const { notBefore, notAfter } = await home.issuer(pebble, { profile }).issue(name, "asked", noSignal());
      return Math.round((notAfter - notBefore) / DAY);
    };
    assert.equal(await life(NAME, "classic"), 90);
    assert.equal(await life(NAME, "shortlived"), 6);
    assert.equal(await life("127.0.0.1", undefined), 6);
  },
);
