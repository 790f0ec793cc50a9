/**
 * Does systemd accept the unit that ships, and find it well shut?
 */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { needs, runProgram } from "../support/programs.ts";

const root = join(import.meta.dirname, "../..");
const unit = readFileSync(join(root, "contrib/systemd/gatehouse.service"), "utf8");
const skip = needs("systemd-analyze", "systemd");

/** systemd's own word: up to 2 is "OK" at its best, an unguarded service has 9 and more. */
const MOST_EXPOSURE = 20;

test("systemd-analyze finds nothing wrong with the unit, and little exposed", { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "gatehouse-unit-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "gatehouse.service");
  // verify wants programs, accounts and pages that exist; here it is this checkout and nobody.
  const here = unit.replaceAll("/opt/gatehouse", root).replace(/^(User|Group)=gatehouse$/gm, "$1=root");
  writeFileSync(file, here);
  const verified = await runProgram("systemd-analyze", ["verify", "--man=no", file]);
  const aboutUs = verified.stderr.split("\n").filter((line) => line.includes("gatehouse"));
  assert.deepEqual(aboutUs, []);
  assert.equal(verified.code, 0, verified.stderr);

  writeFileSync(file, unit);
  const limits = ["security", "--offline=true", `--threshold=${MOST_EXPOSURE}`, "--no-pager", file];
  const judged = await runProgram("systemd-analyze", limits);
  assert.equal(judged.code, 0, judged.stdout.split("\n").slice(-4).join("\n") + judged.stderr);
});

test("a wrong configuration does not make systemd try again", () => {
  assert.match(unit, /^RestartPreventExitStatus=78$/m);
});
