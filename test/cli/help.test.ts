/**
 * Help, documents and tables agree.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { EXIT, EXIT_HELP } from "../../src/cli/exit-codes.ts";
import { createProgram } from "../../src/cli/program.ts";
import { span } from "../../src/cli/span.ts";

const silent = { write: () => true } as unknown as NodeJS.WriteStream;
const help = createProgram({ out: silent, err: silent, env: {} }, "0.0.0").help();

test("docs/cli.md has one section for each verb with its help word for word, and no other sections", () => {
  const text = readFileSync(join(import.meta.dirname, "../../docs/cli.md"), "utf8");
  const sections = new Map(
    text
      .split(/^## /m)
      .slice(1)
      .map((section) => [section.split("\n", 1)[0] ?? "", /```text\n([\s\S]*?)\n```/.exec(section)?.[1] ?? ""]),
  );
  const expected = new Map(help.map((one) => [`gatehouse ${one.verb}`.trimEnd(), one.text.trimEnd()]));
  assert.deepEqual(sections, expected);
});

for (const { verb, text } of help) {
  test(`gatehouse ${verb} --help opens with two examples that use it`, () => {
    const [title, first, second, empty] = text.split("\n");
    assert.equal(title, "Examples:");
    for (const example of [first, second])
      assert.match(example ?? "", verb === "" ? /gatehouse/ : new RegExp(`\\b${verb}\\b`));
    assert.equal(empty, "");
  });
}

test("the help names every exit code", () => {
  const listed = [...EXIT_HELP.matchAll(/^ {1,3}(\d+) {2}/gm)].map(([, code]) => Number(code));
  assert.deepEqual(listed, Object.values(EXIT));
  assert.ok(help[0]?.text.includes(EXIT_HELP));
});

test("every verb that reads has --json", () => {
  const verbs = help.filter(({ text }) => !text.includes("[command]"));
  const without = verbs.filter(({ text }) => !text.includes("--json ")).map(({ verb }) => verb);
  assert.deepEqual(without, ["run", "schema"]);
});

const spans: [ms: number, text: string][] = [
  [0, "0s"],
  [-5_000, "0s"],
  [999, "0s"],
  [61_000, "1m 1s"],
  [3_600_000, "1h"],
  [3_605_000, "1h"],
  [90_061_000, "1d 1h"],
  [86_400_000 + 60_000, "1d"],
];

for (const [ms, text] of spans) {
  test(`${ms} ms is ${text} for a person`, () => assert.equal(span(ms), text));
}
