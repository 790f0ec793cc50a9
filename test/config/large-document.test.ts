/**
 * A large file is read around its plain sites: what comes of it is the same as when the parser reads every line, whatever
 * stands in it, and of ten thousand plain sites the parser reads a handful.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type DocumentText, readDocument } from "../../src/config/text/document.ts";
import type { Path } from "../../src/config/findings.ts";
import { judge } from "../../src/config/judge.ts";
import { readLargeDocument } from "../../src/config/text/large-document.ts";
import { inOneGo } from "../../src/core/pieces.ts";
import { plainRuns } from "../../src/config/text/plain-sites.ts";
import { siteSchema } from "../../src/config/schema.ts";

const plainLines = (count: number, prefix: string): string =>
  Array.from({ length: count }, (_, at) => `  ${prefix}${at}.example.org: 10.0.0.${at % 250}:80\n`).join("");

function pathsIn(value: unknown, path: Path = []): Path[] {
  if (typeof value !== "object" || value === null) return [path];
  return [path, [...path, "nope"], ...Object.entries(value).flatMap(([key, below]) => pathsIn(below, [...path, key]))];
}

const all = (document: DocumentText, paths: readonly Path[]) => ({
  value: document.value,
  order: JSON.stringify(document.value),
  problems: document.problems,
  places: paths.map((path) => [path, document.place(path), document.keyPlace(path), document.written(path)]),
});

function assertSame(text: string): void {
  const whole = readDocument(text);
  const paths = pathsIn(whole.value);
  assert.deepEqual(all(readLargeDocument(text), paths), all(whole, paths), text);
}

/** How many sites the parser is spared. */
const spared = (text: string): number =>
  inOneGo(plainRuns(text.split("\n"))).reduce((sum, { between }) => sum + between.length, 0);

test("of 10,000 sites in any of the usual ways to write them, the parser reads two", () => {
  for (const site of [
    "  NAME: 10.0.0.1:80\n",
    '  "NAME": "[fd00::1]:80" # by its address\n',
    "\n  # the NAS\n  NAME: { to: http://nas.home:80, maxBody: 20MB, forwardingHeaders: false }\n",
    "  NAME:\n    to: 10.0.0.1:80\n    maxBody: 20MB\n",
    "    NAME: 10.0.0.1:80\r\n",
  ]) {
    const sites = Array.from({ length: 10_000 }, (_, at) => site.replaceAll("NAME", `h${at}.example.org`));
    const text = `drain: 10s\nsites:\n${sites.join("")}log: { access: false }\n`;
    assert.equal(spared(text), 9_998, site);
  }
});

test("each case of a configuration is read the same with plain sites around its own", () => {
  const folder = join(import.meta.dirname, "cases");
  let read = 0;
  for (const name of readdirSync(folder)) {
    const text = readFileSync(join(folder, name), "utf8").split("---- result\n")[0] ?? "";
    for (const around of [
      text,
      text.replace(/^sites:.*\n/m, (line) => `${line}${plainLines(12, "before")}`),
      `${text}${plainLines(12, "after")}`,
      `sites:\n${plainLines(12, "first")}${text}`,
      `sites:\n${plainLines(12, "first")}${text.replace(/^sites:.*\n/m, "")}`,
    ]) {
      if (spared(around) > 0) read++;
      assertSame(around);
    }
  }
  assert.ok(read > 100, `${read}`);
});

const TRAPS: Record<string, string> = {
  "a text of several lines": `sites:\n  a: "x\n${plainLines(12, "h")}  "\n`,
  "a literal that looks like sites": `state: |\n  x\nacme: |\n${plainLines(12, "h")}sites:\n${plainLines(12, "g")}`,
  "a literal below a site": `sites:\n  a: |\n  ${plainLines(12, "h").replaceAll("\n", "\n  ")}\n  b: 10.0.0.1:80\n`,
  "sites within a text": `state: "\nsites:\n${plainLines(12, "h")}"\n`,
  "a flow map over lines": `sites:\n  {\n${plainLines(12, "h")}  }\n`,
  "a flow map with commas over lines": `sites: {\n${plainLines(12, "h").replaceAll("\n", ",\n")}}\n`,
  "a target that goes on below": `sites:\n${plainLines(12, "h")}      more\n${plainLines(12, "g")}`,
  "a target that goes on below an empty line": `sites:\n${plainLines(12, "h")}\n      more\n${plainLines(12, "g")}`,
  "another indentation": `sites:\n${plainLines(12, "h")}${plainLines(12, "g").replaceAll("  g", "   g")}`,
  "less indentation": `sites:\n${plainLines(12, "h").replaceAll("  h", "    h")}${plainLines(12, "g")}`,
  "a name twice in one run": `sites:\n${plainLines(12, "h")}  h5.example.org: 10.0.0.9:80\n${plainLines(12, "g")}`,
  "a name twice in two runs": `sites:\n${plainLines(12, "h")}  x: [1]\n${plainLines(12, "g")}  h5.example.org: a:1\n`,
  "a name twice, once of the parser's": `sites:\n  h5.example.org: [1]\n${plainLines(12, "h")}`,
  "sites twice": `sites:\n${plainLines(12, "h")}sites:\n${plainLines(12, "g")}`,
  "a second document": `sites:\n${plainLines(12, "h")}---\n${plainLines(12, "g")}`,
  "an end of the document": `sites:\n${plainLines(12, "h")}...\n${plainLines(12, "g")}`,
  "YAML 1.1": `%YAML 1.1\n---\nsites:\n${plainLines(12, "h")}`,
  "a byte order mark": `\uFEFFsites:\n${plainLines(12, "h")}`,
  "an anchor and an alias": `sites:\n  a: &x 10.0.0.1:80\n${plainLines(12, "h")}  b: *x\n`,
  "a tag": `sites: !!map\n${plainLines(12, "h")}`,
  "no end of the last line": `sites:\n${plainLines(12, "h")}  z.example.org: 10.0.0.1:80`,
  "an unclosed quote at the end": `sites:\n${plainLines(12, "h")}  z.example.org: "10.0.0.1:80\n`,
  "an unclosed bracket at the end": `sites:\n${plainLines(12, "h")}drain: [\n`,
  "lines that end in CR LF": `sites:\n${plainLines(12, "h")}drain: 1s\n`.replaceAll("\n", "\r\n"),
  "nothing below a name": `sites:\n${plainLines(12, "h")}  a:\n${plainLines(12, "g")}  b:\n`,
  "names that are numbers": `sites:\n${plainLines(12, "h")}  8080: a:1\n${plainLines(12, "g")}  70: a:2\n`,
};

for (const [name, text] of Object.entries(TRAPS)) {
  test(`read the same: ${name}`, () => assertSame(text));
}

/** The same numbers in each run: a failure comes again. */
function dice(seed: number): (faces: number) => number {
  let state = seed;
  return (faces) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * faces);
  };
}

const VALUES =
  "10.0.0.1:80|nas:8080|http://a.b:1/|'x: y'|\"x # y\"|\"\"|''|\"a\\tb\"|true|True|null|~|0|007|20|1e3|0x1f|0o17|1_000|.inf|12:30|1.5|2001-01-01|-1|a:|a b|#c|*x|&x y|!t z|[a, b]|{ to: a:1 }|{to: a:1}|{ to: a:1, status: 308, }|{ to: a:1, to: b:2 }|{ a: [1] }|{ to: 'a, b:1' }|{}|>-|@a|a#b|a #b|x:y:z|10.0.0.1|yes|😀:80".split(
    "|",
  );
const NAMES =
  "a.example.org|'*.b.example.org'|\"c\"|d.e|null|true|1.5|9|x_y|__proto__|'__proto__'|*s|? x|- a|münchen.de".split(
    "|",
  );

test("hundreds of files of chance are read the same", () => {
  let read = 0;
  for (let seed = 1; seed <= 800; seed++) {
    const roll = dice(seed);
    const one = (list: readonly string[]): string => list[roll(list.length)] ?? "";
    const odd = (): string => {
      const name = roll(3) === 0 ? one(NAMES) : `o${roll(1_000)}.example.org`;
      const indent = roll(12) === 0 ? "   " : "  ";
      switch (roll(6)) {
        case 0:
          return `${indent}${name}:\n    to: ${one(VALUES)}\n    maxBody: ${one(VALUES)}\n`;
        case 1:
          return `${indent}${name}:\n    to: ${one(VALUES)}\n${one(["", "\n", " # c\n", "    # c\n"])}   ${one([" ", ""])}strip: ${one(VALUES)}\n`;
        case 2:
          return one(["\n", "# c\n", "      # c\n", "\t\n", "  \n", "drain: 1s\n", "   deep\n", "    to: a:1\n"]);
        default:
          return `${indent}${name}: ${one(VALUES)}${one(["", "", " ", " # c"])}\n`;
      }
    };
    const pieces = Array.from({ length: 4 }, (_, at) => plainLines(roll(14), `p${at}-`) + (roll(2) === 0 ? odd() : ""));
    const text = `${one(["", "drain: 1s\n", "# c\n"])}sites:\n${pieces.join("")}${one(["", "log: { level: info }\n"])}`;
    if (spared(text) > 0) read++;
    assertSame(text);
  }
  assert.ok(read > 400, `${read}`);
});

test("a shape of site that is known already is judged as the schema judges each", () => {
  const written = [
    "10.0.0.1:80",
    "https://nas.home",
    "nowhere",
    null,
    8080,
    ["a:1"],
    "${HOST}:80",
    { to: "a:1" },
    { to: null },
    { to: "a:1", maxBody: "20MB", timeouts: { connect: "3s" } },
    { to: "b:1", maxBody: "20MB", timeouts: { connect: "3s" } },
    { to: "b:1", maxBody: "20MB", timeouts: { connect: "3 s" } },
    { to: "a:1", maxBody: null },
    { to: "a:1", maxBody: Number.NaN },
    { maxBody: "20MB" },
    { redirect: "https://a.test{path}" },
    { to: "a:1", colour: "red" },
    { to: "a:1", headers: { response: { Server: null, B: "c" } }, names: ["x.test"] },
    { to: "b:2", headers: { response: { B: "c", Server: null } }, names: ["x.test"] },
  ];
  const sites = Object.fromEntries([...written, ...written].map((value, at) => [`s${at}.test`, value]));
  const judged = judge({ sites });
  for (const [name, value] of Object.entries(sites)) {
    const alone = siteSchema.safeParse(value);
    assert.deepEqual(judged.sites.get(name), alone.data, name);
    const own = judge({ sites: { [name]: value } }).problems;
    assert.deepEqual(
      judged.problems.filter(({ path }) => path[1] === name),
      own,
      name,
    );
  }
});
