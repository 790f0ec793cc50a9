/**
 * The ticket key: 48 random bytes that change together everywhere, live in memory and keep no process alive.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ROTATE_EVERY_MS, createTicketKeys } from "../../src/tls/tickets.ts";
import { runProgram } from "../support/programs.ts";

test("a key is 48 random bytes, the same until the timer changes it, and everybody is told the new one", (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const told: Buffer[] = [];
  const keys = createTicketKeys({ onRotate: (key) => told.push(key) });
  const first = keys.current();
  assert.equal(first.length, 48);
  assert.equal(keys.current(), first);
  t.mock.timers.tick(ROTATE_EVERY_MS - 1);
  assert.equal(told.length, 0);
  t.mock.timers.tick(1);
  assert.equal(told.length, 1);
  assert.equal(told[0], keys.current());
  assert.notDeepEqual(told[0], first);
  keys.stop();
  t.mock.timers.tick(ROTATE_EVERY_MS * 3);
  assert.equal(told.length, 1, "stopped");
});

test("two makers never have the same key", () => {
  const [one, two] = [createTicketKeys({ onRotate() {} }), createTicketKeys({ onRotate() {} })];
  assert.notDeepEqual(one.current(), two.current());
  one.stop();
  two.stop();
});

test("the rotation keeps no process alive", async () => {
  const tickets = new URL("../../src/tls/tickets.ts", import.meta.url).href;
  const program = `const { createTicketKeys } = await import(${JSON.stringify(tickets)}); createTicketKeys({ onRotate() {} });`;
  const { code, stderr } = await runProgram(process.execPath, ["--input-type=module", "-e", program], {
    withinMs: 10_000,
  });
  assert.equal(code, 0, stderr);
});
