/**
 * Does a real CA (pebble) sign for us, from the first order to the renewal, on good days and on tiring ones?
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { isGatehouseError } from "../../src/core/errors.ts";
import { type Home, makeHome, noSignal } from "../support/acme-home.ts";
import { type FaultProxy, startFaultProxy } from "../support/fault-proxy.ts";
import { type Pebble, startPebble, needsPebble as skip } from "../support/pebble.ts";

const NAME = "home.example.org";

describe("with pebble", { skip, timeout: 300_000 }, () => {
  let home: Home;
  let pebble: Pebble;
  let proxy: FaultProxy;

  before(async () => {
    home = await makeHome();
    pebble = await startPebble(undefined, { httpPort: home.httpPort, domainBlocklist: ["blocked.example.org"] });
    proxy = await startFaultProxy(pebble);
  });
  after(async () => {
    await proxy?.stop();
    await pebble?.stop();
    await home?.stop();
  });

  test("a name gets its first certificate: P-256, the one name, linked to the CA's root, stored and announced", async () => {
    const bundle = await home.issuer(proxy, { email: "me@example.org" }).issue(NAME, "first", noSignal());
    const leaf = new X509Certificate(bundle.chainPem);
    assert.equal(leaf.subjectAltName, `DNS:${NAME}`);
    assert.equal(leaf.publicKey.asymmetricKeyDetails?.namedCurve, "prime256v1");
    const last = bundle.chainPem.split(/(?=-----BEGIN)/).at(-1) ?? "";
    assert.ok(new X509Certificate(last).verify(new X509Certificate(await pebble.rootPem()).publicKey));
    assert.equal(bundle.ca, proxy.directoryUrl);
    assert.deepEqual(home.announced, [bundle]);
    assert.equal((await home.bundles.load(NAME))?.serial, bundle.serial);
  });

  test("nothing is left over after an order: no token, no unfinished order", async () => {
    const keys = await home.storage.list("acme");
    assert.deepEqual(
      keys.filter((key) => key.includes("challenges") || key.includes("orders")),
      [],
    );
    assert.equal(keys.filter((key) => key.endsWith("/account/key.pem")).length, 1);
  });

  test("a second call orders nothing, nor does one after a restart", async () => {
    const orders = proxy.count("newOrder");
    const first = await home.bundles.load(NAME);
    await home.reborn();
    const again = await home.issuer(proxy).issue(NAME, "renewal", noSignal());
    assert.equal(again.serial, first?.serial);
    assert.equal(proxy.count("newOrder"), orders);
  });

  test("a person who asks gets a new certificate with a new key, by the same account", async () => {
    const old = await home.bundles.load(NAME);
    const accounts = proxy.count("newAccount");
    const bundle = await home.issuer(proxy).issue(NAME, "asked", noSignal());
    assert.notEqual(bundle.serial, old?.serial);
    assert.notEqual(bundle.keyPem, old?.keyPem);
    assert.equal(proxy.count("newAccount"), accounts);
  });

  test("two issuers at once for one name spend one order", async () => {
    const orders = proxy.count("newOrder");
    const [one, two] = [home.issuer(proxy), home.issuer(proxy)];
    const both = await Promise.all([one, two].map(({ issue }) => issue("twice.example.org", "first", noSignal())));
    assert.equal(both[0]?.serial, both[1]?.serial);
    assert.equal(proxy.count("newOrder"), orders + 1);
  });

  test("a lost account.json costs one question, not a new account", async () => {
    const account = (await home.storage.list("acme")).find((key) => key.endsWith("account.json")) ?? "";
    const before = (await home.storage.read(account))?.toString() ?? "";
    await home.storage.remove(account);
    await home.reborn();
    await home.issuer(proxy).issue("kid.example.org", "first", noSignal());
    const url = (text: string): unknown => (JSON.parse(text) as { url: unknown }).url;
    assert.equal(url((await home.storage.read(account))?.toString() ?? ""), url(before));
  });

  test("a name that the CA does not sign is refused in words and with the next step", async () => {
    const issue = home.issuer(proxy).issue("blocked.example.org", "first", noSignal());
    await assert.rejects(issue, (error) => {
      assert.ok(isGatehouseError(error, "GATEHOUSE_ACME_REFUSED"), String(error));
      assert.match(error.message, /does not sign for this name/);
      assert.match(error.hint ?? "", /another name/);
      return true;
    });
  });

  test("a wildcard is refused before the CA hears of it", async () => {
    const orders = proxy.count("newOrder");
    const issue = home.issuer(proxy).issue("*.example.org", "first", noSignal());
    await assert.rejects(issue, (error) => isGatehouseError(error, "GATEHOUSE_ACME_REFUSED"));
    assert.equal(proxy.count("newOrder"), orders);
  });

  const wrongAnswers: [what: string, answer: (token: string) => Promise<string | undefined>, says: RegExp][] = [
    [
      "another program answers",
      () => Promise.resolve("<html>my router</html>"),
      /got something else.*No question for it arrived/s,
    ],
    [
      "nobody answers",
      () => Promise.reject(new Error("cut")),
      /could not reach this home on port 80|got something else/,
    ],
    ["404 answers", () => Promise.resolve(undefined), /got something else/],
  ];
  for (const [what, answer, says] of wrongAnswers) {
    test(`when ${what} on port 80 the failure says so, and the order is given up`, async () => {
      await home.reborn();
      home.answerWith(answer);
      const issue = home.issuer(proxy).issue("wrong.example.org", "first", noSignal());
      await assert.rejects(issue, (error) => {
        assert.ok(isGatehouseError(error, "GATEHOUSE_ACME_CHALLENGE_FAILED"), String(error));
        assert.match(error.message, says);
        assert.match(error.hint ?? "", /port 80/);
        return true;
      });
      const left = (await home.storage.list("acme")).filter((key) => /orders|challenges/.test(key));
      assert.deepEqual(left, []);
      await home.reborn();
    });
  }

  test("a CA that forgot us (restarted pebble) gets a new account, with a warning, and gives a certificate", async () => {
    await home.reborn();
    const issuer = home.issuer(proxy);
    await pebble.restart();
    const bundle = await issuer.issue("amnesia.example.org", "first", noSignal());
    assert.equal(bundle.name, "amnesia.example.org");
    assert.equal(home.lines.filter(({ event }) => event === "acme.account.gone").length, 1);
  });

  test("an abort stops an order in the middle and leaves it to be continued", async () => {
    const controller = new AbortController();
    // The CA has come to look: the order is on the disk, and in the middle.
    home.answerWith(() => {
      controller.abort(new Error("enough"));
      return new Promise(() => {});
    });
    const issue = home.issuer(proxy).issue("stopped.example.org", "first", controller.signal);
    await assert.rejects(issue);
    assert.ok((await home.storage.list("acme")).some((key) => key.endsWith("orders/stopped.example.org.json")));
    await home.reborn();
  });
});

const tiring: [what: string, env: Record<string, string>][] = [
  ["every second nonce is refused", { PEBBLE_WFE_NONCEREJECT: "50" }],
  ["validation is slow", { PEBBLE_VA_SLEEPTIME: "3" }],
  ["authorizations are re-used", { PEBBLE_AUTHZREUSE: "100" }],
];
for (const [what, env] of tiring) {
  test(`certificates still come, first and renewed, when ${what}`, { skip, timeout: 300_000 }, async (t) => {
    const home = await makeHome();
    t.after(() => home.stop());
    const pebble = await startPebble(t, { httpPort: home.httpPort, env });
    const issuer = home.issuer(pebble);
    const first = await issuer.issue(NAME, "first", noSignal());
    const second = await issuer.issue(NAME, "asked", noSignal());
    assert.notEqual(second.serial, first.serial);
    assert.equal(pebble.orders(), 2);
  });
}
