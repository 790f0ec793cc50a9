/**
 * What does the whole file look like, every key with its doc and default?
 * Owns: the text of config/reference.yaml and config/schema.json, made from the declarations.
 * Never: writes them (scripts/generate-config.ts does; a test fails on drift).
 */
import { stringify } from "yaml";
import { type JsonSchema, jsonSchema, longForm } from "./json-schema.ts";

export function schemaText(): string {
  return `${JSON.stringify(jsonSchema(), undefined, 2)}\n`;
}

interface Example {
  name: string;
  comment: string;
  keys: readonly string[];
  /** Written out although they have no default. */
  values: Readonly<Record<string, unknown>>;
}

/** Together they show every key of a site; no single site could have all of them. */
const SITES: readonly Example[] = [
  {
    name: "nas.example.org",
    comment: "One target, and how it is spoken to.",
    keys: [
      "to",
      "names",
      "upstreamTls",
      "email",
      "clientCert",
      "tls",
      "maxBody",
      "timeouts",
      "forwardingHeaders",
      "headers",
    ],
    values: { to: "https://192.168.0.202:5001", upstreamTls: undefined },
  },
  { name: "app.example.org", comment: "Several targets, by path.", keys: ["routes"], values: { routes: undefined } },
  {
    name: "mail.example.org",
    comment: "TLS goes through to a machine that ends it itself.",
    keys: ["passthrough", "proxyProtocol"],
    values: { passthrough: "192.168.0.210:443" },
  },
  {
    name: '"*.shop.example.org"',
    comment: "Each name below it gets its own certificate when it is first asked for.",
    keys: ["to", "onDemand"],
    values: { to: "192.168.0.205:8080", onDemand: { ask: "http://127.0.0.1:9000/wanted" } },
  },
  {
    name: "old.example.org",
    comment: "No target: a redirect.",
    keys: ["redirect", "status"],
    values: { redirect: "https://example.org{path}", status: 308 },
  },
];

const HEAD = `# yaml-language-server: $schema=./schema.json
#
# Every setting of Gatehouse with its default. Made from the schema by scripts/generate-config.ts; edits are lost.
# A line that begins with # and no space is a setting without a default, shown with an example.
# Texts that take a secret may be env:NAME or file:/path; a relative file: path begins at the folder of this file.
`;

/** Columns of a comment, its indentation included. */
const WIDTH = 116;

export function referenceText(): string {
  const { properties = {}, required = [] } = jsonSchema();
  return `${HEAD}${entries({ properties, required }, Object.keys(properties), {}).join("\n")}\n`;
}

function entries(block: JsonSchema, keys: readonly string[], values: Example["values"]): string[] {
  return keys.flatMap((key) => {
    const schema = block.properties?.[key];
    if (schema === undefined) throw new Error(`the reference shows ${key}, which the schema does not have`);
    const isOn = schema.default !== undefined || block.required?.includes(key) === true || key in values;
    const example = schema.examples?.[0] ?? longForm(schema).examples?.[0];
    const lines = entry(key, schema, values[key] ?? schema.default ?? example);
    return ["", ...comment(schema.description ?? ""), ...(isOn ? lines : lines.map((line) => `#${line}`))];
  });
}

function entry(key: string, schema: JsonSchema, value: unknown): string[] {
  const long = longForm(schema);
  if (key === "sites") return ["sites:", ...indent(siteEntries(long.additionalProperties as JsonSchema))];
  if (key === "ports") return ["ports:", ...indent(portEntries(long.additionalProperties as JsonSchema))];
  if (key === "routes") return ["routes:", ...indent(routeEntries(long.additionalProperties as JsonSchema))];
  if (long.properties !== undefined)
    return [`${key}:`, ...indent(entries(long, Object.keys(long.properties), isBlock(value) ? value : {})).slice(1)];
  if (typeof long.additionalProperties === "object") {
    const example = Object.entries((schema.examples?.[0] ?? {}) as Record<string, unknown>);
    return [`${key}:`, ...indent(example.map(([name, one]) => `${name}: ${inline(one)}`))];
  }
  return [`${key}: ${inline(value)}`];
}

const isBlock = (value: unknown): value is Example["values"] => typeof value === "object" && value !== null;

function siteEntries(site: JsonSchema): string[] {
  const short = ["# The short form: all there is to say for most.", "ha.example.org: 192.168.0.200:8123"];
  const long = SITES.flatMap(({ name, comment, keys, values }) => {
    return ["", `# ${comment}`, `${name}:`, ...indent(entries(longForm(site), keys, values)).slice(1)];
  });
  return [...short, ...long];
}

function portEntries(port: JsonSchema): string[] {
  const long = longForm(port);
  const keys = Object.keys(long.properties ?? {});
  return [
    "udp/51820: 192.168.0.203:51820",
    "tcp/20170:",
    ...indent(entries(long, keys, { to: "172.16.1.2:22", allow: ["lan"] })).slice(1),
  ];
}

function routeEntries(route: JsonSchema): string[] {
  const long = longForm(route);
  const keys = Object.keys(long.properties ?? {});
  return ["/: 192.168.0.201:8080", "/api/:", ...indent(entries(long, keys, { to: "192.168.0.203:3000" })).slice(1)];
}

function comment(text: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last === undefined || last.length + word.length + 1 > WIDTH) lines.push(`# ${word}`);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}

const indent = (lines: readonly string[]) => lines.map((line) => (line === "" ? "" : `  ${line}`));

function inline(value: unknown): string {
  if (typeof value === "string" && value.startsWith(":")) return JSON.stringify(value); // legal without, but looks wrong
  return stringify(value, { collectionStyle: "flow", lineWidth: 0, defaultStringType: "PLAIN" }).trimEnd();
}
