/**
 * The documents and the tables of the code prove each other.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { PROBLEM_WORDS } from "../../src/acme/explain.ts";
import { ERROR_CODES } from "../../src/core/errors.ts";
import { LIMITS } from "../../src/observe/limit-names.ts";
import { CATALOG, type MetricFacts } from "../../src/observe/catalog.ts";
import { createMetrics } from "../../src/observe/metrics.ts";

const root = join(import.meta.dirname, "../..");
const read = (file: string) => readFileSync(join(root, file), "utf8");

test("every error code has a section in docs/errors.md, and every section there is a code", () => {
  const sections = [...read("docs/errors.md").matchAll(/^### (.+)$/gm)].map(([, title]) => title ?? "");
  assert.deepEqual(sections.toSorted(), Object.keys(ERROR_CODES).toSorted());
});

test("every section of docs/errors.md says what happened and what to do", () => {
  for (const section of read("docs/errors.md").split(/^### /m).slice(1)) {
    assert.match(section, /\*\*What happened\.\*\* \S/, section.split("\n", 1)[0]);
    assert.match(section, /\*\*What to do\.\*\* \S/, section.split("\n", 1)[0]);
  }
});

test("docs/errors.md has each of the CA's problems in our words, with the next step", () => {
  const rows = [...read("docs/errors.md").matchAll(/^\| `(\w+)` +\| (.+?) +\| (.+?) +\| `(GATEHOUSE_\w+)` +\|$/gm)];
  const listed = Object.fromEntries(rows.map(([, type, message, hint, code]) => [type, { code, message, hint }]));
  assert.deepEqual(listed, PROBLEM_WORDS);
});

test("docs/metrics.md lists every metric with its kind and labels, and nothing else", () => {
  const rows = [...read("docs/metrics.md").matchAll(/^\| `(gatehouse_\w+)` +\| (\w+) +\| ([\w, ]*?) *\|$/gm)];
  const listed = rows.map(([, name, kind, labels]) => `${name} ${kind} ${labels}`);
  const known = Object.entries<MetricFacts>(CATALOG).map(
    ([name, { kind, labels }]) => `${name} ${kind} ${labels.join(", ")}`,
  );
  assert.deepEqual(listed, known);
});

test("every metric of the catalog is exposed, and every gatehouse_ metric exposed is in the catalog", async () => {
  const { body } = await createMetrics({ version: "1" }).scrape();
  const exposed = [...body.matchAll(/^# TYPE (gatehouse_\w+) (\w+)$/gm)].map(([, name, kind]) => `${name} ${kind}`);
  const known = Object.entries<MetricFacts>(CATALOG).map(([name, { kind }]) => `${name} ${kind}`);
  assert.deepEqual(exposed.toSorted(), known.toSorted());
});

test("docs/limits.md names every limit that can be reached, and no other", () => {
  const page = read("docs/limits.md");
  const named = [...page.matchAll(/^\| `[\w.]+` +\| [^|]+ \| `(\w+)` +\|/gm), ...page.matchAll(/counts? as `(\w+)`/g)];
  assert.deepEqual([...new Set(named.map(([, name]) => name ?? ""))].toSorted(), LIMITS.toSorted());
});

test("alert rules and their documents speak of metrics that exist", () => {
  for (const file of ["contrib/prometheus/gatehouse.rules.yml", "docs/metrics.md", "docs/errors.md"]) {
    for (const [name] of read(file).matchAll(/gatehouse_[a-z]\w+/g)) {
      assert.ok(name.replace(/_(bucket|sum|count)$/, "") in CATALOG, `${file} names ${name}`);
    }
  }
});
