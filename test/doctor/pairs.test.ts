/**
 * Two faults at once: the first sentence names the one that is nearer to the inside, and the other one is below it.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { needsLab } from "../lab/lab.ts";
import { needs } from "../support/programs.ts";
import { type Fault, FAULTS, PAIRS } from "./faults.ts";
import { startHome, trouble, untilWell } from "./home.ts";

const skip = needsLab({ services: true }) || needs("pebble");

test("of two faults the first sentence names the one to mend first", { skip }, async (t) => {
  const home = await startHome(t);
  await untilWell(home);
  for (const names of PAIRS) {
    await t.test(names.join(", and "), async () => {
      const [first, second] = names.map((name): Fault => FAULTS[name]);
      assert.ok(first !== undefined && second !== undefined);
      try {
        await first.make(home);
        await second.make(home);
        const report = await home.doctor();
        const all = JSON.stringify(report, undefined, 1);
        const codes = trouble(report);
        assert.equal(codes[0], first.code, all);
        assert.match(report.summary.replace(/ \(\d+ more below\)/, ""), first.summary);
        // Of a file that cannot be taken nothing else is known.
        if (first.code !== "CONFIG_INVALID") assert.ok(codes.includes(second.code), all);
      } finally {
        await second.mend(home);
        await first.mend(home);
      }
      await untilWell(home);
    });
  }
});
