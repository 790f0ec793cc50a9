/**
 * Is a change of the file heard once, however it is made, and nothing else?
 */
import assert from "node:assert/strict";
import { mkdir, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { digestOf } from "../../src/config/load.ts";
import { watchConfig } from "../../src/config/reload.ts";
import { temporaryFolder } from "../support/gatehouse.ts";

async function watched(t: TestContext, options: { pollMs?: number; running?: string } = {}) {
  const folder = await temporaryFolder(t);
  const file = join(folder, "g.yaml");
  await writeFile(file, "one");
  const controller = new AbortController();
  t.after(() => controller.abort());
  let changes = 0;
  let heard: (() => void) | undefined;
  const onChange = () => {
    changes++;
    heard?.();
  };
  watchConfig(file, { onChange, signal: controller.signal, running: digestOf("one"), ...options });
  /** The next change after `act`. */
  const changeBy = async (act: () => Promise<unknown>) => {
    const next = new Promise<void>((resolve) => (heard = resolve));
    await act();
    await next;
  };
  return { folder, file, controller, changeBy, changes: () => changes };
}

const replace = async (file: string, text: string) => {
  await writeFile(`${file}.new`, text);
  await rename(`${file}.new`, file);
};

test("a file replaced by rename is heard, and again the second time", async (t) => {
  const { file, changeBy, changes } = await watched(t);
  await changeBy(() => replace(file, "two"));
  await changeBy(() => replace(file, "three"));
  assert.equal(changes(), 2);
});

test("a file written in place is heard once, in however many steps", async (t) => {
  const { file, changeBy, changes } = await watched(t);
  await changeBy(async () => {
    for (const text of ["t", "tw", "two"]) await writeFile(file, text);
  });
  assert.equal(changes(), 1);
});

test("the same content again, and files beside it, are no change", async (t) => {
  const { folder, file, changeBy, changes } = await watched(t);
  await replace(file, "one");
  await utimes(file, new Date(), new Date());
  await writeFile(join(folder, "other.yaml"), "x");
  // A real change is the event to wait for: had one of the above counted, there would be two.
  await changeBy(() => replace(file, "two"));
  assert.equal(changes(), 1);
});

test("a file that was away for a while is heard when it is back, if it is another one", async (t) => {
  const { file, changeBy, changes } = await watched(t);
  await rm(file);
  await changeBy(() => writeFile(file, "two"));
  assert.equal(changes(), 1);
});

test("a change between loading and watching is heard", async (t) => {
  const { changes, changeBy } = await watched(t, { running: digestOf("zero") });
  await changeBy(async () => {});
  assert.equal(changes(), 1);
});

test("what no event tells is found by the poll: a link whose folder was swapped", async (t) => {
  const { folder, controller } = await watched(t);
  controller.abort();
  for (const name of ["a", "b"]) {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, "real.yaml"), name);
  }
  await mkdir(join(folder, "mount"));
  await symlink(join(folder, "current/real.yaml"), join(folder, "mount/g.yaml"));
  await symlink("a", join(folder, "current"));
  const own = new AbortController();
  t.after(() => own.abort());
  const changed = new Promise<void>((resolve) => {
    watchConfig(join(folder, "mount/g.yaml"), {
      onChange: resolve,
      signal: own.signal,
      running: digestOf("a"),
      pollMs: 20,
    });
  });
  await symlink("b", join(folder, "next"));
  await rename(join(folder, "next"), join(folder, "current"));
  // The poll does not hold the process; this does.
  const hold = setInterval(() => {}, 1_000);
  t.after(() => clearInterval(hold));
  await changed;
});

test("after the signal nothing is heard", async (t) => {
  const { folder, file, controller, changes } = await watched(t, { pollMs: 5 });
  controller.abort();
  await replace(file, "two");
  const other = new AbortController();
  t.after(() => other.abort());
  // A second watcher on the same file hears it: by then the first would have, too.
  await new Promise<void>((resolve) => {
    watchConfig(join(folder, "g.yaml"), { onChange: resolve, signal: other.signal, running: digestOf("one") });
  });
  assert.equal(changes(), 0);
});
