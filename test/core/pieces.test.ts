/**
 * Much is done at once in pieces: the loop serves between them, the order stays, a short list is done in one go.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { inPieces } from "../../src/core/pieces.ts";

const numbers = (count: number) => Array.from({ length: count }, (_, at) => at);

test("of a long list, so many are done between two turns of the loop, in order", async () => {
  const done: number[] = [];
  const doneAtTurn: number[] = [];
  await inPieces(numbers(1_001), (one) => done.push(one), {
    atOnce: 250,
    async turn() {
      doneAtTurn.push(done.length);
      await setImmediate();
    },
  });
  assert.deepEqual(doneAtTurn, [250, 500, 750, 1_000]);
  assert.deepEqual(done, numbers(1_001));
});

test("others get their turn while ten thousand are done", async () => {
  let others = 0;
  const count = (): void => {
    others++;
    chain = globalThis.setImmediate(count);
  };
  let chain = globalThis.setImmediate(count);
  await inPieces(numbers(10_000), () => {});
  clearImmediate(chain);
  assert.ok(others >= 49, `${others}`);
});

test("a short list is done before anybody else has a turn, and what is thrown ends it", async () => {
  const done: number[] = [];
  const under = inPieces(numbers(200), (one) => done.push(one));
  assert.equal(done.length, 200);
  await under;
  await assert.rejects(
    inPieces(numbers(10), (one) => {
      if (one === 5) throw new Error("five");
      done.push(one);
    }),
    /five/,
  );
  assert.equal(done.length, 205);
});
