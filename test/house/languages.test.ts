/**
 * Pages in two languages say the same: the same commands in the same order, the same settings.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

const root = new URL("../../", import.meta.url);
const pages = ["", "docs/"].flatMap((folder) =>
  readdirSync(new URL(folder, root))
    .filter((name) => name.endsWith(".ko.md"))
    .map((name) => folder + name),
);

/** What a reader types or copies: code without its comments, and code in tables and sentences. */
function typed(page: string): string[] {
  const text = readFileSync(new URL(page, root), "utf8");
  const blocks = [...text.matchAll(/^```(?:sh|yaml)\n([^]*?)^```$/gm)].flatMap(([, block = ""]) => block.split("\n"));
  const rows = [...text.matchAll(/^\| `([^`]+)`/gm)].map(([, cell = ""]) => cell);
  const plain = blocks.map((line) => line.replace(/ # .*$/, "").replace(/'[^']*' >/, "'…' >"));
  return [...plain, ...rows];
}

test("there are pages in Korean", () => {
  assert.ok(pages.includes("README.ko.md") && pages.length >= 2, pages.join());
});

for (const page of pages) {
  test(`${page} has the commands of its English page`, () => {
    assert.deepEqual(typed(page), typed(page.replace(".ko.md", ".md")));
  });
}
