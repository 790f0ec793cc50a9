/**
 * Certificates on disk: what a power cut, a crash or a hand in the folder leaves must never be served as it is, and never
 * be the end of a certificate that worked.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, readFile, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, before, test } from "node:test";
import { isGatehouseError } from "../../src/core/errors.ts";
import { type CertificateBundle, createBundleStore } from "../../src/storage/bundles.ts";
import { checkBundle } from "../../src/storage/check-bundle.ts";
import type { Storage } from "../../src/storage/contract.ts";
import { createFileStorage } from "../../src/storage/files.ts";
import { type TestCa, makeCa } from "../support/certificates.ts";
import { temporaryFolder } from "../support/gatehouse.ts";

const NAME = "a.test";
let ca: TestCa;
let first: CertificateBundle;
let second: CertificateBundle;
before(async () => {
  ca = await makeCa({ intermediate: true });
  first = await ca.issueBundle({ names: [NAME] });
  second = await ca.issueBundle({ names: [NAME] });
});

interface Opened {
  folder: string;
  storage: Storage;
  damage: string[];
  store: ReturnType<typeof createBundleStore>;
}

async function open(t: TestContext): Promise<Opened> {
  const folder = await temporaryFolder(t);
  const storage = await createFileStorage(folder);
  const damage: string[] = [];
  const store = createBundleStore(storage, (name, generation, reason) =>
    damage.push(`${name} ${generation} ${reason}`),
  );
  return { folder, storage, damage, store };
}

const generationsOf = async (folder: string, name = NAME): Promise<string[]> =>
  (await readdir(join(folder, "certs", name))).filter((each) => each !== "current").sort();

test("a bundle comes back as it was saved, and the newest one is the one", async (t) => {
  const { store, damage } = await open(t);
  assert.equal(await store.load(NAME), undefined);
  await store.save(first);
  assert.deepEqual(await store.load(NAME), first);
  await store.save(second);
  assert.deepEqual(await store.load(NAME), second);
  assert.deepEqual(damage, []);
});

test("wildcards and the longest names are stored under themselves and listed", async (t) => {
  const { store } = await open(t);
  const longest = `${"a".repeat(61)}.${"b".repeat(61)}.${"c".repeat(61)}.${"d".repeat(61)}.test`;
  for (const name of ["*.lab.test", longest, NAME]) {
    const bundle = await ca.issueBundle({ names: [name] });
    await store.save(bundle);
    assert.deepEqual(await store.load(name), bundle);
  }
  assert.deepEqual(await store.list(), ["*.lab.test", NAME, longest].sort());
});

test("two older generations are kept, no more", async (t) => {
  const { store, folder } = await open(t);
  const bundles = await Promise.all(Array.from({ length: 5 }, () => ca.issueBundle({ names: [NAME] })));
  for (const bundle of bundles) await store.save(bundle);
  const left = await generationsOf(folder);
  assert.equal(left.length, 3);
  assert.deepEqual(
    left.map((each) => each.slice(0, 8)),
    ["00000003", "00000004", "00000005"],
  );
  assert.deepEqual(await store.load(NAME), bundles[4]);
});

test("a file torn at every 64 bytes: the older generation serves and the damage is told", async (t) => {
  const { store, folder, damage } = await open(t);
  await store.save(first);
  await store.save(second);
  const newest = (await generationsOf(folder)).at(-1) ?? "";
  for (const file of ["key.pem", "chain.pem", "meta.json"]) {
    const path = join(folder, "certs", NAME, newest, file);
    const whole = await readFile(path);
    for (let size = 0; size < whole.length; size += 64) {
      await truncate(path, size);
      damage.length = 0;
      assert.equal((await store.load(NAME))?.serial, first.serial, `${file} at ${size}`);
      assert.equal(damage.length, 1, `${file} at ${size}`);
      assert.match(damage[0] ?? "", new RegExp(`^${NAME} ${newest} (key|chain|meta)`));
      await writeFile(path, whole);
    }
    await rm(path);
    assert.equal((await store.load(NAME))?.serial, first.serial);
    assert.match(damage.at(-1) ?? "", new RegExp(`${file} is missing`));
    await writeFile(path, whole);
  }
  damage.length = 0;
  assert.equal((await store.load(NAME))?.serial, second.serial);
  assert.deepEqual(damage, []);
});

const brokenPointers: [why: string, text: string | undefined][] = [
  ["is empty", ""],
  ["was cut", "00000"],
  ["is missing", undefined],
  ["points out of the folder", "../../other"],
  ["points at nothing", "00000009-00000000"],
];

for (const [why, text] of brokenPointers) {
  test(`a pointer that ${why}: the newest whole generation serves and it is told`, async (t) => {
    const { store, folder, damage } = await open(t);
    await store.save(first);
    await store.save(second);
    const path = join(folder, "certs", NAME, "current");
    if (text === undefined) await rm(path);
    else await writeFile(path, text);
    assert.equal((await store.load(NAME))?.serial, second.serial);
    assert.equal(damage.length, 1);
  });
}

test("a key of another generation is damage, even where its digest was made to fit", async (t) => {
  const { store, folder, damage } = await open(t);
  await store.save(first);
  await store.save(second);
  const [older = "", newer = ""] = await generationsOf(folder);
  const file = (generation: string, name: string) => join(folder, "certs", NAME, generation, name);
  await cp(file(older, "key.pem"), file(newer, "key.pem"));
  assert.equal((await store.load(NAME))?.serial, first.serial);
  assert.match(damage.join(), /key\.pem is not what was written/);

  type Meta = { sha256: { key: string } };
  const meta = JSON.parse(await readFile(file(newer, "meta.json"), "utf8")) as Meta;
  meta.sha256.key = (JSON.parse(await readFile(file(older, "meta.json"), "utf8")) as Meta).sha256.key;
  await writeFile(file(newer, "meta.json"), JSON.stringify(meta));
  damage.length = 0;
  assert.equal((await store.load(NAME))?.serial, first.serial);
  assert.match(damage.join(), /the key is not the key of the certificate/);
});

test("with every generation damaged there is no bundle, and each is told", async (t) => {
  const { store, folder, damage } = await open(t);
  await store.save(first);
  await store.save(second);
  for (const generation of await generationsOf(folder)) {
    await writeFile(join(folder, "certs", NAME, generation, "chain.pem"), "");
  }
  assert.equal(await store.load(NAME), undefined);
  assert.equal(damage.length, 2);
  await store.save(second);
  assert.equal((await store.load(NAME))?.serial, second.serial);
});

test("a crash before any step of a save leaves the bundle before it, and the next save goes through", async (t) => {
  for (let step = 1; step <= 4; step++) {
    const { store, storage, damage } = await open(t);
    await store.save(first);
    let writes = 0;
    const dying: Storage = {
      ...storage,
      async write(key, bytes) {
        if (++writes === step) throw new Error("power cut");
        await storage.write(key, bytes);
      },
    };
    await assert.rejects(createBundleStore(dying).save(second), /power cut/);
    assert.equal((await store.load(NAME))?.serial, first.serial, `step ${step}`);
    assert.deepEqual(damage, [], `step ${step}: what never became current is no damage`);
    await store.save(second);
    assert.equal((await store.load(NAME))?.serial, second.serial, `step ${step}`);
  }
});

test("a process killed in the middle of saving, again and again, leaves one of its bundles whole and no damage", async (t) => {
  const { store, folder, damage } = await open(t);
  await store.save(first);
  const modules = ["files", "bundles"].map((each) => new URL(`../../src/storage/${each}.ts`, import.meta.url).href);
  const program = `
    const [{ createFileStorage }, { createBundleStore }] = await Promise.all(process.argv.slice(2).map((each) => import(each)));
    const store = createBundleStore(await createFileStorage(process.argv[1]));
    const bundles = JSON.parse(await new Response(process.stdin).text());
    for (let round = 0; ; round++) {
      await store.save(bundles[round % bundles.length]);
      process.stdout.write("saved\\n");
    }`;
  for (let saves = 1; saves <= 5; saves++) {
    const child = spawn(process.execPath, ["--input-type=module", "-e", program, folder, ...modules], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    t.after(() => child.kill("SIGKILL"));
    child.stdin.end(JSON.stringify([second, first]));
    let left = saves;
    child.stdout.on("data", (chunk: Buffer) => {
      left -= chunk.toString().split("\n").length - 1;
      if (left <= 0) child.kill("SIGKILL");
    });
    await once(child, "close");
    assert.ok(left <= 0, "it was to be killed while saving");
    assert.ok([first.serial, second.serial].includes((await store.load(NAME))?.serial ?? ""));
    assert.deepEqual(damage, []);
  }
});

test("a disk that fails on the new generation does not hide the old one; failing on all is told as what it is", async (t) => {
  const { store, storage, folder } = await open(t);
  await store.save(first);
  await store.save(second);
  const newest = (await generationsOf(folder)).at(-1) ?? "";
  const failing = (matches: (key: string) => boolean): Storage => ({
    ...storage,
    read: (key) => (matches(key) ? Promise.reject(new Error("EIO")) : storage.read(key)),
  });
  const some = createBundleStore(failing((key) => key.includes(newest)));
  assert.equal((await some.load(NAME))?.serial, first.serial);
  const all = createBundleStore(failing((key) => key.endsWith(".pem")));
  await assert.rejects(all.load(NAME), /EIO/);
});

test("a bundle that does not fit together is not stored", async (t) => {
  const { store, folder } = await open(t);
  await store.save(first);
  for (const wrong of [
    { ...second, keyPem: first.keyPem },
    { ...second, chainPem: "" },
    { ...second, chainPem: second.chainPem.slice(0, 700) },
    { ...second, name: "b.test" },
    { ...second, keyPem: "" },
  ]) {
    await assert.rejects(store.save(wrong), (error) => isGatehouseError(error, "GATEHOUSE_BUNDLE_DAMAGED"));
  }
  assert.deepEqual(await store.list(), [NAME]);
  assert.equal((await generationsOf(folder)).length, 1);
  for (const name of ["../x", "a/b", ""]) await assert.rejects(store.save({ ...second, name }), /cannot be the name/);
});

test("readers among writers always get a whole bundle of one of them", async (t) => {
  const { store, storage } = await open(t);
  await store.save(first);
  const rival = createBundleStore(storage);
  const mine = await Promise.all(Array.from({ length: 6 }, () => ca.issueBundle({ names: [NAME] })));
  const theirs = await Promise.all(Array.from({ length: 6 }, () => ca.issueBundle({ names: [NAME] })));
  const keyOf = new Map([first, ...mine, ...theirs].map((bundle) => [bundle.serial, bundle.keyPem]));
  const saveAll = async (by: typeof store, bundles: CertificateBundle[]) => {
    for (const bundle of bundles) await by.save(bundle);
  };
  const writing = new AbortController();
  const writers = Promise.all([saveAll(store, mine), saveAll(rival, theirs)]).finally(() => writing.abort());
  let loads = 0;
  while (!writing.signal.aborted) {
    const bundle = await createBundleStore(storage).load(NAME);
    assert.equal(bundle?.keyPem, keyOf.get(bundle?.serial ?? ""));
    loads++;
  }
  await writers;
  assert.ok(loads > 5);
  const last = await store.load(NAME);
  assert.ok([mine.at(-1)?.serial, theirs.at(-1)?.serial].includes(last?.serial), "the last save of one of them");
});

const nameCases: [names: string[], name: string, fits: boolean][] = [
  [["a.test"], "a.test", true],
  [["A.Test"], "a.test", true],
  [["b.test", "a.test"], "a.test", true],
  [["*.lab.test"], "x.lab.test", true],
  [["*.lab.test"], "*.lab.test", true],
  [["*.lab.test"], "x.y.lab.test", false],
  [["*.lab.test"], "lab.test", false],
  [["x.lab.test"], "*.lab.test", false],
  [["*.test"], "*.lab.test", false],
  [["a.test.evil.test"], "a.test", false],
];

for (const [names, name, fits] of nameCases) {
  test(`a certificate for ${names.join(", ")} ${fits ? "fits" : "does not fit"} the site ${name}`, async () => {
    const { keyPem, chainPem } = await ca.issue({ names });
    assert.equal("facts" in checkBundle(name, keyPem, chainPem), fits);
  });
}

test("expired and not yet valid certificates are whole: a wrong date beats no connection", async () => {
  for (const days of [-400, 400]) {
    const notBefore = new Date(Date.now() + days * 86_400_000);
    const { keyPem, chainPem } = await ca.issue({ names: [NAME], notBefore, days: 30 });
    assert.ok("facts" in checkBundle(NAME, keyPem, chainPem));
  }
});

test("a chain in the wrong order, of strangers, doubled or endless is refused", async () => {
  const stranger = await makeCa({ intermediate: true });
  const { chainPem: other } = await stranger.issue({ names: [NAME] });
  const [leaf = "", middle = ""] = first.chainPem.split(/(?<=-----END CERTIFICATE-----\n)/);
  const otherMiddle = other.split(/(?<=-----END CERTIFICATE-----\n)/)[1] ?? "";
  const reasonOf = (chainPem: string) => {
    const check = checkBundle(NAME, first.keyPem, chainPem);
    return "reason" in check ? check.reason : "fits";
  };
  assert.equal(reasonOf(leaf + middle), "fits");
  assert.equal(reasonOf(leaf), "fits");
  assert.match(reasonOf(middle + leaf), /not the key/);
  assert.match(reasonOf(leaf + otherMiddle), /certificate 1 of the chain was not issued by the next/);
  assert.match(reasonOf(leaf + leaf), /not issued by the next/);
  assert.match(reasonOf(leaf + middle.repeat(20)), /holds 21 certificates/);
  assert.match(reasonOf("x".repeat(200_000)), /longer than any chain/);
  assert.match(reasonOf(leaf.replace(/\n.{10}/, "\n")), /cannot be read/);
  assert.match(reasonOf(""), /no certificate/);
});
