/**
 * What a person brings: in which order it may come, and by which name each mistake is called.
 */
import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { cp, mkdir, symlink, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import { type ErrorCode, GatehouseError, isGatehouseError } from "../../src/core/errors.ts";
import { readFolder } from "../../src/tls/import-folder.ts";
import { pairFromPem } from "../../src/tls/import-pair.ts";
import { pemCertificates } from "../../src/tls/pem.ts";
import { type Issued, makeCa } from "../support/certificates.ts";
import { temporaryFolder } from "../support/gatehouse.ts";

let whole: Issued;
let other: Issued;
before(async () => {
  const ca = await makeCa({ intermediate: true });
  whole = await ca.issue({ names: ["a.test", "*.a.test"] });
  other = await ca.issue({ names: ["b.test"] });
});

const leafOf = ({ chainPem }: Issued): string => pemCertificates(chainPem)[0]?.toString() ?? "";
const upper = ({ chainPem }: Issued): string => pemCertificates(chainPem)[1]?.toString() ?? "";
const encrypted = ({ keyPem }: Issued, passphrase: string): string =>
  createPrivateKey(keyPem).export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase }).toString();

const orders: [title: string, texts: () => string[], password?: string][] = [
  ["key and chain in two files", () => [whole.keyPem, whole.chainPem]],
  ["one file, the key last", () => [whole.chainPem + whole.keyPem]],
  ["the chain in the wrong order, the root with it", () => [whole.caPem + upper(whole) + leafOf(whole), whole.keyPem]],
  ["somebody else's certificates among them", () => [other.chainPem, whole.chainPem, whole.keyPem]],
  ["words between the blocks", () => [`Bag Attributes\n  x: 1\n${whole.keyPem}subject=a\r\n${whole.chainPem}\nend`]],
  ["an encrypted key", () => [encrypted(whole, "geheim"), whole.chainPem], "geheim"],
  [
    "a key as OpenSSL wrote it once",
    () => [createPrivateKey(whole.keyPem).export({ type: "sec1", format: "pem" }).toString(), whole.chainPem],
  ],
];

for (const [title, texts, password] of orders) {
  test(`a pair is found: ${title}`, () => {
    const pair = pairFromPem(texts(), { password, isAlone: false });
    assert.equal(pair.keyPem, whole.keyPem);
    assert.deepEqual(pair.names, ["a.test", "*.a.test"]);
    assert.deepEqual(
      pemCertificates(pair.chainPem).map(({ fingerprint256 }) => fingerprint256),
      pemCertificates(whole.chainPem).map(({ fingerprint256 }) => fingerprint256),
      "leaf first, and no root",
    );
  });
}

const mistakes: [title: string, texts: () => string[], code: ErrorCode, password?: string][] = [
  ["another key", () => [other.keyPem, whole.chainPem], "GATEHOUSE_IMPORT_KEY"],
  ["no key", () => [whole.chainPem], "GATEHOUSE_IMPORT_KEY"],
  ["two keys", () => [whole.keyPem, other.keyPem, whole.chainPem], "GATEHOUSE_IMPORT_KEY"],
  ["no certificate", () => [whole.keyPem], "GATEHOUSE_IMPORT_UNREADABLE"],
  ["nothing at all", () => ["hello"], "GATEHOUSE_IMPORT_UNREADABLE"],
  [
    "a certificate of rubbish",
    () => [whole.keyPem, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"],
    "GATEHOUSE_IMPORT_UNREADABLE",
  ],
  [
    "a key of rubbish",
    () => ["-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", whole.chainPem],
    "GATEHOUSE_IMPORT_UNREADABLE",
  ],
  ["the leaf without its chain", () => [whole.keyPem, leafOf(whole)], "GATEHOUSE_IMPORT_CHAIN"],
  ["the chain of another", () => [whole.keyPem, leafOf(whole), whole.caPem], "GATEHOUSE_IMPORT_CHAIN"],
  ["an encrypted key and no password", () => [encrypted(whole, "geheim"), whole.chainPem], "GATEHOUSE_IMPORT_PASSWORD"],
  [
    "an encrypted key and a wrong password",
    () => [encrypted(whole, "geheim"), whole.chainPem],
    "GATEHOUSE_IMPORT_PASSWORD",
    "x",
  ],
];

for (const [title, texts, code, password] of mistakes) {
  test(`${code} is what it is called: ${title}`, () => {
    assert.throws(
      () => pairFromPem(texts(), { password, isAlone: false }),
      (error) => isGatehouseError(error, code) && error.hint !== undefined,
    );
  });
}

test("a leaf without its chain is taken when that is wanted", () => {
  const pair = pairFromPem([whole.keyPem, leafOf(whole)], { isAlone: true });
  assert.equal(pemCertificates(pair.chainPem).length, 1);
});

/** As certbot leaves it: links from live into archive, and a renewal file per name. */
async function certbotFolder(folder: string): Promise<void> {
  for (const [name, one] of [["a.test", whole] as const, ["b.test", other] as const]) {
    await mkdir(join(folder, "archive", name), { recursive: true });
    await mkdir(join(folder, "live", name), { recursive: true });
    await mkdir(join(folder, "renewal"), { recursive: true });
    const files = { cert: leafOf(one), chain: upper(one), fullchain: one.chainPem, privkey: one.keyPem };
    for (const [file, text] of Object.entries(files)) {
      await writeFile(join(folder, "archive", name, `${file}3.pem`), text);
      await symlink(join("..", "..", "archive", name, `${file}3.pem`), join(folder, "live", name, `${file}.pem`));
    }
    const conf = `version = 2.1.0\narchive_dir = /etc/letsencrypt/archive/${name}\n[renewalparams]\nserver = https://ca.test/dir\n`;
    await writeFile(join(folder, "renewal", `${name}.conf`), conf);
  }
  await writeFile(join(folder, "live", "README"), "This directory contains your keys and certificates.\n");
}

test("certbot's folder: every name it keeps, with its CA; a copy of it as well, and one name alone", async (t) => {
  const folder = await temporaryFolder(t);
  await certbotFolder(folder);
  const facts = async (path: string) =>
    (await readFolder(path, { isAlone: false })).map(({ label, ca, read }) => [
      label,
      ca,
      "names" in read && read.names[0],
    ]);
  const expected = [
    ["a.test", "https://ca.test/dir", "a.test"],
    ["b.test", "https://ca.test/dir", "b.test"],
  ];
  assert.deepEqual(await facts(folder), expected);
  const copy = join(await temporaryFolder(t), "copy");
  await cp(folder, copy, { recursive: true, verbatimSymlinks: true });
  assert.deepEqual(await facts(copy), expected);
  assert.deepEqual(await facts(join(folder, "live", "b.test")), [["b.test", undefined, "b.test"]]);
});

test("one name of certbot's whose link leads nowhere does not take the others along", async (t) => {
  const folder = await temporaryFolder(t);
  await certbotFolder(folder);
  await unlink(join(folder, "archive", "a.test", "privkey3.pem"));
  const [broken, good] = await readFolder(folder, { isAlone: false });
  assert.ok(broken?.read instanceof GatehouseError);
  assert.equal(broken.read.code, "GATEHOUSE_IMPORT_UNREADABLE");
  assert.match(broken.read.message, /privkey\.pem cannot be read: ENOENT/);
  assert.ok(good !== undefined && "names" in good.read);
});

test("Caddy's folder: each CA's names, from the data folder and from certificates itself", async (t) => {
  const folder = await temporaryFolder(t);
  const place = join(folder, "certificates", "ca.test-dir", "wildcard_.a.test");
  await mkdir(place, { recursive: true });
  const stem = join(place, "wildcard_.a.test");
  await writeFile(`${stem}.crt`, whole.chainPem);
  await writeFile(`${stem}.key`, createPrivateKey(whole.keyPem).export({ type: "sec1", format: "pem" }));
  await writeFile(`${stem}.json`, JSON.stringify({ sans: ["*.a.test"], issuer_data: { ca: "https://ca.test/dir" } }));
  for (const path of [folder, join(folder, "certificates")]) {
    const found = await readFolder(path, { isAlone: false });
    assert.deepEqual(
      found.map(({ label, ca, read }) => [label, ca, "names" in read && read.names]),
      [["ca.test-dir/wildcard_.a.test", "https://ca.test/dir", ["a.test", "*.a.test"]]],
    );
  }
});

test("a folder of another kind is refused with the places where those programs keep theirs", async (t) => {
  const folder = await temporaryFolder(t);
  await assert.rejects(
    readFolder(folder, { isAlone: false }),
    (error) => isGatehouseError(error, "GATEHOUSE_IMPORT_UNREADABLE") && /etc\/letsencrypt/.test(error.hint ?? ""),
  );
});
