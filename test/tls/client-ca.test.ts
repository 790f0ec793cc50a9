/**
 * Client certificates: what OpenSSL and GnuTLS say of them, and who is on the list after whatever happens to it.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Clock } from "../../src/core/time.ts";
import { isGatehouseError } from "../../src/core/errors.ts";
import { isAccepted, openClientCa } from "../../src/tls/client-ca.ts";
import { createLocalCa } from "../../src/tls/local-ca.ts";
import { readPkcs12 } from "../../src/tls/pkcs12.ts";
import { temporaryFolder } from "../support/gatehouse.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { needs, runProgram } from "../support/programs.ts";

const DAY_MS = 86_400_000;
const LIST = "ca/clients/list.json";
const wanted = (name: string, days = 730) => ({ name, days, password: "geheim", format: "compatible" as const });

async function files(t: TestContext, parts: Record<string, string>): Promise<(name: string) => string> {
  const folder = await temporaryFolder(t);
  for (const [name, text] of Object.entries(parts)) await writeFile(join(folder, name), text);
  return (name) => join(folder, name);
}

test(
  "OpenSSL and GnuTLS accept it for signing in, and for nothing else",
  { skip: needs("openssl") || needs("certtool", "gnutls-bin") },
  async (t) => {
    const storage = memoryStorage();
    const ca = await openClientCa({ storage });
    const { p12, record } = await ca.add(wanted("Anna phone"));
    const [leaf] = readPkcs12(p12, "geheim").certificates;
    assert.ok(leaf !== undefined);
    const local = await createLocalCa({ storage });
    const site = await local.issueLocal(["home.test"]);
    const at = await files(t, {
      "leaf.pem": leaf.toString(),
      "root.pem": ca.rootPem(),
      "site-root.pem": local.rootPem(),
      "site.pem": site.chainPem,
    });
    const openssl = async (root: string, purpose: string) =>
      (
        await runProgram("openssl", [
          "verify",
          "-x509_strict",
          "-purpose",
          purpose,
          "-CAfile",
          at(root),
          at("leaf.pem"),
        ])
      ).code === 0;
    assert.deepEqual(
      [
        await openssl("root.pem", "sslclient"),
        await openssl("root.pem", "sslserver"),
        await openssl("site-root.pem", "sslclient"),
      ],
      [true, false, false],
    );
    for (const [root, chain, purpose] of [
      ["root.pem", "leaf.pem", "1.3.6.1.5.5.7.3.2"],
      ["site-root.pem", "site.pem", "1.3.6.1.5.5.7.3.1"],
    ] as const) {
      const verify = [
        "--verify",
        "--verify-purpose",
        purpose,
        "--load-ca-certificate",
        at(root),
        "--infile",
        at(chain),
      ];
      const { code, stdout } = await runProgram("certtool", verify);
      assert.equal(code, 0, stdout);
      assert.match(stdout, /Chain verification output: Verified\. The certificate is trusted\./);
    }
    assert.equal(record.sha256, createHash("sha256").update(leaf.raw).digest("hex"));
    assert.equal(leaf.subject, "CN=Anna phone");
  },
);

test("the list survives a restart, and a revoked one stays on it as revoked", async () => {
  const storage = memoryStorage();
  const first = await openClientCa({ storage });
  await first.add(wanted("anna"));
  await first.add(wanted("ben"));
  await first.revoke("anna");
  const again = await openClientCa({ storage });
  assert.equal(again.rootPem(), first.rootPem());
  assert.deepEqual(
    (await again.list()).map((one) => [one.name, isAccepted(one, Date.now())]),
    [
      ["ben", true],
      ["anna", false],
    ],
  );
  // The name is free again, the fingerprint is another one.
  const { record } = await again.add(wanted("anna"));
  assert.equal(isAccepted(record, Date.now()), true);
});

test("two commands at once do not lose each other's device", async () => {
  const storage = memoryStorage();
  const [one, other] = await Promise.all([openClientCa({ storage }), openClientCa({ storage })]);
  assert.equal(one.rootPem(), other.rootPem());
  await Promise.all(["a", "b", "c", "d"].map((name, at) => (at % 2 === 0 ? one : other).add(wanted(name))));
  assert.deepEqual((await one.list()).map(({ name }) => name).sort(), ["a", "b", "c", "d"]);
});

test("with a list that is damaged nobody is accepted, and nothing is written over it", async () => {
  const storage = memoryStorage();
  const ca = await openClientCa({ storage });
  await ca.add(wanted("anna"));
  for (const damage of ["", "{", '{"clients":[{}]}', '{"clients":[{"name":"a\\"","sha256":"00"}]}', "null"]) {
    await storage.write(LIST, damage);
    const isSaid = (error: unknown) => isGatehouseError(error, "GATEHOUSE_STORAGE_FAILED");
    await assert.rejects(ca.list(), isSaid);
    await assert.rejects(ca.add(wanted("ben")), isSaid);
    assert.equal((await storage.read(LIST))?.toString(), damage);
  }
});

const names: [name: string, isTaken: boolean][] = [
  ["anna-phone", true],
  ["Anna's phone", false],
  ["a", true],
  ["anna@home.test", true],
  ["x".repeat(64), true],
  ["x".repeat(65), false],
  ["", false],
  [" anna", false],
  ["anna;Subject=root", false],
  ['anna"', false],
  ["anna\r\nx: y", false],
  ["안나", false],
];

for (const [name, isTaken] of names) {
  test(`${JSON.stringify(name).slice(0, 40)} ${isTaken ? "can" : "cannot"} be the name of a device`, async () => {
    const ca = await openClientCa({ storage: memoryStorage() });
    const added = ca.add(wanted(name));
    if (isTaken) await added;
    else await assert.rejects(added, (error) => isGatehouseError(error, "GATEHOUSE_REQUEST_REFUSED"));
  });
}

test("a second one of the same name is refused while the first is in force, and taken after it has ended", async () => {
  const now = { at: Date.now() };
  const clock: Clock = { now: () => now.at };
  const ca = await openClientCa({ storage: memoryStorage(), clock });
  await ca.add(wanted("anna", 10));
  await assert.rejects(ca.add(wanted("anna")), (error) => isGatehouseError(error, "GATEHOUSE_REQUEST_REFUSED"));
  now.at += 11 * DAY_MS;
  await ca.add(wanted("anna"));
  await assert.rejects(ca.revoke("ben"), (error) => isGatehouseError(error, "GATEHOUSE_REQUEST_REFUSED"));
});
