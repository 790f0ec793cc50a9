/**
 * Certificate files of somebody else: what is taken, what is not, and that the last good pair stays.
 */
import assert from "node:assert/strict";
import { mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, before, test } from "node:test";
import type { CertificateBundle } from "../../src/storage/bundles.ts";
import { createWatchedFiles } from "../../src/tls/watched-files.ts";
import { type Issued, makeCa } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { temporaryFolder } from "../support/gatehouse.ts";

let first: Issued;
let second: Issued;
let foreign: Issued;
before(async () => {
  const ca = await makeCa({ intermediate: true });
  first = await ca.issue({ names: ["a.test"] });
  second = await ca.issue({ names: ["a.test", "b.test"] });
  foreign = await ca.issue({ names: ["x.test"] });
});

async function watch(t: TestContext, lay: (folder: string) => Promise<void>) {
  const folder = await temporaryFolder(t);
  const pair = { cert: join(folder, "cert.pem"), key: join(folder, "key.pem") };
  await lay(folder);
  const taken: CertificateBundle[] = [];
  const refused: [message: string, isServing: boolean][] = [];
  const files = createWatchedFiles({
    taken: (bundle) => void taken.push(bundle),
    refused: (_, { message }, isServing) => void refused.push([message, isServing]),
    now: () => Date.now(),
    everyMs: 5,
  });
  t.after(() => files.stop());
  await files.apply(new Map([["a.test", pair]]));
  return { folder, pair, files, taken, refused };
}

async function write(folder: string, cert: string, key: string): Promise<void> {
  await writeFile(join(folder, "cert.pem"), cert);
  await writeFile(join(folder, "key.pem"), key);
}

test("a pair is there when apply resolves, and a changed one comes by itself, whichever file is written first", async (t) => {
  const { folder, files, taken, refused } = await watch(t, (at) => write(at, first.chainPem, first.keyPem));
  assert.equal(files.bundle("a.test")?.chainPem, first.chainPem);
  await write(folder, second.chainPem, second.keyPem);
  await eventually("the second pair", () => files.bundle("a.test")?.chainPem === second.chainPem, 30_000);
  await writeFile(join(folder, "key.pem"), first.keyPem);
  await eventually("half a change is a problem", () => files.problem("a.test") !== undefined, 30_000);
  assert.equal(files.bundle("a.test")?.chainPem, second.chainPem, "the last whole pair stays");
  await writeFile(join(folder, "cert.pem"), first.chainPem);
  await eventually("the first pair again", () => files.bundle("a.test")?.chainPem === first.chainPem, 30_000);
  assert.equal(files.problem("a.test"), undefined);
  assert.ok(taken.length >= 3);
  assert.ok(refused.every(([, isServing]) => isServing));
});

const wrong: [title: string, lay: (folder: string) => Promise<void>, why: RegExp][] = [
  ["no files", async () => {}, /ENOENT.*(?:cert|key)\.pem/],
  ["no key", (at) => writeFile(join(at, "cert.pem"), first.chainPem), /ENOENT.*key\.pem/],
  ["the key of another", (at) => write(at, first.chainPem, second.keyPem), /not the key of any certificate/],
  ["another name", (at) => write(at, foreign.chainPem, foreign.keyPem), /cert\.pem: the certificate is for x\.test/],
  ["rubbish", (at) => write(at, "rubbish", "rubbish"), /no certificate/],
  ["a file cut short", (at) => write(at, first.chainPem.slice(0, 300), first.keyPem), /no certificate/],
  ["a folder", (at) => mkdir(join(at, "cert.pem")), /EISDIR|ENOENT/],
  ["a file without end", (at) => write(at, "x".repeat(1_048_577), first.keyPem), /1048577 bytes/],
];

for (const [title, lay, why] of wrong) {
  test(`${title}: nothing is served, the reason is said once, and the pair is taken when it comes`, async (t) => {
    const { folder, files, taken, refused } = await watch(t, lay);
    assert.equal(files.bundle("a.test"), undefined);
    assert.match(files.problem("a.test")?.error.message ?? "", why);
    await eventually("it is said", () => refused.length > 0, 30_000);
    assert.match(refused[0]?.[0] ?? "", why);
    assert.equal(refused[0]?.[1], false);
    await rm(join(folder, "cert.pem"), { recursive: true, force: true });
    await write(folder, first.chainPem, first.keyPem);
    await eventually("it is taken", () => taken.length === 1, 30_000);
    assert.equal(files.problem("a.test"), undefined);
    assert.ok(refused.length <= 3, "not at every look");
  });
}

test("links are followed, as certbot renews: a new target is a change", async (t) => {
  const { folder, files } = await watch(t, async (at) => {
    for (const [version, one] of [["1", first] as const, ["2", second] as const]) {
      await mkdir(join(at, version));
      await write(join(at, version), one.chainPem, one.keyPem);
    }
    for (const file of ["cert.pem", "key.pem"]) await symlink(join("1", file), join(at, file));
  });
  assert.equal(files.bundle("a.test")?.chainPem, first.chainPem);
  for (const file of ["cert.pem", "key.pem"]) {
    await symlink(join("2", file), join(folder, `${file}.new`));
    await rename(join(folder, `${file}.new`), join(folder, file));
  }
  await eventually("the new target", () => files.bundle("a.test")?.chainPem === second.chainPem, 30_000);
});

test("a name that is no longer there is forgotten, and one whose paths change is read anew", async (t) => {
  const { folder, files } = await watch(t, (at) => write(at, first.chainPem, first.keyPem));
  const other = join(folder, "other");
  await mkdir(other);
  await files.apply(new Map([["a.test", { cert: join(other, "cert.pem"), key: join(other, "key.pem") }]]));
  assert.equal(files.bundle("a.test")?.chainPem, first.chainPem, "until the new files are whole");
  await write(other, second.chainPem, second.keyPem);
  await eventually("the other pair", () => files.bundle("a.test")?.chainPem === second.chainPem, 30_000);
  await files.apply(new Map());
  assert.deepEqual([files.has("a.test"), files.bundle("a.test")], [false, undefined]);
});
