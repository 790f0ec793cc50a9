/**
 * What becomes of an order when the CA changes its mind, moves, forgets, or says something that only a person can mend?
 * The road itself is in faults.test.ts.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createAcmeAccount } from "../../src/acme/account.ts";
import { explainChallenge } from "../../src/acme/challenges/explain.ts";
import { readProblem } from "../../src/acme/problem.ts";
import type { AcmeIssuer, IssuerOptions } from "../../src/acme/issue.ts";
import { GatehouseError } from "../../src/core/errors.ts";
import { systemClock } from "../../src/core/time.ts";
import { type Home, memoryLog, noSignal } from "../support/acme-home.ts";
import { failureOf } from "../support/failure.ts";
import type { Fault, FaultProxy } from "../support/fault-proxy.ts";
import { withFaultyCa } from "../support/faulty-ca.ts";
import { needsPebble as skip, type Pebble } from "../support/pebble.ts";

/** A poll that cannot end is one of a second. */
const impatient: Partial<IssuerOptions> = { wire: { pollDeadlineMs: 1_000 } };

describe("at a CA behind a front that changes its answers", { skip, timeout: 300_000 }, () => {
  let home: Home;
  let pebble: Pebble;
  let proxy: FaultProxy;
  let names = 0;
  const newName = (): string => `o${++names}.example.org`;

  withFaultyCa((made) => ({ home, pebble, proxy } = made));

  const inAuthorization = (status: string): Fault => ({
    rewrite: (body) => JSON.stringify({ ...(JSON.parse(body) as object), status }),
  });

  for (const status of ["expired", "deactivated", "revoked"]) {
    test(`an authorization that is ${status} ends its order, and the next try begins with a new one`, async () => {
      const name = newName();
      const orders = proxy.count("newOrder");
      proxy.inject("authorization", inAuthorization(status), 1);
      const error = await failureOf(home.issuer(proxy).issue(name, "first", noSignal()));
      assert.equal(error.code, "GATEHOUSE_ACME_CHALLENGE_FAILED");
      assert.match(error.message, new RegExp(`the authorization is ${status}`));
      assert.deepEqual(
        (await home.storage.list("acme")).filter((key) => key.includes("/orders/")),
        [],
      );
      assert.equal((await home.issuer(proxy).issue(name, "first", noSignal())).name, name);
      assert.equal(proxy.count("newOrder"), orders + 2);
    });
  }

  test("a challenge that was solved but never seen to be is not solved again: the order goes on where it was", async () => {
    const name = newName();
    const counts = () => ({ orders: proxy.count("newOrder"), told: proxy.count("challenge") });
    const start = counts();
    // The first look is for the challenges; from the second on the CA never says that it is satisfied.
    let looks = 0;
    proxy.inject("authorization", {
      rewrite: (body) =>
        ++looks === 1 ? body : JSON.stringify({ ...(JSON.parse(body) as object), status: "pending" }),
    });
    const error = await failureOf(home.issuer(proxy, impatient).issue(name, "first", noSignal()));
    assert.equal(error.code, "GATEHOUSE_ACME_SLOW");
    assert.deepEqual(counts(), { orders: start.orders + 1, told: start.told + 1 });
    proxy.clear();
    await home.reborn();
    await home.issuer(proxy).issue(name, "first", noSignal());
    assert.deepEqual(counts(), { orders: start.orders + 1, told: start.told + 1 });
  });

  test("a CA that moved is found again: after an address that is gone the directory is read anew", async () => {
    const issuer = home.issuer(proxy);
    const name = newName();
    proxy.inject(
      "newOrder",
      { answer: { status: 404, headers: { "content-type": "text/html" }, body: "<h1>Not here any more</h1>" } },
      1,
    );
    const read = proxy.count("directory");
    await failureOf(issuer.issue(name, "first", noSignal()));
    const after404 = proxy.count("directory");
    assert.equal((await issuer.issue(name, "first", noSignal())).name, name);
    assert.ok(proxy.count("directory") > after404, "the directory was not read again");
    assert.ok(after404 >= read);
  });

  test("a name that the CA has paused is a person's to mend: the address is shown, and waiting is no remedy", async () => {
    const detail =
      "Your account is temporarily prevented from requesting certificates for o.example.org and possibly others. " +
      "Please visit: https://ca.example/sfe/v1/unpause?jwt=abc";
    proxy.inject("newOrder", {
      answer: {
        status: 429,
        headers: { "content-type": "application/problem+json", "retry-after": "60" },
        body: JSON.stringify({ type: "urn:ietf:params:acme:error:rateLimited", detail }),
      },
    });
    const error = await failureOf(home.issuer(proxy).issue(newName(), "first", noSignal()));
    assert.equal(error.code, "GATEHOUSE_ACME_REFUSED");
    assert.match(error.message, /has paused this name.*https:\/\/ca\.example\/sfe\/v1\/unpause\?jwt=abc/s);
    assert.match(error.hint ?? "", /unpause it/);
  });

  test("a disk that fills up after the signature: the certificate serves from memory, and the same order is saved later", async () => {
    const name = newName();
    const orders = proxy.count("newOrder");
    await home.reborn((storage) => ({
      ...storage,
      async write(key, bytes) {
        if (!key.startsWith("certs/")) return storage.write(key, bytes);
        throw new GatehouseError("GATEHOUSE_STORAGE_FAILED", { message: "the disk is full (ENOSPC)" });
      },
    }));
    const told = home.announced.length;
    const error = await failureOf(home.issuer(proxy).issue(name, "first", noSignal()));
    assert.equal(error.code, "GATEHOUSE_STORAGE_FAILED");
    assert.equal(home.announced.length, told + 1, "it was not served");
    await home.reborn();
    const saved = await home.issuer(proxy).issue(name, "first", noSignal());
    assert.equal(saved.serial, home.announced[told]?.serial);
    assert.equal((await home.bundles.load(name))?.serial, saved.serial);
    assert.equal(proxy.count("newOrder"), orders + 1);
  });

  test("making an account that the CA has already is one question, which changes nothing of it", async () => {
    const account = createAcmeAccount({
      storage: home.storage,
      directoryUrl: proxy.directoryUrl,
      roots: proxy.caPem,
      email: "me@example.net",
      clock: systemClock,
      log: memoryLog().log,
    });
    await account.open();
    const before = { made: proxy.count("newAccount"), changed: proxy.count("other"), url: (await account.facts()).url };
    await account.remake();
    assert.equal(proxy.count("newAccount"), before.made + 1);
    assert.equal(proxy.count("other"), before.changed);
    assert.equal((await account.facts()).url, before.url);
  });

  test("a certificate whose account is gone is taken back by its own key, and twice is once", async () => {
    const name = newName();
    for (const key of ["p256", "rsa2048"] as const) {
      const bundle = await home.issuer(proxy, { key }).issue(name, "asked", noSignal());
      for (const each of await home.storage.list("acme")) {
        if (each.includes("/account/")) await home.storage.remove(each);
      }
      await home.reborn();
      const stranger = home.issuer(proxy, { email: "other@example.net" }) as AcmeIssuer;
      assert.equal(await pebble.statusOf(bundle.serial), "Valid");
      for (let time = 0; time < 2; time++) await stranger.revoke(bundle, 1, noSignal());
      assert.equal(await pebble.statusOf(bundle.serial), "Revoked");
    }
  });
});

const overIpv6: [detail: string, address: string | undefined][] = [
  ["2001:db8::7: Fetching http://n.example.org/.well-known/acme-challenge/x: Timeout during connect", "2001:db8::7"],
  ['Get "http://n.example.org/": dial tcp [2001:db8::7]:80: connect: connection refused', "2001:db8::7"],
  ["2001:db8::7: Invalid response from http://n.example.org/x: 404", "2001:db8::7"],
  ["192.0.2.7: Fetching http://n.example.org/: Connection refused", undefined],
  ["no valid A records found for n.example.org; no valid AAAA records found", undefined],
];
for (const [detail, address] of overIpv6) {
  test(`after ${JSON.stringify(detail.slice(0, 50))} the advice ${address === undefined ? "is not about" : "names"} the AAAA record`, () => {
    const problem = readProblem({ type: "urn:ietf:params:acme:error:connection", detail }, 400);
    const facts = { type: "http-01", wasAsked: false, another: false, now: 0 } as const;
    const { hint = "" } = explainChallenge("n.example.org", problem, facts);
    assert.equal(hint.includes("remove the AAAA record of n.example.org"), address !== undefined, hint);
    if (address !== undefined) assert.match(hint, new RegExp(`over IPv6, to ${address}\\.`));
  });
}
