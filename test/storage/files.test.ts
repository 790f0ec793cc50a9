/**
 * The file store: the contract, then what only a disk can do: modes, leftovers, full and read-only file systems.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, readFile, readdir, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { GatehouseError } from "../../src/core/errors.ts";
import { diskError } from "../../src/storage/disk-errors.ts";
import { createFileStorage } from "../../src/storage/files.ts";
import { sweepLeftovers } from "../../src/storage/leftovers.ts";
import { temporaryFolder } from "../support/gatehouse.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { hasProgram, runProgram } from "../support/programs.ts";
import { storageContract } from "./contract.ts";

const FILES = new URL("../../src/storage/files.ts", import.meta.url).href;
const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777;

storageContract("memory, for simulations", () => Promise.resolve(memoryStorage()));
storageContract("files", async (t) => createFileStorage(await temporaryFolder(t)));

test("folders are 0700 and files 0600 whatever the umask", async (t) => {
  const folder = await temporaryFolder(t);
  const before = process.umask(0);
  t.after(() => process.umask(before));
  const storage = await createFileStorage(join(folder, "new", "state"));
  await storage.write("a/b/key.pem", "k");
  const state = join(folder, "new", "state");
  for (const each of [state, join(state, "a"), join(state, "a/b")]) assert.equal(await modeOf(each), 0o700, each);
  assert.equal(await modeOf(join(state, "a/b/key.pem")), 0o600);
});

test("a state folder of our own that is open to others is closed without a word", async (t) => {
  const folder = await temporaryFolder(t);
  await chmod(folder, 0o755);
  const warnings: string[] = [];
  await createFileStorage(folder, { onWarning: (message) => warnings.push(message) });
  assert.equal(await modeOf(folder), 0o700);
  assert.deepEqual(warnings, []);
});

test("a folder that others share is left as it is, with a warning that says what to do", async (t) => {
  for (const share of [
    (folder: string) => mkdir(join(folder, "other")).then(() => chmod(join(folder, "other"), 0o755)),
    (folder: string) => chmod(folder, 0o1777),
  ]) {
    const folder = await temporaryFolder(t);
    await chmod(folder, 0o755);
    await share(folder);
    const warnings: string[] = [];
    await createFileStorage(folder, { onWarning: (message, hint) => warnings.push(`${message} ${hint}`) });
    assert.notEqual((await modeOf(folder)) & 0o077, 0);
    assert.match(warnings.join(), /open to other users \(mode 1?\d+\).*chmod 0700/);
  }
});

test("a key that was open to others is closed when read, and a warning takes it for known", async (t) => {
  const folder = await temporaryFolder(t);
  const warnings: string[] = [];
  const storage = await createFileStorage(folder, { onWarning: (message) => warnings.push(message) });
  await storage.write("key.pem", "k");
  await chmod(join(folder, "key.pem"), 0o644);
  assert.equal((await storage.read("key.pem"))?.toString(), "k");
  assert.equal(await modeOf(join(folder, "key.pem")), 0o600);
  await storage.read("key.pem");
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? "", /key\.pem was open to other users \(mode 0644\)/);
});

test("what a crash left is swept at the next start; files of writers at work and of strangers stay", async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, "certs/a.test"), { recursive: true, mode: 0o700 });
  const old = new Date(Date.now() - 3_600_000);
  for (const name of [".tmp-old", "certs/a.test/.tmp-old", ".gitignore", "README.md"]) {
    await writeFile(join(folder, name), "x");
    await utimes(join(folder, name), old, old);
  }
  await writeFile(join(folder, "certs/a.test/.tmp-new"), "x");
  const storage = await createFileStorage(folder);
  const left = await readdir(folder, { recursive: true });
  assert.deepEqual(left.sort(), [".gitignore", "README.md", "certs", "certs/a.test", "certs/a.test/.tmp-new"]);
  assert.deepEqual(await storage.list(""), ["README.md"]);
});

test("who opens a folder without waiting for the sweep finds the leftovers there, and they are swept behind it", async (t) => {
  const folder = await temporaryFolder(t);
  const leftover = "certs/a.test/.tmp-old";
  await mkdir(join(folder, "certs/a.test"), { recursive: true, mode: 0o700 });
  await writeFile(join(folder, leftover), "x");
  const old = new Date(Date.now() - 3_600_000);
  await utimes(join(folder, leftover), old, old);
  await createFileStorage(folder, { leftovers: "leave" });
  assert.ok((await readdir(folder, { recursive: true })).includes(leftover));
  await sweepLeftovers(folder, { signal: AbortSignal.timeout(60_000) });
  assert.deepEqual((await readdir(folder, { recursive: true })).sort(), ["certs", "certs/a.test"]);
});

test("a folder below which nothing is left goes away", async (t) => {
  const folder = await temporaryFolder(t);
  const storage = await createFileStorage(folder);
  await storage.write("a/b/c", "1");
  await storage.write("a/d", "1");
  await storage.remove("a/b/c");
  assert.deepEqual((await readdir(folder, { recursive: true })).sort(), ["a", "a/d"]);
});

test("a state folder that cannot be made names the path, the cause and the remedy", async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, "file"), "");
  await assert.rejects(createFileStorage(join(folder, "file", "state")), (error: unknown) => {
    assert.ok(error instanceof GatehouseError);
    assert.equal(error.code, "GATEHOUSE_STORAGE_FAILED");
    assert.match(error.message, /cannot open the state folder .*file\/state: .*\(ENOTDIR\)/);
    assert.match(error.hint ?? "", /state:/);
    assert.ok(error.cause instanceof Error);
    return true;
  });
});

test("a file far too large to be ours is refused, not read", async (t) => {
  const folder = await temporaryFolder(t);
  const storage = await createFileStorage(folder);
  await writeFile(join(folder, "huge"), Buffer.alloc(17 * 1024 * 1024));
  await assert.rejects(storage.read("huge"), /more than anything that Gatehouse keeps/);
});

const remedies: [code: string, message: RegExp, hint: RegExp][] = [
  ["ENOSPC", /disk is full \(ENOSPC\)/, /Free some space/],
  ["EDQUOT", /quota is used up/, /quota/],
  ["EROFS", /read-only/, /state:/],
  ["EACCES", /may not \(EACCES\)/, /chown -R .* \/state/],
  ["EIO", /disk failed/, /dmesg/],
  ["EMFILE", /too many files/, /ulimit/],
  ["EWHAT", /strange \(EWHAT\)/, /\/state/],
];

for (const [code, message, hint] of remedies) {
  test(`${code} comes with its place and its remedy`, () => {
    const cause = Object.assign(new Error("strange"), { code });
    const error = diskError("write", "/state/a", "/state", cause);
    assert.match(error.message, /^cannot write \/state\/a: /);
    assert.match(error.message, message);
    assert.match(error.hint ?? "", hint);
    assert.equal(error.cause, cause);
  });
}

/** A private mount namespace gives a tiny disk without touching the machine's own mounts. */
const canMount =
  hasProgram("unshare") && (await runProgram("unshare", ["-rm", "true"], { withinMs: 10_000 })).code === 0;

/** Runs `script` with `storage` on a tmpfs of its own; resolves to what it wrote. */
async function onSmallDisk(folder: string, size: string, script: string): Promise<string> {
  const program = `
    import { createFileStorage } from ${JSON.stringify(FILES)};
    import { execFileSync } from "node:child_process";
    import { readdirSync } from "node:fs";
    const root = process.argv[1];
    const storage = await createFileStorage(root);
    const told = (promise) => promise.then(() => "done", (error) => error.code + " " + error.message + " | " + error.hint);
    ${script}`;
  const mounted = await runProgram(
    "unshare",
    [
      "-rm",
      "sh",
      "-c",
      'mount -t tmpfs -o size="$2" tmpfs "$1" && exec "$3" --input-type=module -e "$4" "$1"',
      "sh",
      folder,
      size,
      process.execPath,
      program,
    ],
    { withinMs: 30_000 },
  );
  assert.equal(mounted.code, 0, mounted.stderr);
  return mounted.stdout;
}

test(
  "a full disk is found by probe before anything is ordered, and the old bytes stay",
  { skip: !canMount && "needs unshare(1) with user namespaces (Debian: util-linux)" },
  async (t) => {
    const answer = await onSmallDisk(
      await temporaryFolder(t),
      "100k",
      `await storage.write("key", "old");
     console.log(await told(storage.probe()));
     await storage.write("fill", Buffer.alloc(80_000));
     console.log(await told(storage.probe()));
     console.log(await told(storage.write("key", Buffer.alloc(50_000))));
     console.log(String(await storage.read("key")), JSON.stringify(readdirSync(root)));`,
    );
    const told = answer.split("\n");
    assert.equal(told[0], "done");
    assert.match(
      told[1] ?? "",
      /^GATEHOUSE_STORAGE_FAILED cannot write a probe to .* the disk is full \(ENOSPC\) \| Free/,
    );
    assert.match(told[2] ?? "", /cannot write .*\/key: the disk is full \(ENOSPC\)/);
    assert.equal(told[3], 'old ["fill","key"]');
  },
);

test(
  "a read-only disk still reads, and writing says what it is",
  { skip: !canMount && "needs unshare(1) with user namespaces (Debian: util-linux)" },
  async (t) => {
    const answer = await onSmallDisk(
      await temporaryFolder(t),
      "100k",
      `await storage.write("key", "old");
     execFileSync("mount", ["-o", "remount,bind,ro", root]);
     const again = await createFileStorage(root);
     console.log(String(await again.read("key")));
     const tries = [
       () => again.write("key", "new"),
       () => again.probe(),
       () => again.remove("key"),
       () => again.lock("l", { withinMs: 0 }),
     ];
     for (const each of tries) {
       console.log(await told(each()));
     }`,
    );
    const told = answer.split("\n");
    assert.equal(told[0], "old");
    for (const line of told.slice(1, 5)) assert.match(line, /read-only \(EROFS\) \| Mount it writable/);
  },
);

/** A second process that takes the lock, says so, and holds it until it dies. */
async function holder(t: TestContext, folder: string): Promise<{ kill(): Promise<void> }> {
  const program = `
    import { createFileStorage } from ${JSON.stringify(FILES)};
    const storage = await createFileStorage(process.argv[1]);
    await storage.lock("one", { withinMs: 0 });
    console.log("held");
    setInterval(() => {}, 1_000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program, folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const gone = once(child, "close");
  const kill = async (): Promise<void> => {
    child.kill("SIGKILL");
    await gone;
  };
  t.after(kill);
  await once(createInterface({ input: child.stdout }), "line");
  return { kill };
}

test("a lock excludes another process, says who holds it, and is free once that one was killed", async (t) => {
  const folder = await temporaryFolder(t);
  const storage = await createFileStorage(folder);
  const other = await holder(t, folder);
  await assert.rejects(storage.lock("one", { withinMs: 300 }), (error: unknown) => {
    assert.ok(error instanceof GatehouseError);
    assert.equal(error.code, "GATEHOUSE_LOCK_TIMEOUT");
    assert.match(error.message, /process \d+ on .* has held the lock one/);
    return true;
  });
  const waiting = storage.lock("one", { withinMs: 10_000 });
  await other.kill();
  const startedAt = performance.now();
  const lock = await waiting;
  assert.ok(performance.now() - startedAt < 2_000, "a dead owner of the same boot must not be waited for");
  await lock.release();
  assert.deepEqual(await readdir(join(folder, ".locks")), []);
});

/** A pid that is dead here says nothing of another machine's or container's. */
const elsewhere = (mine: string): string =>
  mine.replace(/"place":"[^"]*"/, '"place":"elsewhere"').replace(/"pid":\d+/, '"pid":999999999');

const abandoned: [why: string, content: (mine: string) => string, ageMs: number, isFree: boolean][] = [
  ["a stranger's fresh heartbeat", (mine) => elsewhere(mine), 0, false],
  ["a stranger's heartbeat that stopped", (mine) => elsewhere(mine), 40_000, true],
  ["a heartbeat from the future", (mine) => mine, -3_600_000, true],
  ["our pid, given out again", (mine) => mine.replace(/"startedAt":"\d+"/, '"startedAt":"1"'), 0, true],
  ["our own live pid", (mine) => mine, 0, false],
  ["an empty file, just made", () => "", 0, false],
  ["an empty file, long ago", () => "", 40_000, true],
  ["garbage, long ago", () => "null", 40_000, true],
];

for (const [why, content, ageMs, isFree] of abandoned) {
  test(
    `a lock file with ${why} is ${isFree ? "taken over" : "respected"}`,
    { skip: process.platform !== "linux" && "needs /proc" },
    async (t) => {
      const folder = await temporaryFolder(t);
      const storage = await createFileStorage(folder);
      const path = join(folder, ".locks", "one");
      const first = await storage.lock("one", { withinMs: 0 });
      const mine = await readFile(path, "utf8");
      await first.release();
      await writeFile(path, content(mine));
      const at = new Date(Date.now() - ageMs);
      await utimes(path, at, at);
      const taken = await storage.lock("one", { withinMs: 0 }).then(
        (lock) => lock.release().then(() => true),
        () => false,
      );
      assert.equal(taken, isFree);
    },
  );
}
