/**
 * What can be chosen about an order and an account, asked of a real CA (pebble): keys, names, addresses, profiles, chains,
 * external accounts, e-mail addresses, a new account key.
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { type TestContext, test } from "node:test";
import { createSecureContext } from "node:tls";
import { Client } from "acme-client";
import { createAcmeAccount } from "../../src/acme/account.ts";
import { createAlpnChallenges } from "../../src/acme/challenges/alpn.ts";
import { KEY_TYPES } from "../../src/acme/signing-request.ts";
import { type CallScope, withinScope } from "../../src/acme/wire/http.ts";
import { isGatehouseError } from "../../src/core/errors.ts";
import { systemClock } from "../../src/core/time.ts";
import type { Storage } from "../../src/storage/contract.ts";
import { type Home, makeHome, memoryLog, noSignal } from "../support/acme-home.ts";
import { startFaultProxy } from "../support/fault-proxy.ts";
import { startFront } from "../support/front-home.ts";
import { type Pebble, type PebbleOptions, needsPebble as skip, startPebble } from "../support/pebble.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";

const timeout = 300_000;
const NAME = "home.example.org";

async function open(t: TestContext, options: Partial<PebbleOptions> = {}): Promise<{ home: Home; pebble: Pebble }> {
  const home = await makeHome();
  t.after(() => home.stop());
  return { home, pebble: await startPebble(t, { httpPort: home.httpPort, ...options }) };
}

const leafOf = (bundle: { chainPem: string }): X509Certificate => new X509Certificate(bundle.chainPem);

test("each kind of key gets its certificate, and OpenSSL serves it", { skip, timeout }, async (t) => {
  const { home, pebble } = await open(t);
  const kinds = { p256: "prime256v1", p384: "secp384r1", rsa2048: 2048, rsa4096: 4096 };
  for (const key of KEY_TYPES) {
    const bundle = await home.issuer(pebble, { key }).issue(`${key}.example.org`, "first", noSignal());
    const details = leafOf(bundle).publicKey.asymmetricKeyDetails;
    assert.equal(details?.namedCurve ?? details?.modulusLength, kinds[key]);
    createSecureContext({ key: bundle.keyPem, cert: bundle.chainPem });
  }
});

test("several names share a certificate, and other names are a new order", { skip, timeout }, async (t) => {
  const { home, pebble } = await open(t);
  const names = [NAME, "www.home.example.org", "a.example.org"];
  const issue = (wanted: readonly string[]) =>
    home.issuer(pebble, { namesOf: () => wanted }).issue(NAME, "renewal", noSignal());
  const first = await issue(names);
  assert.deepEqual([...first.names].sort(), [...names].sort());
  assert.equal((await issue([...names].reverse())).serial, first.serial, "the order of names does not matter");
  const second = await issue(names.slice(0, 2));
  assert.deepEqual([...second.names].sort(), names.slice(0, 2));
  assert.equal(pebble.orders(), 2);
});

test("an address gets a certificate by port 80 and by port 443", { skip, timeout }, async (t) => {
  const home = await makeHome();
  t.after(() => home.stop());
  const alpn = createAlpnChallenges({ storage: home.storage, clock: systemClock });
  const { httpsPort } = await startFront(t, [siteConfig("a.test", targetConfig(1))], {
    challengeCertificate: (serverName) => alpn.challengeCertificate(serverName),
  });
  const pebble = await startPebble(t, { httpPort: home.httpPort, tlsPort: httpsPort });
  const byHttp = await home.issuer(pebble).issue("127.0.0.1", "first", noSignal());
  assert.deepEqual(byHttp.names, ["127.0.0.1"]);
  assert.equal(leafOf(byHttp).subjectAltName, "IP Address:127.0.0.1");
  assert.equal((await home.bundles.load("127.0.0.1"))?.serial, byHttp.serial);
  const byTls = await home.issuer(pebble, { solvers: [alpn] }).issue("127.0.0.1", "asked", noSignal());
  assert.notEqual(byTls.serial, byHttp.serial);
});

test(
  "a CA that wants an external account gets it; without, or with a wrong key, the words say so",
  { skip, timeout },
  async (t) => {
    const hmacKey = Buffer.from("thirty-two bytes of no secret!!!").toString("base64url");
    const { home, pebble } = await open(t, { eab: { "kid-1": hmacKey } });
    const issue = (eab: { kid: string; hmacKey: string } | undefined) =>
      home.issuer(pebble, { eab }).issue(NAME, "first", noSignal());
    await assert.rejects(issue(undefined), (error) => {
      assert.ok(isGatehouseError(error, "GATEHOUSE_ACME_REFUSED"), String(error));
      assert.match(error.hint ?? "", /acme\.eab/);
      return true;
    });
    const wrong = Buffer.from("another thing that is no secret!").toString("base64url");
    await assert.rejects(issue({ kid: "kid-1", hmacKey: wrong }), (error) => {
      assert.ok(isGatehouseError(error), String(error));
      return !error.message.includes(wrong);
    });
    assert.deepEqual((await issue({ kid: "kid-1", hmacKey })).names, [NAME]);
  },
);

test(
  "of several chains the preferred one is taken, and the CA's own where there is none of that name",
  { skip, timeout },
  async (t) => {
    const { home, pebble } = await open(t, { env: { PEBBLE_ALTERNATE_ROOTS: "2", PEBBLE_CHAIN_LENGTH: "2" } });
    const roots = await Promise.all([0, 1, 2].map(async (index) => new X509Certificate(await pebble.rootPem(index))));
    const commonNames = roots.map(({ subject }) => subject.replace(/^.*CN=/s, ""));
    assert.equal(new Set(commonNames).size, 3);
    const wanted: [preferredChain: string | undefined, root: number][] = [
      [undefined, 0],
      [commonNames[1], 1],
      [commonNames[2], 2],
      ["Nobody's Root", 0],
    ];
    for (const [preferredChain, root] of wanted) {
      const bundle = await home.issuer(pebble, { preferredChain }).issue(NAME, "asked", noSignal());
      const last = new X509Certificate(bundle.chainPem.split(/(?=-----BEGIN)/).at(-1) ?? "");
      assert.ok(last.verify(roots[root]?.publicKey ?? assert.fail()), `${preferredChain ?? "none"} → root ${root}`);
    }
  },
);

test(
  "a profile is sent where the CA advertises it; addresses ask for the short-lived one by themselves",
  {
    // One that has profiles by itself does not know those of this front; newer-pebble.test.ts asks it for its own.
    skip: skip || (process.env["GATEHOUSE_PEBBLE"] !== undefined && "this Pebble may have profiles of its own"),
    timeout,
  },
  async (t) => {
    const { home, pebble } = await open(t);
    const proxy = await startFaultProxy(pebble);
    t.after(() => proxy.stop());
    const advertise = (body: string): string => {
      const directory = JSON.parse(body) as { meta: Record<string, unknown> };
      directory.meta["profiles"] = { classic: "https://ca.test/classic", shortlived: "six days", "od d": "" };
      return JSON.stringify(directory);
    };
    const sent = async (name: string, profile: string | undefined) => {
      await home.issuer(proxy, { profile }).issue(name, "asked", noSignal());
      return home.lines.findLast(({ event }) => event === "acme.order.made")?.["profile"];
    };
    assert.equal(await sent(NAME, "shortlived"), undefined);
    assert.ok(home.lines.some(({ event }) => event === "acme.profile.unknown"));
    proxy.inject("directory", { rewrite: advertise });
    assert.equal(await sent(NAME, "classic"), "classic");
    assert.equal(await sent(NAME, undefined), undefined);
    assert.equal(await sent(NAME, "od d"), undefined);
    assert.equal(await sent("127.0.0.1", undefined), "shortlived");
  },
);

const accountOf = (home: Home, pebble: Pebble, email?: string) =>
  createAcmeAccount({
    storage: home.storage,
    directoryUrl: pebble.directoryUrl,
    roots: pebble.caPem,
    email,
    clock: systemClock,
    log: memoryLog().log,
  });

async function kept(home: Home, file: string): Promise<string> {
  const key = (await home.storage.list("acme")).find((each) => each.endsWith(`account/${file}`));
  return key === undefined ? "" : ((await home.storage.read(key))?.toString("utf8") ?? "");
}

test("the account gets a new key and stays the account; the old key opens it no more", { skip, timeout }, async (t) => {
  const { home, pebble } = await open(t);
  const first = await accountOf(home, pebble).open();
  const oldKey = await kept(home, "key.pem");
  await accountOf(home, pebble).rollOver();
  assert.notEqual(await kept(home, "key.pem"), oldKey);
  assert.equal(await kept(home, "key-next.pem"), "");
  const second = await accountOf(home, pebble).open();
  assert.equal(second.accountUrl, first.accountUrl);
  assert.equal(await second.findAccount(), first.accountUrl);
  assert.deepEqual((await home.issuer(pebble).issue(NAME, "first", noSignal())).names, [NAME]);
  await home.storage.write(
    (await home.storage.list("acme")).find((key) => key.endsWith("account/key.pem")) ?? "",
    oldKey,
  );
  assert.equal(await (await accountOf(home, pebble).open()).findAccount(), undefined);
});

const crashes: [when: string, dies: (verb: "write" | "remove", key: string) => boolean][] = [
  ["before the CA hears of the new key", (verb, key) => verb === "write" && key.endsWith("key-next.pem")],
  [
    "after the CA has changed it and before it is the key on disk",
    (verb, key) => verb === "write" && key.endsWith("account/key.pem"),
  ],
  ["before the spare copy is cleared away", (verb, key) => verb === "remove" && key.endsWith("key-next.pem")],
];
for (const [when, dies] of crashes) {
  test(`a crash ${when} loses no account`, { skip, timeout }, async (t) => {
    const { home, pebble } = await open(t);
    const first = await accountOf(home, pebble).open();
    await home.reborn((storage: Storage) => ({
      ...storage,
      async write(key, bytes) {
        if (dies("write", key)) throw new Error("killed");
        return storage.write(key, bytes);
      },
      async remove(key) {
        if (dies("remove", key)) throw new Error("killed");
        return storage.remove(key);
      },
    }));
    await assert.rejects(accountOf(home, pebble).rollOver(), /killed/);
    await home.reborn();
    const again = await accountOf(home, pebble).open();
    assert.equal(await again.findAccount(), first.accountUrl);
    assert.equal(await kept(home, "key-next.pem"), "");
  });
}

/** A question of the test's own to the CA, as the account. */
async function asAccount<T>(home: Home, pebble: Pebble, ask: (client: Client) => Promise<T>): Promise<T> {
  const { url } = JSON.parse(await kept(home, "account.json")) as { url: string };
  const scope: CallScope = {
    clock: systemClock,
    signal: undefined,
    secureContext: createSecureContext({ ca: pebble.caPem }),
    userAgent: "test",
    requestDeadlineMs: 10_000,
    nonce: { value: undefined, since: 0 },
    retryAfterMs: undefined,
  };
  const accountKey = await kept(home, "key.pem");
  return withinScope(scope, () => ask(new Client({ directoryUrl: pebble.directoryUrl, accountKey, accountUrl: url })));
}

test("an account that was deactivated is made anew, with a warning", { skip, timeout }, async (t) => {
  const { home, pebble } = await open(t);
  await home.issuer(pebble).issue(NAME, "first", noSignal());
  const before = await kept(home, "account.json");
  await asAccount(home, pebble, (client) => client.updateAccount({ status: "deactivated" }));
  const bundle = await home.issuer(pebble).issue(NAME, "asked", noSignal());
  assert.deepEqual(bundle.names, [NAME]);
  assert.notEqual(await kept(home, "account.json"), before);
  assert.ok(home.lines.some(({ event }) => event === "acme.account.gone"));
});

test(
  "another e-mail address is told to the CA once, and a site's own has an account of its own",
  { skip, timeout },
  async (t) => {
    const { home, pebble } = await open(t);
    const contacts = () => asAccount(home, pebble, async (client) => (await client.updateAccount()).contact);
    await home.issuer(pebble, { email: "one@mail.test" }).issue(NAME, "asked", noSignal());
    assert.deepEqual(await contacts(), ["mailto:one@mail.test"]);
    const key = await kept(home, "key.pem");
    for (let round = 0; round < 2; round++) {
      await home.issuer(pebble, { email: "two@mail.test" }).issue(NAME, "asked", noSignal());
    }
    assert.deepEqual(await contacts(), ["mailto:two@mail.test"]);
    assert.equal(await kept(home, "key.pem"), key);
    const emailOf = (name: string) => (name === NAME ? "two@mail.test" : "site@mail.test");
    const issuer = home.issuer(pebble, { email: "two@mail.test", emailOf });
    await issuer.issue(NAME, "asked", noSignal());
    await issuer.issue("other.example.org", "first", noSignal());
    const accounts = (await home.storage.list("acme")).filter((each) => each.endsWith("account.json"));
    assert.equal(accounts.length, 2);
  },
);
