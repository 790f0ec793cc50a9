/**
 * When does another CA stand in, and when does the first one have its turn again? Two real CAs (pebble), one of them ill.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createFallbackIssuer } from "../../src/acme/schedule/fallback.ts";
import { createHistories } from "../../src/acme/schedule/history.ts";
import type { Issuer } from "../../src/acme/issue.ts";
import { GatehouseError, isGatehouseError } from "../../src/core/errors.ts";
import { systemClock } from "../../src/core/time.ts";
import { type Home, makeHome, memoryLog, noSignal } from "../support/acme-home.ts";
import { type FaultProxy, startFaultProxy } from "../support/fault-proxy.ts";
import { type Pebble, startPebble, needsPebble as skip } from "../support/pebble.ts";

describe("with two CAs", { skip, timeout: 300_000 }, () => {
  let home: Home;
  let good: Pebble;
  let proxy: FaultProxy;
  let behind: Pebble;
  let counter = 0;
  const newName = (): string => `name${++counter}.example.org`;

  before(async () => {
    home = await makeHome();
    [good, behind] = await Promise.all([
      startPebble(undefined, { httpPort: home.httpPort }),
      startPebble(undefined, { httpPort: home.httpPort }),
    ]);
    proxy = await startFaultProxy(behind);
  });
  after(async () => {
    await proxy?.stop();
    await Promise.all([good?.stop(), behind?.stop()]);
    await home?.stop();
  });

  const both = (others: Issuer[] = [home.issuer(good)]): Issuer =>
    createFallbackIssuer({
      first: home.issuer(proxy),
      others: others.map((issuer, at) => ({ ca: `other${at}`, issuer })),
      failuresInARow: async (name) =>
        (await createHistories(proxy.directoryUrl, home.storage, systemClock, memoryLog().log).read(name))
          .failuresInARow,
      clock: systemClock,
      log: memoryLog().log,
    });

  async function failure(work: Promise<unknown>): Promise<GatehouseError> {
    const error = await work.then(
      () => assert.fail("it did not fail"),
      (reason: unknown) => reason,
    );
    assert.ok(isGatehouseError(error), String(error));
    return error;
  }

  test("the first failure is borne, at the second the next CA signs, and then the first one begins again", async () => {
    const name = newName();
    proxy.inject("newOrder", { answer: { status: 500 } });
    const error = await failure(both().issue(name, "first", noSignal()));
    assert.equal(error.code, "GATEHOUSE_ACME_UNAVAILABLE");
    const stoodIn = await both().issue(name, "first", noSignal());
    assert.equal(stoodIn.ca, good.directoryUrl);
    const atOnce = await both().issue(name, "asked", noSignal());
    assert.equal(atOnce.ca, good.directoryUrl, "a success at the second CA has made the first one look well");
    proxy.clear();
    const back = await both().issue(name, "asked", noSignal());
    assert.equal(back.ca, proxy.directoryUrl);
  });

  test("a CA that wants to be left alone for hours is not waited for", async () => {
    const answer = {
      status: 429,
      headers: { "content-type": "application/problem+json", "retry-after": "86400" },
      body: JSON.stringify({ type: "urn:ietf:params:acme:error:rateLimited", detail: "too many" }),
    };
    proxy.inject("newOrder", { answer }, 1);
    assert.equal((await both().issue(newName(), "first", noSignal())).ca, good.directoryUrl);
    const posts = proxy.count("newOrder");
    assert.equal((await both().issue(newName(), "first", noSignal())).ca, good.directoryUrl);
    assert.equal(proxy.count("newOrder"), posts, "the first CA was asked for another name in spite of its Retry-After");
    await home.forgetLedgers();
    proxy.inject("newOrder", { answer: { ...answer, headers: { ...answer.headers, "retry-after": "60" } } }, 1);
    const error = await failure(both().issue(newName(), "first", noSignal()));
    assert.equal(error.code, "GATEHOUSE_ACME_RATE_LIMITED");
    await home.forgetLedgers();
  });

  test("a name that cannot be proved is no reason to ask another CA", async () => {
    const name = newName();
    await home.reborn();
    home.answerWith(() => Promise.resolve("<html>my router</html>"));
    const orders = good.orders();
    for (let round = 0; round < 3; round++) await failure(both().issue(name, "first", noSignal()));
    assert.equal(good.orders(), orders);
    await home.reborn();
  });

  test("when all fail, the first one's words are told, and each was asked", async () => {
    const name = newName();
    proxy.inject("newOrder", { answer: { status: 500 } });
    await failure(both().issue(name, "first", noSignal()));
    const asked: string[] = [];
    const silent: Issuer = {
      tidy: async () => {},
      issue(which) {
        asked.push(which);
        return Promise.reject(new GatehouseError("GATEHOUSE_ACME_REFUSED", { message: "the second one's words" }));
      },
    };
    const error = await failure(both([silent, silent]).issue(name, "first", noSignal()));
    assert.equal(error.code, "GATEHOUSE_ACME_UNAVAILABLE");
    assert.deepEqual(asked, [name, name]);
    proxy.clear();
  });
});
