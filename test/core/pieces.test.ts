/**
 * Much is done at once in pieces: the loop serves between them, the order stays, a short list is done in one go.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { atPace, createPace, inOneGo, inPieces } from "../../src/core/pieces.ts";

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

test("steps go on for some milliseconds before others have a turn, and come to the same in one go", async () => {
  let clock = 0;
  const begun: number[] = [];
  function* steps(): Generator<void, string> {
    for (let at = 0; at < 10; at++) {
      begun.push(clock);
      clock += 3;
      yield;
    }
    return "done";
  }
  let turns = 0;
  const turn = async (): Promise<void> => {
    turns++;
    clock += 100;
  };
  assert.equal(await atPace(steps(), createPace({ forMs: 6, turn, now: () => clock })), "done");
  // Two steps of 3 ms, then the others.
  assert.deepEqual(begun, [0, 3, 106, 109, 212, 215, 318, 321, 424, 427]);
  assert.equal(turns, 5);
  assert.equal(inOneGo(steps()), "done");
});
