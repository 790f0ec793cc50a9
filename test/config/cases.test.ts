/**
 * Does each configuration of test/config/cases come to what its file says?
 * Owns: the format of those files: input, a line `---- result`, then the findings or the settings that differ from the
 * smallest configuration. `UPDATE_CASES=1` writes the results anew; read the diff.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { ConfigInvalid, findingText } from "../../src/config/findings.ts";
import { loadConfig } from "../../src/config/load.ts";
import { configAsYaml, writtenOut, type WrittenConfig } from "../../src/config/print.ts";

const folder = join(import.meta.dirname, "cases");
const LINE = "---- result\n";
const FILE = "/srv/gatehouse.yaml";
const ENV = { MAIL: "me@mail.test", EMPTY: "", TSIG: "bm90IHRoZSBzZWNyZXQ=", HMAC: "bm90LXRoZS1obWFjLWtleQ" };
const rootPem = readFileSync(join(import.meta.dirname, "data/root.pem"), "utf8");
const FILES: Record<string, string> = {
  "/srv/root.pem": rootPem,
  "/srv/text.pem": "hello\n",
  "/run/mail": "me@file.test\n",
};

async function readFile(path: string): Promise<string> {
  const text = FILES[path];
  if (text === undefined) throw Object.assign(new Error("no such file"), { code: "ENOENT" });
  return text;
}

const load = (input: string) =>
  loadConfig(FILE, { env: ENV, readFile: async (path) => (path === FILE ? input : readFile(path)) });

async function written(input: string): Promise<WrittenConfig> {
  const { config, references } = await load(input);
  return writtenOut(config, references);
}

/** What is in `value` and not the same in `preset`. */
function difference(value: unknown, preset: unknown): unknown {
  if (!isMap(value) || !isMap(preset)) return value;
  const entries = Object.entries(value).filter(([key, one]) => !isDeepStrictEqual(one, preset[key]));
  return Object.fromEntries(entries.map(([key, one]) => [key, difference(one, preset[key])]));
}

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

async function summary(input: string): Promise<string> {
  const smallest = await written("sites: { a.test-name.org: demo }");
  const presetSite = { ...(smallest["sites"] as Record<string, object>)["a.test-name.org"], to: undefined };
  try {
    const { config, references, warnings } = await load(input);
    const { sites, ...rest } = writtenOut(config, references);
    const siteLines = Object.entries(sites as object).map(([name, site]) => [name, difference(site, presetSite)]);
    const shown = { ...(difference(rest, { ...smallest }) as object), sites: Object.fromEntries(siteLines) as object };
    return configAsYaml(shown) + warnings.map((warning) => `warning ${findingText(warning)}\n`).join("");
  } catch (error) {
    if (!(error instanceof ConfigInvalid)) throw error;
    return error.findings.map((finding) => `${findingText(finding).replace("/srv/", "")}\n`).join("");
  }
}

const files = readdirSync(folder).sort();

for (const name of files) {
  test(`the configuration ${name.replace(/\.txt$/, "").replaceAll("-", " ")} comes to what its case says`, async () => {
    const text = readFileSync(join(folder, name), "utf8");
    const at = text.indexOf(LINE);
    const input = at < 0 ? text : text.slice(0, at);
    const result = (await summary(input)).replaceAll("warning /srv/", "warning ");
    if (process.env["UPDATE_CASES"] !== undefined) writeFileSync(join(folder, name), input + LINE + result);
    else assert.equal(result, text.slice(at + LINE.length));
  });
}

const isFinding = (result: string) => /^gatehouse\.yaml:\d+:\d+ {2}\S.+; \S.+$/m.test(result);
const cases = files.map((name) => {
  const [input = "", result = ""] = readFileSync(join(folder, name), "utf8").split(LINE);
  return { name, input, result };
});

for (const { name, input } of cases.filter(({ result }) => !/^gatehouse/m.test(result))) {
  test(`what check prints for ${name.replace(/\.txt$/, "").replaceAll("-", " ")} loads to the same configuration`, async () => {
    const { config, references } = await load(input);
    const again = await load(configAsYaml(writtenOut(config, references)));
    assert.deepEqual(again.config, config);
  });
}

test("there are at least twenty bad configurations, and each names line, cause and remedy", () => {
  const bad = cases.filter(({ result }) => isFinding(result));
  assert.ok(bad.length >= 20, `${bad.length}`);
});
