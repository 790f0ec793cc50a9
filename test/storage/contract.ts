/**
 * The promises of src/storage/contract.ts, to be run against every store that claims to keep them.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { type TestContext, test } from "node:test";
import { isGatehouseError } from "../../src/core/errors.ts";
import type { Storage } from "../../src/storage/contract.ts";

const refusedKeys: [why: string, key: string][] = [
  ["empty", ""],
  ["parent", ".."],
  ["parent in the middle", "a/../b"],
  ["parent at the end", "a/.."],
  ["absolute", "/etc/passwd"],
  ["trailing slash", "a/"],
  ["empty part", "a//b"],
  ["dot file", ".hidden"],
  ["dot file below", "a/.tmp-1"],
  ["backslash", "a\\b"],
  ["NUL", "a\0b"],
  ["line end", "a\n"],
  ["space", "a b"],
  ["percent", "%2e%2e/a"],
  ["other letters", "é"],
  ["a part of 254", "a".repeat(254)],
  ["nine parts", "1/2/3/4/5/6/7/8/9"],
];

const acceptedKeys = [
  "a",
  "1/2/3/4/5/6/7/8",
  "certs/*.lab.example.org/current",
  "a@b-c_d.e",
  "a".repeat(253),
  "-",
  "a..b",
];

export function storageContract(what: string, make: (t: TestContext) => Promise<Storage>): void {
  test(`${what}: what was written is read back, bytes as bytes`, async (t) => {
    const storage = await make(t);
    const bytes = randomBytes(100_000);
    await storage.write("a/b/c.bin", bytes);
    await storage.write("a/text", "grüße");
    assert.deepEqual(await storage.read("a/b/c.bin"), bytes);
    assert.equal((await storage.read("a/text"))?.toString("utf8"), "grüße");
    await storage.write("a/text", "");
    assert.equal((await storage.read("a/text"))?.length, 0);
  });

  test(`${what}: a missing key is undefined, also where a folder or a file stands in its way`, async (t) => {
    const storage = await make(t);
    await storage.write("a/b", "1");
    for (const key of ["nothing", "a", "a/nothing", "a/b/c"]) assert.equal(await storage.read(key), undefined, key);
  });

  test(`${what}: removing works once and is no error twice`, async (t) => {
    const storage = await make(t);
    await storage.write("a/b", "1");
    await storage.remove("a/b");
    await storage.remove("a/b");
    await storage.remove("x/y/z");
    assert.equal(await storage.read("a/b"), undefined);
    assert.deepEqual(await storage.list(""), []);
  });

  test(`${what}: list gives the keys below a folder, sorted, and not those of a longer name`, async (t) => {
    const storage = await make(t);
    for (const key of ["b/2", "b/10", "b/c/d", "bb/1", "a"]) await storage.write(key, key);
    assert.deepEqual(await storage.list("b"), ["b/10", "b/2", "b/c/d"]);
    assert.deepEqual(await storage.list("b/c"), ["b/c/d"]);
    assert.deepEqual(await storage.list("none"), []);
    assert.deepEqual(await storage.list(""), ["a", "b/10", "b/2", "b/c/d", "bb/1"]);
  });

  for (const key of acceptedKeys) {
    test(`${what}: ${key.slice(0, 40)} is a key`, async (t) => {
      const storage = await make(t);
      await storage.write(key, key);
      assert.equal((await storage.read(key))?.toString(), key);
      assert.deepEqual(await storage.list(""), [key]);
    });
  }

  for (const [why, key] of refusedKeys) {
    test(`${what}: no key: ${why}`, async (t) => {
      const storage = await make(t);
      const refused = (error: unknown) => isGatehouseError(error, "GATEHOUSE_STORAGE_FAILED");
      await assert.rejects(storage.read(key), refused);
      await assert.rejects(storage.write(key, "1"), refused);
      await assert.rejects(storage.remove(key), refused);
      await assert.rejects(storage.lock(key, { withinMs: 0 }), refused);
      if (key !== "") await assert.rejects(storage.list(key), refused);
      assert.deepEqual(await storage.list(""), []);
    });
  }

  test(`${what}: a reader among writers sees one writer's bytes, whole`, async (t) => {
    const storage = await make(t);
    const payload = (mark: number) => Buffer.alloc(50_000, mark);
    await storage.write("x/y", payload(0));
    const writing = new AbortController();
    const writers = Promise.all(
      [1, 2, 3].map(async (mark) => {
        for (let round = 0; round < 15; round++) await storage.write("x/y", payload(mark));
      }),
    ).finally(() => writing.abort());
    let seen = 0;
    while (!writing.signal.aborted) {
      const bytes = await storage.read("x/y");
      assert.ok(bytes?.equals(payload(bytes[0] ?? 255)), "torn bytes");
      seen++;
    }
    await writers;
    assert.ok(seen > 0);
  });

  test(`${what}: writers and removers of one folder do not trip over each other`, async (t) => {
    const storage = await make(t);
    const names = Array.from({ length: 20 }, (_, each) => `f/g/${each}`);
    await Promise.all(names.map((key) => storage.write(key, key).then(() => storage.remove(key))));
    assert.deepEqual(await storage.list("f"), []);
  });

  test(`${what}: probe passes on a healthy store and leaves nothing`, async (t) => {
    const storage = await make(t);
    await storage.probe();
    assert.deepEqual(await storage.list(""), []);
  });

  test(`${what}: a lock excludes, is free after release, and its name clashes with no key`, async (t) => {
    const storage = await make(t);
    await storage.write("issue/a.test", "1");
    const first = await storage.lock("issue/a.test", { withinMs: 1_000 });
    const other = await storage.lock("issue/b.test", { withinMs: 0 });
    const code = "GATEHOUSE_LOCK_TIMEOUT";
    await assert.rejects(storage.lock("issue/a.test", { withinMs: 300 }), (error) => isGatehouseError(error, code));
    const waiting = storage.lock("issue/a.test", { withinMs: 5_000 });
    await first.release();
    const second = await waiting;
    await first.release(); // a second release must not free the lock of the next owner
    await assert.rejects(storage.lock("issue/a.test", { withinMs: 0 }), (error) => isGatehouseError(error, code));
    await second.release();
    await other.release();
    assert.deepEqual(await storage.list(""), ["issue/a.test"]);
  });

  test(`${what}: only one of many holds the lock at any time`, async (t) => {
    const storage = await make(t);
    let inside = 0;
    let most = 0;
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        const lock = await storage.lock("one", { withinMs: 20_000 });
        most = Math.max(most, ++inside);
        await storage.write("work", "1");
        inside--;
        await lock.release();
      }),
    );
    assert.equal(most, 1);
  });

  test(`${what}: waiting for a lock ends with the signal and its reason`, async (t) => {
    const storage = await make(t);
    const held = await storage.lock("one", { withinMs: 0 });
    const controller = new AbortController();
    const waiting = storage.lock("one", { withinMs: 60_000, signal: controller.signal });
    const reason = new Error("shutting down");
    controller.abort(reason);
    await assert.rejects(waiting, reason);
    await assert.rejects(storage.lock("two", { withinMs: 60_000, signal: controller.signal }), reason);
    await held.release();
  });
}
