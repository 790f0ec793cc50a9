/**
 * Certificates by hand: the verbs against a running Gatehouse and a real ACME CA (Debian's pebble).
 */
import assert from "node:assert/strict";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { configText, startGatehouse, temporaryFolder, type CliResult } from "../support/gatehouse.ts";
import { needsPebble, startPebble } from "../support/pebble.ts";
import { freePort } from "../support/target.ts";

const HOME = "home.example.org";
const NAS = "nas.example.org";

const json = ({ stdout }: CliResult) => JSON.parse(stdout) as Record<string, unknown>;

/** A Gatehouse with a pebble for it, and certificates for both names. */
async function aHome(t: TestContext) {
  const folder = await temporaryFolder(t);
  const httpPort = await freePort();
  const pebble = await startPebble(t, { httpPort });
  await writeFile(join(folder, "ca.pem"), pebble.caPem);
  const config = (names: readonly string[]) =>
    configText(
      folder,
      `acme: { ca: "${pebble.directoryUrl}", caRoots: "file:${join(folder, "ca.pem")}", email: me@example.org }
sites: { ${names.map((name) => `${name}: demo`).join(", ")} }
`,
    ).replace('http: "127.0.0.1:0"', `http: "127.0.0.1:${httpPort}"`);
  const gatehouse = await startGatehouse(t, { folder, config: config([HOME, NAS]) });
  for (const name of [HOME, NAS]) {
    await gatehouse.line("certificate.issued", (line) => line["name"] === name, 60_000);
  }
  return { folder, pebble, config, gatehouse };
}

test("issue keeps what is valid, renew and --force order, and the steps are told", { skip: needsPebble }, async (t) => {
  const { pebble, gatehouse } = await aHome(t);
  const orders = pebble.orders();
  const kept = await gatehouse.cli("issue", HOME);
  assert.equal(kept.code, 0, kept.stderr);
  assert.match(kept.stdout, /home\.example\.org: the one of Pebble .* is valid until .* not due; --force/);
  assert.equal(pebble.orders(), orders);

  // Pebble reuses a proof now and then: then there is no such step.
  const aLook = /… home\.example\.org by http-01 \(.+\): the CA will be asked to look\n/;
  let renewals = 0;
  let told = "";
  while (renewals < 3 && !aLook.test(told)) {
    const renewed = await gatehouse.cli("renew", HOME);
    renewals++;
    assert.equal(renewed.code, 0, renewed.stderr);
    assert.match(renewed.stdout, /^home\.example\.org: issued by Pebble .*, valid until \d{4}-/);
    told = renewed.stderr;
    assert.match(told, /… certificate ordered\n/);
  }
  assert.match(told, aLook);
  assert.equal(pebble.orders(), orders + renewals);

  const forced = json(await gatehouse.cli("issue", "--all", "--force", "--json"));
  const results = forced["results"] as { name: string; outcome: string }[];
  assert.deepEqual(
    results.map(({ name, outcome }) => [name, outcome]),
    [NAS, HOME].map((name) => [name, "issued"]),
    "least time left first",
  );
  assert.equal(pebble.orders(), orders + renewals + 2);

  const idle = await gatehouse.cli("auto-renew");
  assert.equal(idle.code, 0);
  assert.match(idle.stderr, /^nothing is due; the next one is in \d+d/);
  assert.equal((await gatehouse.cli("issue", "other.example.org")).code, 65);
  assert.equal((await gatehouse.cli("issue")).code, 1);
});

test("revoke tells the CA, and a new certificate with a new key takes its place", { skip: needsPebble }, async (t) => {
  const { pebble, gatehouse } = await aHome(t);
  const before = json(await gatehouse.cli("show", HOME, "--json"));
  assert.equal(await pebble.statusOf(String(before["serial"])), "Valid");
  const done = await gatehouse.cli("revoke", HOME, "--reason", "keyCompromise");
  assert.equal(done.code, 0, done.stderr);
  assert.match(done.stdout, /is revoked at its CA \(keyCompromise\)\n.*a new one with a new key serves/);
  assert.equal(await pebble.statusOf(String(before["serial"])), "Revoked");
  const after = json(await gatehouse.cli("show", HOME, "--json"));
  assert.notEqual(after["serial"], before["serial"]);
  const keyOf = (shown: Record<string, unknown>) => (shown["chain"] as { keySha256: string }[])[0]?.keySha256;
  assert.notEqual(keyOf(after), keyOf(before));
  assert.equal(after["isRevoked"], false);
  assert.equal(await pebble.statusOf(String(after["serial"])), "Valid");
  assert.equal((await gatehouse.cli("revoke", HOME, "--reason", "boredom")).code, 1);
});

test(
  "a disabled name is not ordered for, over restarts, until it is issued by hand",
  { skip: needsPebble },
  async (t) => {
    const { folder, pebble, config, gatehouse } = await aHome(t);
    assert.equal((await gatehouse.cli("disable", NAS)).code, 0);
    const orders = pebble.orders();
    assert.equal((await gatehouse.cli("revoke", NAS)).code, 0);
    assert.equal(pebble.orders(), orders, "no new one for a disabled name");
    const listed = json(await gatehouse.cli("ls", "--json"))["certificates"] as Record<string, unknown>[];
    const nas = listed.find(({ name }) => name === NAS);
    assert.deepEqual([nas?.["isDisabled"], nas?.["isRevoked"], nas?.["nextTry"]], [true, true, null]);
    await gatehouse.stop();

    const again = await startGatehouse(t, { folder, config: config([HOME, NAS]) });
    assert.match((await again.cli("disable", NAS)).stderr, /was disabled before/);
    assert.equal(pebble.orders(), orders);
    const issued = await again.cli("issue", NAS);
    assert.equal(issued.code, 0, issued.stderr);
    assert.match(issued.stdout, /nas\.example\.org: issued by/);
  },
);

test("cleanup removes what names left behind that the file no longer has", { skip: needsPebble }, async (t) => {
  const { folder, config, gatehouse } = await aHome(t);
  assert.match((await gatehouse.cli("cleanup")).stderr, /nothing to clean up/);
  await writeFile(gatehouse.configFile, config([HOME]));
  assert.equal((await gatehouse.cli("reload")).code, 0);
  const planned = json(await gatehouse.cli("cleanup", "--dry-run", "--json"))["removed"] as { name: string }[];
  assert.deepEqual(
    planned.map(({ name }) => name),
    [NAS],
  );
  assert.deepEqual((await readdir(join(folder, "state/certs"))).sort(), [HOME, NAS]);
  const done = await gatehouse.cli("cleanup");
  assert.match(done.stdout, /^nas\.example\.org: \d+ files removed, a certificate until .* among them\n$/);
  assert.deepEqual(await readdir(join(folder, "state/certs")), [HOME]);
  assert.equal(json(await gatehouse.cli("show", HOME, "--json"))["state"], "valid");
});

test(
  "show, report and acme account tell what is there, and the account's key can be changed",
  { skip: needsPebble },
  async (t) => {
    const { gatehouse } = await aHome(t);
    const shown = await gatehouse.cli("show", HOME);
    assert.match(shown.stdout, /^home\.example\.org\n  names +home\.example\.org\n  state +valid\n/);
    assert.match(shown.stdout, /key +ECDSA prime256v1\n +SHA-256 +(?:[0-9A-F]{2}:){31}[0-9A-F]{2}\n/);
    assert.match(shown.stdout, /next in chain +signed it\nabove it, 1\n/);
    const report = json(await gatehouse.cli("report", "--json"))["certificates"] as Record<string, unknown>[];
    assert.deepEqual(
      report.map(({ challenge, ca }) => [challenge, String(ca).endsWith("/dir")]),
      [
        ["http-01", true],
        ["http-01", true],
      ],
    );
    assert.equal((await gatehouse.cli("report", "other.example.org")).code, 65);

    const accounts = async (...more: string[]) =>
      json(await gatehouse.cli("acme", "account", "--json", ...more))["accounts"] as Record<string, unknown>[];
    const [account] = await accounts();
    assert.match(String(account?.["url"]), /my-account/);
    assert.equal(account?.["email"], "me@example.org");
    assert.deepEqual(await accounts("--roll-over"), [account]);
    assert.equal((await gatehouse.cli("renew", HOME)).code, 0, "the account goes on with its new key");
  },
);
