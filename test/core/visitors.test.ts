import assert from "node:assert/strict";
import { test } from "node:test";
import { addVisitors, createVisitorTally } from "../../src/core/visitors.ts";

test("strangers are counted together and never remembered, machines at home each by itself", () => {
  let now = 0;
  const tally = createVisitorTally(() => ++now);
  for (const address of ["5.6.7.8", "192.168.0.1", "2a00::1", "192.168.0.1", "fd00::1"]) tally.arrived(address);
  assert.deepEqual(tally.report(), {
    fromWorld: { connections: 2, lastAt: 3 },
    fromInside: [
      { address: "192.168.0.1", connections: 2, lastAt: 4 },
      { address: "fd00::1", connections: 1, lastAt: 5 },
    ],
  });
});

test("however many machines come, sixteen are remembered, and those go on being counted", () => {
  const tally = createVisitorTally(() => 1);
  for (let turn = 0; turn < 2; turn++) for (let host = 1; host < 200; host++) tally.arrived(`10.0.0.${host}`);
  const { fromInside } = tally.report();
  assert.equal(fromInside.length, 16);
  assert.ok(fromInside.every(({ connections }) => connections === 2));
});

test("what several processes counted is one count", () => {
  const inside = (address: string, connections: number, lastAt: number) => ({ address, connections, lastAt });
  const sum = addVisitors([
    { fromWorld: { connections: 1, lastAt: 9 }, fromInside: [inside("10.0.0.1", 1, 2)] },
    { fromWorld: { connections: 0, lastAt: undefined }, fromInside: [inside("10.0.0.1", 2, 7), inside("::1", 1, 1)] },
    { fromWorld: { connections: 2, lastAt: 4 }, fromInside: [] },
  ]);
  assert.deepEqual(sum, {
    fromWorld: { connections: 3, lastAt: 9 },
    fromInside: [inside("10.0.0.1", 3, 7), inside("::1", 1, 1)],
  });
});
