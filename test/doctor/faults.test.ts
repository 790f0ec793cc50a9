/**
 * A home in the lab: the doctor finds nothing wrong with it, then each fault is the first thing it names.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { needsLab } from "../lab/lab.ts";
import { needs } from "../support/programs.ts";
import { type Fault, FAULTS, PAIRS } from "./faults.ts";
import { startHome, trouble, untilWell } from "./home.ts";

const skip = needsLab({ services: true }) || needs("pebble");
const faults: [what: string, fault: Fault][] = Object.entries(FAULTS);

test("there are at least 24 faults, and each of them is in a pair", () => {
  assert.ok(faults.length >= 24, String(faults.length));
  const paired = new Set<string>(PAIRS.flat());
  const alone = faults.map(([what]) => what).filter((what) => !paired.has(what));
  assert.deepEqual(alone, []);
});

test("a home that is well gets no warning, and every fault is named by the first sentence", { skip }, async (t) => {
  const home = await startHome(t);
  await untilWell(home);
  const { code, out } = await home.type("doctor");
  assert.equal(code, 0, out);
  assert.match(out, /^Nothing is wrong with what could be looked at\.\n\n/, "nothing was left out, either");
  for (const [what, { code: named, summary, brings = [], make, mend }] of faults) {
    await t.test(what, async () => {
      try {
        await make(home);
        const report = await home.doctor();
        const all = JSON.stringify(report, undefined, 1);
        const codes = trouble(report);
        assert.equal(codes[0], named, all);
        assert.match(report.summary.replace(/ \(\d+ more below\)/, ""), summary);
        const strange = codes.filter((one) => one !== named && !brings.includes(one));
        assert.deepEqual(strange, [], all);
      } finally {
        await mend(home);
      }
      await untilWell(home);
    });
  }
});
