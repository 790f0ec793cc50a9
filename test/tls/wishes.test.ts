/**
 * Names on demand in a handshake: one question per name, few at once, and not again at once.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { CertificateBundle } from "../../src/storage/bundles.ts";
import { createWishes } from "../../src/tls/wishes.ts";

test("handshakes of one name share a question, which is not put again for five seconds", async () => {
  let now = 1_000_000;
  const asked: string[] = [];
  const wishes = createWishes({
    ask: async (name) => void asked.push(name),
    arrived: () => {},
    clock: { now: () => now },
  });
  const first = wishes.wish("a.test");
  assert.equal(wishes.wish("a.test"), first);
  await first;
  assert.equal(wishes.wish("a.test"), undefined);
  now += 5_001;
  await wishes.wish("a.test");
  assert.deepEqual(asked, ["a.test", "a.test"]);
});

test("of a flood of names few are asked at once, the rest are told no, and what comes is passed on", async () => {
  const held = Promise.withResolvers<void>();
  const came: string[] = [];
  const wishes = createWishes({
    async ask(name) {
      await held.promise;
      return { name } as CertificateBundle;
    },
    arrived: ({ name }) => void came.push(name),
  });
  const questions = Array.from({ length: 1_000 }, (_, at) => wishes.wish(`n${at}.test`)).filter(
    (each) => each !== undefined,
  );
  assert.equal(questions.length, 32);
  held.resolve();
  await Promise.all(questions);
  assert.equal(came.length, 32);
});
