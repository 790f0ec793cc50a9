/**
 * After a failed check, is the CA spared until its staging is satisfied? Two real CAs (pebble), one of them the staging.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Issuer } from "../../src/acme/issue.ts";
import { isGatehouseError } from "../../src/core/errors.ts";
import { type Home, makeHome, noSignal } from "../support/acme-home.ts";
import { type FaultProxy, startFaultProxy } from "../support/fault-proxy.ts";
import { type Pebble, startPebble, needsPebble as skip } from "../support/pebble.ts";

describe("with a CA and its staging", { skip, timeout: 300_000 }, () => {
  let home: Home;
  let pebble: Pebble;
  let ca: FaultProxy;
  let staging: FaultProxy;
  before(async () => {
    home = await makeHome();
    pebble = await startPebble(undefined, { httpPort: home.httpPort });
    [ca, staging] = await Promise.all([startFaultProxy(pebble), startFaultProxy(pebble)]);
  });
  after(async () => {
    await Promise.all([ca?.stop(), staging?.stop()]);
    await pebble?.stop();
    await home?.stop();
  });

  const issuer = (): Issuer =>
    home.issuer(ca, {
      staging: { directoryUrl: staging.directoryUrl, roots: staging.caPem },
    });
  const spent = () => [ca.count("newOrder"), staging.count("newOrder")];
  const isChallengeFailed = (error: unknown): boolean => isGatehouseError(error, "GATEHOUSE_ACME_CHALLENGE_FAILED");
  const breakRouter = (): void => home.answerWith(() => Promise.resolve("<html>my router</html>"));

  test("the first try is in earnest, each one after a failure at staging, and the last one in earnest again", async () => {
    const name = "home.example.org";
    breakRouter();
    await assert.rejects(issuer().issue(name, "first", noSignal()), isChallengeFailed);
    assert.deepEqual(spent(), [1, 0]);
    for (const round of [1, 2, 3]) {
      await assert.rejects(issuer().issue(name, "asked", noSignal()), isChallengeFailed);
      assert.deepEqual(spent(), [1, round]);
    }
    await home.reborn();
    const bundle = await issuer().issue(name, "first", noSignal());
    assert.equal(bundle.ca, ca.directoryUrl);
    assert.deepEqual(spent(), [2, 4]);
    await issuer().issue(name, "asked", noSignal());
    assert.deepEqual(spent(), [3, 4], "a success is followed by no rehearsal");
  });

  test("a staging in trouble stands in nobody's way, and neither do failures that it could not judge", async () => {
    const name = "nas.example.org";
    breakRouter();
    await assert.rejects(issuer().issue(name, "first", noSignal()), isChallengeFailed);
    const [before = 0] = spent();
    await home.reborn();
    staging.inject("newOrder", { answer: { status: 503 } });
    await issuer().issue(name, "first", noSignal());
    assert.equal(ca.count("newOrder"), before + 1);
    const rehearsed = staging.count("newOrder");
    ca.inject("newOrder", { answer: { status: 500 } }, 1);
    await assert.rejects(issuer().issue(name, "asked", noSignal()));
    await issuer().issue(name, "asked", noSignal());
    assert.equal(staging.count("newOrder"), rehearsed);
  });
});
