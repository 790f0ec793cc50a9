/**
 * Are the CA's questions answered, by whichever process, and nobody else's?
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { createChallenges } from "../../src/acme/challenges/port-80.ts";
import type { Storage } from "../../src/storage/contract.ts";
import { createFileStorage } from "../../src/storage/files.ts";

const DAY = 86_400_000;

async function makeStorage(t: TestContext): Promise<Storage> {
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-challenges-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return createFileStorage(folder);
}

test("a token is answered from memory, by another process from storage, and after removal by nobody", async (t) => {
  const storage = await makeStorage(t);
  const clock = { now: () => 0 };
  const [one, other] = [createChallenges({ storage, clock }), createChallenges({ storage, clock })];
  await one.present("tok-en_1", "tok-en_1.thumb");
  assert.equal(one.wasAsked("tok-en_1"), false);
  assert.equal(await one.answerChallenge("a", "tok-en_1"), "tok-en_1.thumb");
  assert.equal(one.wasAsked("tok-en_1"), true);
  assert.equal(await other.answerChallenge("b", "tok-en_1"), "tok-en_1.thumb");
  await one.remove("tok-en_1");
  assert.equal(await one.answerChallenge("a", "tok-en_1"), undefined);
  assert.equal(await other.answerChallenge("a", "tok-en_1"), undefined);
});

for (const token of [
  "",
  "..",
  "../account/key.pem",
  "a/b",
  "a.b",
  "a b",
  "%2e",
  "ü",
  "a\n",
  "x".repeat(129),
  "__proto__",
]) {
  test(`the token ${JSON.stringify(token.slice(0, 30))} is nobody's and leads nowhere`, async (t) => {
    const storage = await makeStorage(t);
    await storage.write("acme/account", "secret");
    const challenges = createChallenges({ storage, clock: { now: () => 0 } });
    assert.equal(await challenges.answerChallenge("a", token), undefined);
  });
}

test("a CA's token that is no token is not written anywhere", async (t) => {
  const storage = await makeStorage(t);
  const challenges = createChallenges({ storage, clock: { now: () => 0 } });
  await assert.rejects(challenges.present("../x", "y"));
  assert.deepEqual(await storage.list("acme"), []);
});

test("a flood of unknown tokens keeps few looks into storage open, and a known one is still answered", async (t) => {
  const storage = await makeStorage(t);
  let open = 0;
  let most = 0;
  const slow: Storage = {
    ...storage,
    async read(key) {
      most = Math.max(most, ++open);
      await new Promise((resolve) => setTimeout(resolve, 5));
      open--;
      return storage.read(key);
    },
  };
  const challenges = createChallenges({ storage: slow, clock: { now: () => 0 } });
  await challenges.present("mine", "mine.thumb");
  const flood = Array.from({ length: 1_000 }, (_, index) => challenges.answerChallenge("a", `t${index}`));
  assert.equal(await challenges.answerChallenge("a", "mine"), "mine.thumb");
  assert.ok((await Promise.all(flood)).every((answer) => answer === undefined));
  assert.ok(most <= 32, `${most} at once`);
});

test("what a crash left is answered for a week and then swept away; what is damaged is swept at once", async (t) => {
  const storage = await makeStorage(t);
  let now = 0;
  const clock = { now: () => now };
  await createChallenges({ storage, clock }).present("left", "left.thumb");
  await storage.write("acme/challenges/damaged", "{");
  const reborn = createChallenges({ storage, clock });
  now = 6 * DAY;
  await reborn.sweep();
  assert.deepEqual(await storage.list("acme/challenges"), ["acme/challenges/left"]);
  assert.equal(await reborn.answerChallenge("a", "left"), "left.thumb");
  now = 8 * DAY;
  assert.equal(await reborn.answerChallenge("a", "left"), undefined);
  await reborn.sweep();
  assert.deepEqual(await storage.list("acme/challenges"), []);
});

test("a disk in trouble is a 404 for the CA, not an exception in the listener", async () => {
  const broken = { read: () => Promise.reject(new Error("EIO")) } as unknown as Storage;
  const challenges = createChallenges({ storage: broken, clock: { now: () => 0 } });
  assert.equal(await challenges.answerChallenge(undefined, "token"), undefined);
});
