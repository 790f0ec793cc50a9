/**
 * Do the generated files match the schema, and do `check` and `schema` say what they should?
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { runCheck } from "../../src/cli/check.ts";
import { runSchema } from "../../src/cli/schema.ts";
import { type JsonSchema, jsonSchema, longForm } from "../../src/config/json-schema.ts";
import { loadConfig } from "../../src/config/load.ts";
import { referenceText, schemaText } from "../../src/config/reference.ts";
import { temporaryFolder } from "../support/gatehouse.ts";

const folder = join(import.meta.dirname, "../../config");
const AGAIN = "run: node scripts/generate-config.ts";

test("config/schema.json is what the schema says", () => {
  assert.equal(readFileSync(join(folder, "schema.json"), "utf8"), schemaText(), AGAIN);
});

test("config/reference.yaml is what the schema says", () => {
  assert.equal(readFileSync(join(folder, "reference.yaml"), "utf8"), referenceText(), AGAIN);
});

/** Every key with its path of keys; names that the operator chooses are left out. */
function keysOf(schema: JsonSchema, path: string[] = []): { path: string[]; schema: JsonSchema }[] {
  const { properties = {}, additionalProperties } = longForm(schema);
  const named = Object.entries(properties).flatMap(([key, below]) => [
    { path: [...path, key], schema: below },
    ...keysOf(below, [...path, key]),
  ]);
  return typeof additionalProperties === "object" ? [...named, ...keysOf(additionalProperties, path)] : named;
}

test("every key has a description, and a line in the reference", () => {
  const reference = referenceText();
  const keys = keysOf(jsonSchema());
  assert.ok(keys.length > 30, `${keys.length}`);
  for (const { path, schema } of keys) {
    assert.ok((schema.description ?? "").length > 5, `${path.join(".")} has no description`);
    assert.match(reference, new RegExp(`^[ #]*${path.at(-1) ?? ""}:`, "m"), path.join("."));
  }
});

test("the reference is a configuration, and its defaults are the defaults", async () => {
  const load = (file: string, text: string) => loadConfig(file, { env: {}, readFile: async () => text });
  const { config, warnings } = await load("/srv/gatehouse.yaml", referenceText());
  const { config: plain } = await load("/srv/gatehouse.yaml", "sites: { ha.example.org: 192.168.0.200:8123 }");
  assert.deepEqual(warnings, []);
  // Sites and ports are examples.
  assert.deepEqual({ ...config, sites: [config.sites[0]], ports: [] }, plain);
  assert.deepEqual(config.sites[1]?.timeouts, plain.sites[0]?.timeouts);
});

test("each setting that the reference shows switched off works when it is switched on", async () => {
  const root = readFileSync(join(import.meta.dirname, "data/root.pem"), "utf8");
  const lines = referenceText().split("\n");
  const off = lines.flatMap((line, at) => (/^ *#[a-zA-Z]+: \S/.test(line) ? [at] : []));
  assert.ok(off.length >= 7, `${off.length}`);
  for (const at of off) {
    const text = lines.with(at, (lines[at] ?? "").replace("#", "")).join("\n");
    const readFile = async (path: string) => (path === "/srv/gatehouse.yaml" ? text : root);
    const loaded = await loadConfig("/srv/gatehouse.yaml", { env: {}, readFile });
    assert.ok(loaded.config.sites.length > 0);
  }
});

function sink() {
  const written = { text: "", write: (text: string) => (written.text += text) };
  return written;
}

test("the shipped configuration is well, and served by our own CA on ports that need no rights", async () => {
  const { config, warnings } = await loadConfig(join(folder, "gatehouse.yaml"), { env: {} });
  assert.deepEqual(warnings, []);
  assert.equal(config.acme.caName, "local");
  assert.deepEqual(config.listen, {
    https: [{ host: undefined, port: 8443 }],
    http: [{ host: undefined, port: 8080 }],
  });
  assert.deepEqual(
    config.sites.map(({ name, routes }) => [name, routes[0]?.target.kind]),
    [["home.localhost", "demo"]],
  );
  assert.equal(config.state, join(folder, "../certs"));
});

test("the three lines to change, changed, are well too", async () => {
  const text = readFileSync(join(folder, "gatehouse.yaml"), "utf8")
    .replace("ca: local", "ca: letsencrypt")
    .replace("home.localhost: demo", "ha.example.org: 192.168.0.200:8123")
    .replace('{ https: ":8443", http: ":8080" }', '{ https: ":443", http: ":80" }');
  const { config } = await loadConfig("/srv/gatehouse.yaml", { env: {}, readFile: async () => text });
  assert.deepEqual(
    [config.acme.isPublic, config.sites[0]?.name, config.listen.http[0]],
    [true, "ha.example.org", { host: undefined, port: 80 }],
  );
});

test("check prints the resolved configuration, as YAML and as JSON, and no secret", async (t) => {
  const file = join(await temporaryFolder(t), "g.yaml");
  await writeFile(join(file, "../mail"), "me@secret.test\n");
  await writeFile(file, "acme: { email: file:mail }\nsites: { a.example.org: demo }\n");
  const [yaml, json, err] = [sink(), sink(), sink()];
  assert.equal(await runCheck(file, { json: false }, yaml, err), 0);
  assert.equal(await runCheck(file, { json: true }, json, err), 0);
  assert.equal(err.text, "");
  assert.match(yaml.text, /^sites:\n {2}a\.example\.org:\n {4}to: demo$/m);
  assert.match(yaml.text, /email: file:\/.*\/mail$/m);
  assert.doesNotMatch(yaml.text + json.text, /secret\.test/);
  assert.equal((JSON.parse(json.text) as { drain: string }).drain, "30s");
});

test("check prints findings on stderr, or as JSON on stdout, and exits 78", async (t) => {
  const file = join(await temporaryFolder(t), "g.yaml");
  await writeFile(file, "drain: 5\nsites: { a_b.example.org: demo }\n");
  const [out, err, json] = [sink(), sink(), sink()];
  assert.equal(await runCheck(file, { json: false }, out, err), 78);
  assert.equal(out.text, "");
  assert.match(
    err.text,
    /^\S+g\.yaml:1:8 {2}drain {2}5 is not a length of time; give a unit.*\n\S+g\.yaml:2:10 {2}.*\n2 findings\n$/,
  );
  assert.equal(await runCheck(file, { json: true }, json, err), 78);
  const { findings } = JSON.parse(json.text) as { findings: { line: number; path: string }[] };
  assert.deepEqual(
    findings.map(({ line, path }) => [line, path]),
    [
      [1, "drain"],
      [2, 'sites["a_b.example.org"]'],
    ],
  );
});

test("check of a file that is not there says so and exits 78", async () => {
  const [out, err] = [sink(), sink()];
  assert.equal(await runCheck("/nowhere/g.yaml", { json: false }, out, err), 78);
  assert.match(err.text, /^\/nowhere\/g\.yaml does not exist; /);
  assert.equal(await runCheck("/nowhere/g.yaml", { json: true }, out, err), 78);
  assert.equal((JSON.parse(out.text) as { findings: unknown[] }).findings.length, 1);
});

test("schema prints JSON Schema", () => {
  const out = sink();
  assert.equal(runSchema(out), 0);
  const schema = JSON.parse(out.text) as { $schema: string; required: string[] };
  assert.equal(schema.$schema, "https://json-schema.org/draft/2020-12/schema");
  assert.deepEqual(schema.required, ["sites"]);
});
