/**
 * Does every provider keep the promise of dns/contract, and what does it say when the other side does not?
 * One suite for all that have a web interface (fakes of the documented ones) and for the hook (a real program).
 */
import assert from "node:assert/strict";
import { chmod, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type ErrorCode, isGatehouseError } from "../../src/core/errors.ts";
import type { DnsProvider, ProviderSettings } from "../../src/dns/contract.ts";
import { createDnsProvider } from "../../src/dns/providers.ts";
import { noSignal } from "../support/acme-home.ts";
import { type FakeApi, startFakeCloudflare, startFakeDesec, startFakeDuckDns } from "../support/fake-dns-apis.ts";
import { temporaryFolder } from "../support/gatehouse.ts";

interface Web {
  /** A name of this provider's zone. */
  host: string;
  start(t: TestContext): Promise<FakeApi>;
  settings(url: string, token: string): ProviderSettings;
  /** How a record is kept there. */
  kept(type: string, value: string): string;
}

const WEB: Record<string, Web> = {
  duckdns: {
    host: "myhome.duckdns.org",
    start: startFakeDuckDns,
    settings: (url, token) => ({ kind: "duckdns", token, domain: undefined, url }),
    kept: (type, value) => `myhome ${type} ${value}`,
  },
  cloudflare: {
    host: "example.org",
    start: startFakeCloudflare,
    settings: (url, token) => ({ kind: "cloudflare", token, url: `${url}/client/v4` }),
    kept: (type, value) =>
      type === "TXT" ? `_acme-challenge.www.example.org TXT "${value}"` : `www.example.org ${type} ${value}`,
  },
  desec: {
    host: "example.org",
    start: startFakeDesec,
    settings: (url, token) => ({ kind: "desec", token, url: `${url}/api/v1` }),
    kept: (type, value) =>
      type === "TXT" ? `_acme-challenge.www.example.org TXT "${value}"` : `www.example.org ${type} ${value}`,
  },
};

const refusedAs = (code: ErrorCode, says: RegExp) => (error: unknown) => {
  assert.ok(isGatehouseError(error, code), String(error));
  assert.match(error.message, says);
  assert.doesNotMatch(`${error.message} ${error.hint ?? ""} ${String(error.stack)}`, /fake-token|wrong-token/);
  return true;
};

for (const [kind, { host, start, settings, kept }] of Object.entries(WEB)) {
  const open = async (t: TestContext): Promise<{ api: FakeApi; provider: DnsProvider; name: string }> => {
    const api = await start(t);
    return { api, provider: createDnsProvider(settings(api.url, "fake-token")), name: `_acme-challenge.www.${host}` };
  };

  test(`${kind}: a record is written once, however often, and removed once, however often`, async (t) => {
    const { api, provider, name } = await open(t);
    for (let round = 0; round < 2; round++) await provider.present(name, "v1", noSignal());
    assert.deepEqual(api.records(), [kept("TXT", "v1")]);
    for (let round = 0; round < 2; round++) await provider.clear(name, "v1", noSignal());
    assert.deepEqual(api.records(), []);
  });

  test(`${kind}: two values live side by side, or it says that they do not`, async (t) => {
    const { api, provider, name } = await open(t);
    await provider.present(name, "v1", noSignal());
    await provider.present(name, "v2", noSignal());
    const both = [kept("TXT", "v1"), kept("TXT", "v2")];
    assert.deepEqual(api.records(), provider.oneAtATimeMs > 0 ? both.slice(1) : both);
    if (provider.oneAtATimeMs > 0) return;
    await provider.clear(name, "v1", noSignal());
    assert.deepEqual(api.records(), both.slice(1));
  });

  test(`${kind}: addresses replace what was there, one kind without the other`, async (t) => {
    const { api, provider } = await open(t);
    await provider.setAddresses(`www.${host}`, { ipv4: "192.0.2.1", ipv6: "2001:db8::1" }, noSignal());
    await provider.setAddresses(`www.${host}`, { ipv4: "192.0.2.2" }, noSignal());
    assert.deepEqual(api.records(), [kept("A", "192.0.2.2"), kept("AAAA", "2001:db8::1")].sort());
  });

  test(`${kind}: a wrong token needs a person, and stands in no message`, async (t) => {
    const api = await start(t);
    const provider = createDnsProvider(settings(api.url, "wrong-token"));
    const writing = provider.present(`_acme-challenge.www.${host}`, "v", noSignal());
    await assert.rejects(writing, refusedAs("GATEHOUSE_DNS_REFUSED", /did not take|answered 40[13]/));
  });

  test(`${kind}: a name of somebody else's needs a person`, async (t) => {
    const { api, provider } = await open(t);
    const writing = provider.present("_acme-challenge.elsewhere.net", "v", noSignal());
    await assert.rejects(writing, refusedAs("GATEHOUSE_DNS_REFUSED", /has no zone|has no domain|no name of DuckDNS/));
    assert.deepEqual(api.records(), []);
  });

  const troubles: [what: string, status: number, body: string, says: RegExp][] = [
    ["an error of its own", 500, "<h1>oops</h1>", /answered 500: <h1>oops/],
    ["too many requests", 429, "slow down", /answered 429: slow down/],
    ["a page for people", 200, "<html>please log in</html>", /something else than JSON|answered <html>/],
    ["an answer without end", 200, "x".repeat(2_000_000), /longer than/],
  ];
  for (const [what, status, body, says] of troubles) {
    test(`${kind}: ${what} is tried again later`, async (t) => {
      const { api, provider, name } = await open(t);
      api.failWith(status, body, { "retry-after": "120" });
      await assert.rejects(provider.present(name, "v", noSignal()), (error) => {
        refusedAs("GATEHOUSE_DNS_FAILED", says)(error);
        if (status !== 429 || !isGatehouseError(error)) return true;
        assert.ok(Math.abs((error.notBefore ?? 0) - Date.now() - 120_000) < 30_000);
        return true;
      });
      api.heal();
      await provider.present(name, "v", noSignal());
    });
  }

  test(`${kind}: where nothing listens it is tried again later; who stops waiting is let go`, async () => {
    const provider = createDnsProvider(settings("http://127.0.0.1:1", "fake-token"));
    const name = `_acme-challenge.www.${host}`;
    await assert.rejects(
      provider.present(name, "v", noSignal()),
      refusedAs("GATEHOUSE_DNS_FAILED", /could not be reached/),
    );
    const stopped = AbortSignal.abort(new Error("stopping"));
    await assert.rejects(provider.present(name, "v", stopped), /stopping/);
  });
}

test("DuckDNS: whatever lies below a name is that name, and a name of one's own goes by the domain that is set", async (t) => {
  const api = await startFakeDuckDns(t);
  const withDomain = createDnsProvider({ kind: "duckdns", token: "fake-token", domain: "myhome", url: api.url });
  await withDomain.present("_acme-challenge.example.org", "v1", noSignal());
  await withDomain.present("_acme-challenge.a.b.myhome.duckdns.org", "v2", noSignal());
  assert.deepEqual(api.records(), ["myhome TXT v2"]);
  assert.ok(api.calls.every((call) => call.includes("domains=myhome") && call.includes("verbose=true")));
});

/** A program that keeps what it was told, and does as its last argument of the configuration says. */
async function hookHome(t: TestContext): Promise<{ program: string; told: () => Promise<string[]> }> {
  const folder = await temporaryFolder(t);
  const [program, list] = [join(folder, "hook.sh"), join(folder, "told")];
  await writeFile(
    program,
    `#!/bin/sh
echo "$2 $3 $4 secret=$GATEHOUSE_TEST_SECRET" >> ${list}
case $1 in
  well) exit 0 ;;
  later) echo "first line" >&2; echo "the zone is locked" >&2; exit 75 ;;
  slow) exec sleep 60 ;;
  loud) head -c 3000000 /dev/zero >&2; exit 3 ;;
  *) echo "no such zone" >&2; exit 1 ;;
esac
`,
  );
  await chmod(program, 0o755);
  return { program, told: async () => (await readFile(list, "utf8")).trim().split("\n") };
}

test("a hook is told action, name and value, and nothing of our environment", async (t) => {
  const { program, told } = await hookHome(t);
  process.env["GATEHOUSE_TEST_SECRET"] = "x";
  t.after(() => Reflect.deleteProperty(process.env, "GATEHOUSE_TEST_SECRET"));
  const provider = createDnsProvider({ kind: "hook", command: [program, "well"], timeoutMs: 30_000 });
  await provider.present("_acme-challenge.a.test", "v; rm -rf $HOME", noSignal());
  await provider.clear("_acme-challenge.a.test", "v", noSignal());
  await provider.setAddresses("a.test", { ipv4: "192.0.2.1", ipv6: "2001:db8::1" }, noSignal());
  assert.deepEqual(await told(), [
    "present _acme-challenge.a.test v; rm -rf $HOME secret=",
    "clear _acme-challenge.a.test v secret=",
    "address a.test 192.0.2.1 secret=",
    "address a.test 2001:db8::1 secret=",
  ]);
});

const hookEnds: [word: string, code: ErrorCode, says: RegExp, timeoutMs: number][] = [
  ["badly", "GATEHOUSE_DNS_REFUSED", /exit code 1 \(it says: no such zone\)/, 30_000],
  ["later", "GATEHOUSE_DNS_FAILED", /later \(it says: the zone is locked\)/, 30_000],
  ["slow", "GATEHOUSE_DNS_FAILED", /took longer than 0\.3 s/, 300],
  ["loud", "GATEHOUSE_DNS_REFUSED", /exit code 3/, 30_000],
];
for (const [word, code, says, timeoutMs] of hookEnds) {
  test(`a hook that ends ${word} is ${code}, with its last words`, async (t) => {
    const { program } = await hookHome(t);
    const provider = createDnsProvider({ kind: "hook", command: [program, word], timeoutMs });
    await assert.rejects(provider.present("a.test", "v", noSignal()), refusedAs(code, says));
  });
}

test("a hook that is not there is told so, and one that runs is ended when we stop", async (t) => {
  const missing = createDnsProvider({ kind: "hook", command: ["/nowhere/hook"], timeoutMs: 1_000 });
  await assert.rejects(
    missing.present("a.test", "v", noSignal()),
    refusedAs("GATEHOUSE_DNS_REFUSED", /could not be started/),
  );
  const { program } = await hookHome(t);
  const slow = createDnsProvider({ kind: "hook", command: [program, "slow"], timeoutMs: 60_000 });
  const controller = new AbortController();
  const running = slow.present("a.test", "v", controller.signal);
  controller.abort(new Error("stopping"));
  await assert.rejects(running, /stopping/);
});
