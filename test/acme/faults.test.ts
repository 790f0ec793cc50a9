/**
 * What becomes of an order on a bad road to the CA, and after a crash at each step?
 */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { describe, test } from "node:test";
import type { ErrorCode } from "../../src/core/errors.ts";
import type { Storage } from "../../src/storage/contract.ts";
import { type Home, noSignal } from "../support/acme-home.ts";
import { failureOf } from "../support/failure.ts";
import type { Endpoint, Fault, FaultProxy } from "../support/fault-proxy.ts";
import { withFaultyCa } from "../support/faulty-ca.ts";
import { type Pebble, needsPebble as skip } from "../support/pebble.ts";

/** Only where the CA is silent: on a busy machine a good answer can take seconds. */
const impatientWhere = (fault: Fault) =>
  fault === "stall" || fault === "stall-in-body" ? { wire: { requestDeadlineMs: 4_000 } } : {};

describe("on a bad road", { skip, timeout: 300_000 }, () => {
  let home: Home;
  let pebble: Pebble;
  let proxy: FaultProxy;
  let names = 0;
  const newName = (): string => `n${++names}.example.org`;

  withFaultyCa((made) => ({ home, pebble, proxy } = made));

  const problem = (status: number, type: string, headers: Record<string, string> = {}): Fault => ({
    answer: {
      status,
      headers: { "content-type": "application/problem+json", ...headers },
      body: JSON.stringify({ type: `urn:ietf:params:acme:error:${type}`, detail: `said the ${type} test` }),
    },
  });

  const inAnHour = Date.now() + 3_600_000;
  const waits: [how: string, retryAfter: string, atLeast: number, atMost: number][] = [
    ["seconds", "3600", 3_590_000, 3_600_000],
    ["a date", new Date(inAnHour).toUTCString(), 3_500_000, 3_601_000],
    ["a month, cut to a week", "2592000", 6.9 * 86_400_000, 7 * 86_400_000],
  ];
  for (const [how, retryAfter, atLeast, atMost] of waits) {
    test(`a rate limit is one POST, not twelve, and its Retry-After (${how}) is kept`, async () => {
      proxy.inject("newOrder", problem(429, "rateLimited", { "retry-after": retryAfter }));
      const orders = proxy.count("newOrder");
      const error = await failureOf(home.issuer(proxy).issue(newName(), "first", noSignal()));
      assert.equal(error.code, "GATEHOUSE_ACME_RATE_LIMITED");
      assert.match(error.message, /rate limit.*said the rateLimited test/);
      assert.equal(proxy.count("newOrder"), orders + 1);
      const wait = (error.notBefore ?? 0) - Date.now();
      assert.ok(wait >= atLeast - 5_000 && wait <= atMost, `${wait} ms`);
    });
  }

  const html: Fault = { answer: { status: 500, headers: { "content-type": "text/html" }, body: "<h1>Oops</h1>" } };
  const portal: Fault = { answer: { status: 200, headers: { "content-type": "text/html" }, body: "<h1>Log in</h1>" } };
  const endless: Fault = {
    answer: { status: 200, headers: { "content-type": "application/json" }, body: "x".repeat(2_000_000) },
  };
  const failures: [what: string, endpoint: Endpoint, fault: Fault, code: ErrorCode, says: RegExp][] = [
    ["HTML 500", "newOrder", html, "GATEHOUSE_ACME_UNAVAILABLE", /the CA has trouble/],
    [
      "an empty 503 with Retry-After",
      "newOrder",
      { answer: { status: 503, headers: { "retry-after": "60" } } },
      "GATEHOUSE_ACME_UNAVAILABLE",
      /503/,
    ],
    ["a login page", "directory", portal, "GATEHOUSE_ACME_UNAVAILABLE", /does not speak ACME/],
    [
      "a redirect",
      "directory",
      { answer: { status: 302, headers: { location: "https://elsewhere/" } } },
      "GATEHOUSE_ACME_UNAVAILABLE",
      /redirects to https:\/\/elsewhere/,
    ],
    ["an answer without end", "directory", endless, "GATEHOUSE_ACME_UNAVAILABLE", /longer than 1048576 bytes/],
    [
      "an empty object for a directory",
      "directory",
      { rewrite: () => "{}" },
      "GATEHOUSE_ACME_UNAVAILABLE",
      /made no sense/,
    ],
    [
      "an order of another shape",
      "newOrder",
      { rewrite: () => `{"status":"dancing"}` },
      "GATEHOUSE_ACME_UNAVAILABLE",
      /makes no sense/,
    ],
    ["silence", "newOrder", "stall", "GATEHOUSE_ACME_UNAVAILABLE", /did not answer in time/],
    [
      "silence in the middle of the answer",
      "newOrder",
      "stall-in-body",
      "GATEHOUSE_ACME_UNAVAILABLE",
      /did not answer in time/,
    ],
    ["silence where nonces are", "newNonce", "stall", "GATEHOUSE_ACME_UNAVAILABLE", /did not answer in time/],
    ["a cut line", "newOrder", "cut-before", "GATEHOUSE_ACME_UNAVAILABLE", /connection was cut/],
    ["a CAA refusal", "newOrder", problem(403, "caa"), "GATEHOUSE_ACME_REFUSED", /CAA record forbids/],
    [
      "a wish for an external account",
      "newOrder",
      problem(400, "externalAccountRequired"),
      "GATEHOUSE_ACME_REFUSED",
      /external account/,
    ],
    ["new terms", "newOrder", problem(403, "userActionRequired"), "GATEHOUSE_ACME_REFUSED", /wants a person/],
    [
      "a type nobody knows",
      "newOrder",
      problem(400, "sevenOfNine"),
      "GATEHOUSE_ACME_REFUSED",
      /said the sevenOfNine test \[sevenOfNine\]/,
    ],
    ["bad nonces for ever", "newOrder", problem(400, "badNonce"), "GATEHOUSE_ACME_UNAVAILABLE", /refused every nonce/],
  ];
  for (const [what, endpoint, fault, code, says] of failures) {
    test(`${what} (at ${endpoint}) becomes ${code} in words, and the next try succeeds`, async () => {
      const name = newName();
      proxy.inject(endpoint, fault);
      const error = await failureOf(home.issuer(proxy, impatientWhere(fault)).issue(name, "first", noSignal()));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, says);
      assert.ok(error.hint, "no next step");
      proxy.clear();
      await home.forgetLedgers();
      assert.equal((await home.issuer(proxy).issue(name, "first", noSignal())).name, name);
    });
  }

  test("a refused port is told apart from an untrusted certificate and from a name that does not resolve", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    await new Promise((resolve) => server.close(resolve));
    const roads: [ca: { directoryUrl: string; caPem: string }, road: string][] = [
      [{ directoryUrl: `https://127.0.0.1:${port}/dir`, caPem: proxy.caPem }, "refused"],
      [{ directoryUrl: proxy.directoryUrl, caPem: pebble.caPem }, "tls"],
      [{ directoryUrl: "http://ca.invalid/dir", caPem: proxy.caPem }, "garbage"],
      [{ directoryUrl: "https://ca.invalid/dir", caPem: proxy.caPem }, "dns"],
    ];
    for (const [ca, road] of roads) {
      const error = await failureOf(home.issuer(ca).issue("road.example.org", "asked", noSignal()));
      assert.equal(error.detail["road"], road, error.message);
    }
  });

  const lost: [step: Endpoint, fault: Fault, posts: number][] = [
    ["finalize", "cut-after", 1],
    ["finalize", "cut-before", 2],
    ["finalize", "stall", 2],
  ];
  for (const [step, fault, posts] of lost) {
    test(`when the answer to ${step} is lost (${JSON.stringify(fault)}) the order itself is asked, and nothing is ordered twice`, async () => {
      const before = { orders: proxy.count("newOrder"), finalize: proxy.count("finalize") };
      proxy.inject(step, fault, 1);
      await home.issuer(proxy, impatientWhere(fault)).issue(newName(), "first", noSignal());
      assert.equal(proxy.count("newOrder"), before.orders + 1);
      assert.equal(proxy.count("finalize"), before.finalize + posts);
    });
  }

  test("a certificate that was cut short is fetched again from the same order", async () => {
    const orders = proxy.count("newOrder");
    proxy.inject("certificate", { rewrite: (pem) => pem.slice(0, 900) }, 1);
    await home.issuer(proxy).issue(newName(), "first", noSignal());
    assert.equal(proxy.count("newOrder"), orders + 1);
  });

  test("a certificate for somebody else is refused, and the order is given up", async () => {
    const other = await home.bundles.load("account.example.org");
    const name = newName();
    proxy.inject("certificate", { rewrite: () => other?.chainPem ?? "" });
    const error = await failureOf(home.issuer(proxy).issue(name, "first", noSignal()));
    assert.equal(error.code, "GATEHOUSE_ACME_BAD_CERTIFICATE");
    assert.match(error.message, new RegExp(`lacks ${name}`));
    assert.equal((await home.storage.list("acme")).filter((key) => key.includes("orders/")).length, 0);
    assert.equal(await home.bundles.load(name), undefined);
  });

  test("an order that stays in processing for too long is kept and continued", async () => {
    const name = newName();
    const orders = proxy.count("newOrder");
    const stuck: Fault = { rewrite: (body) => body.replace('"valid"', '"processing"') };
    proxy.inject("order", stuck);
    proxy.inject("finalize", stuck);
    const brief = { wire: { pollDeadlineMs: 1_000 } };
    const error = await failureOf(home.issuer(proxy, brief).issue(name, "first", noSignal()));
    assert.equal(error.code, "GATEHOUSE_ACME_SLOW");
    proxy.clear();
    await home.reborn();
    await home.issuer(proxy).issue(name, "first", noSignal());
    assert.equal(proxy.count("newOrder"), orders + 1);
  });

  test("an unfinished order that the CA has forgotten or spoilt is dropped for a new one", async () => {
    for (const spoilt of [
      problem(404, "malformed"),
      { rewrite: (body: string) => body.replace(/"status": ?"\w+"/, '"status":"invalid"') },
    ]) {
      const name = newName();
      proxy.inject("finalize", problem(500, "serverInternal"), 1);
      await failureOf(home.issuer(proxy).issue(name, "first", noSignal()));
      proxy.inject("order", spoilt, 1);
      const orders = proxy.count("newOrder");
      await home.issuer(proxy).issue(name, "first", noSignal());
      assert.equal(proxy.count("newOrder"), orders + 1);
    }
  });

  /** A disk that dies (and the process with it) at the first write or removal of a key like this; reads go on. */
  const dyingAt =
    (verb: "write" | "remove" | "probe", key: RegExp) =>
    (storage: Storage): Storage => ({
      ...storage,
      async write(at, bytes) {
        if (verb === "write" && key.test(at)) throw new Error("killed");
        return storage.write(at, bytes);
      },
      async remove(at) {
        if (verb === "remove" && key.test(at)) throw new Error("killed");
        return storage.remove(at);
      },
      async probe() {
        if (verb === "probe") throw new Error("disk full");
        return storage.probe();
      },
    });

  const crashes: [when: string, wrap: (storage: Storage) => Storage, extraOrders: number][] = [
    ["before anything was asked, on a full disk", dyingAt("probe", /$/), 0],
    ["between the CA's order and writing it down", dyingAt("write", /orders\//), 1],
    ["between the order and the token", dyingAt("write", /challenges\//), 0],
    ["between finalize and the first byte of the bundle", dyingAt("write", /^certs\//), 0],
    ["in the middle of saving the bundle", dyingAt("write", /chain\.pem$/), 0],
    ["before the bundle became current", dyingAt("write", /current$/), 0],
  ];
  for (const [when, wrap, extraOrders] of crashes) {
    test(`a crash ${when} costs ${extraOrders === 0 ? "no" : "one"} extra order`, async () => {
      const name = newName();
      const orders = proxy.count("newOrder");
      const spent = when.includes("full disk") ? 0 : 1;
      await home.reborn(wrap);
      await assert.rejects(home.issuer(proxy).issue(name, "first", noSignal()), /killed|disk full/);
      assert.equal(proxy.count("newOrder"), orders + spent);
      await home.reborn();
      const bundle = await home.issuer(proxy).issue(name, "first", noSignal());
      assert.equal((await home.bundles.load(name))?.serial, bundle.serial);
      assert.equal(proxy.count("newOrder"), orders + 1 + extraOrders);
    });
  }

  test("a token that cannot be removed does not stand in a certificate's way, and is told", async () => {
    const name = newName();
    await home.reborn(dyingAt("remove", /challenges\//));
    const bundle = await home.issuer(proxy).issue(name, "first", noSignal());
    assert.deepEqual(bundle.names, [name]);
    assert.ok(home.lines.some(({ event }) => event === "acme.challenge.untidy"));
    await home.reborn();
  });

  test("an order that was saved but not cleared away is not mistaken for the next renewal", async () => {
    const name = newName();
    await home.reborn(dyingAt("remove", /orders\//));
    await assert.rejects(home.issuer(proxy).issue(name, "first", noSignal()), /killed/);
    await home.reborn();
    const saved = await home.bundles.load(name);
    assert.ok(saved);
    const renewed = await home.issuer(proxy).issue(name, "asked", noSignal());
    assert.notEqual(renewed.serial, saved.serial);
  });
});
