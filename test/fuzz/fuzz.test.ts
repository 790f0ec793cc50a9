/**
 * A short run of every fuzzer, always with the same inputs; `npm run fuzz` is the long one.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fuzz, inputOf } from "./run.ts";
import { targets } from "./targets.ts";

for (const target of targets) {
  test(
    `${target.name}: no input makes it throw, read on, change its word, or take what its judge refuses`,
    { timeout: 60_000 },
    async () => {
      const result = await fuzz(target, { seed: 1, executions: 20_000 });
      const { failure } = result;
      assert.equal(failure?.what, undefined, `execution ${failure?.execution}: ${failure?.bytes.toString("base64")}`);
      // A fuzzer whose inputs are all refused proves nothing.
      assert.ok(result.accepted > 1_000, `${result.accepted} accepted`);
    },
  );
}

test("a seed and a number give the same input for ever", () => {
  for (const target of targets) {
    assert.deepEqual(inputOf(target, 3, 9), inputOf(target, 3, 9));
    assert.notDeepEqual(inputOf(target, 3, 9), inputOf(target, 4, 9));
  }
});

test("a parser that takes what its judge refuses, reads on, throws or changes its word is found", async () => {
  const [base] = targets;
  assert.ok(base !== undefined);
  const seeds = [Buffer.from("abc\r\n")];
  const wrong = {
    "Node refuses it": { parse: () => "yes", judge: () => "Node refuses it" },
    "reads past the end": {
      parse: (bytes: Buffer) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length + 1).toString(),
    },
    threw: { parse: (bytes: Buffer) => String(bytes.readUInt8(4)) },
    after: {
      parse: (bytes: Buffer) => `broken ${bytes.length}`.replace("broken", bytes.length > 4 ? "taken" : "broken"),
    },
  };
  for (const [what, parser] of Object.entries(wrong)) {
    const { name, dictionary } = base;
    const { failure } = await fuzz({ name, dictionary, seeds, ...parser }, { seed: 1, executions: 2_000 });
    assert.match(failure?.what ?? "", new RegExp(`^${what}`));
  }
});
