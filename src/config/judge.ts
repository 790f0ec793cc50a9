/**
 * Does every key and value keep to the schema?
 * Owns: the schema applied section by section and site by site, so that one mistake hides no other; zod's issues as problems.
 * Never: looks at two settings at once, or reads a file.
 */
import type * as z from "zod";
import { inOneGo } from "../core/pieces.ts";
import { type Path, shown } from "./findings.ts";
import { homeOf, type JsonSchema, jsonSchema, knownKeys } from "./json-schema.ts";
import { isLater } from "./later.ts";
import { nearest } from "./text/nearest.ts";
import { type DeclaredPorts, portsSchema } from "./sections/ports.ts";
import { configSchema, type Declared, type DeclaredSite, siteSchema } from "./schema.ts";
import { createSiteShapes } from "./sections/site-shapes.ts";

/** A finding that does not know its line yet. */
export interface Problem {
  path: Path;
  what: string;
  remedy: string;
  /** Which of the two is wrong. */
  at: "key" | "value";
  /** The key it clashes with; its line is named. */
  clashesWith?: Path | undefined;
}

export interface Judged {
  /** Sections with problems are as if they were left out. */
  declared: Declared;
  /** As written, in order; undefined where the site has problems. */
  sites: ReadonlyMap<string, DeclaredSite | undefined>;
  problems: readonly Problem[];
}

const FIRST_SITE = "two lines are enough: `sites:` and below it `  ha.example.org: 192.168.0.200:8123`";

export const judge = (root: unknown): Judged => inOneGo(judging(root));

/** A site is a step. */
export function* judging(root: unknown): Generator<void, Judged> {
  const problems: Problem[] = [];
  const report = createReporter(root, problems);
  const raw = isMap(root) ? root : {};
  if (root === null) problems.push({ path: [], what: "the file is empty", remedy: FIRST_SITE, at: "value" });
  else if (root !== undefined && !isMap(root))
    report([{ code: "invalid_type", expected: "object", path: [], message: "" }], []);
  else if (root !== undefined && noSites(raw["sites"])) {
    problems.push({
      path: "sites" in raw ? ["sites"] : [],
      what: "there are no sites",
      remedy: FIRST_SITE,
      at: "value",
    });
  }

  const unknown = Object.keys(raw).filter((key) => !Object.hasOwn(configSchema.shape, key));
  if (unknown.length > 0) report([{ code: "unrecognized_keys", keys: unknown, path: [], message: "" }], []);

  const { sites: _, ...sections } = configSchema.shape;
  const declared: Record<string, unknown> = {};
  for (const [key, schema] of Object.entries(sections)) {
    if (key === "ports" && isMap(raw[key])) {
      declared[key] = judgePorts(raw[key], report);
      continue;
    }
    const result = schema.safeParse(raw[key]);
    if (!result.success) report(result.error.issues, [key]);
    declared[key] = result.success ? result.data : schema.parse(undefined);
  }
  const sites = yield* judgeSites(raw["sites"], report);
  return { declared: declared as unknown as Declared, sites, problems };
}

const noSites = (value: unknown) =>
  value === undefined || value === null || (isMap(value) && Object.keys(value).length === 0);

type Report = (issues: readonly Issue[], prefix: Path) => void;
type Issue = Pick<z.core.$ZodIssue, "code" | "path" | "message"> & {
  keys?: readonly string[];
  expected?: string;
  params?: Readonly<Record<string, unknown>> | undefined;
  issues?: readonly Issue[];
};

function* judgeSites(raw: unknown, report: Report): Generator<void, Map<string, DeclaredSite | undefined>> {
  const sites = new Map<string, DeclaredSite | undefined>();
  if (noSites(raw)) return sites;
  if (!isMap(raw)) {
    report([{ code: "invalid_type", expected: "record", path: [], message: "" }], ["sites"]);
    return sites;
  }
  const shapes = createSiteShapes();
  for (const [name, value] of Object.entries(raw)) {
    yield;
    const known = shapes.declared(value);
    if (known !== undefined) {
      sites.set(name, known);
      continue;
    }
    const result = siteSchema.safeParse(value);
    if (result.success) shapes.learn(value, result.data);
    else report(result.error.issues, ["sites", name]);
    sites.set(name, result.data);
  }
  return sites;
}

/** One by one: a mistake in one port hides none in the others, and the others open. */
function judgePorts(raw: Readonly<Record<string, unknown>>, report: Report): DeclaredPorts {
  const ports: Record<string, DeclaredPorts[string]> = {};
  for (const [key, value] of Object.entries(raw)) {
    const result = portsSchema.safeParse({ [key]: value });
    if (result.success) Object.assign(ports, result.data);
    else report(result.error.issues, ["ports"]);
  }
  return ports;
}

function remedyOf(issue: Issue | undefined): string {
  const remedy = issue?.params?.["remedy"];
  return typeof remedy === "string" ? remedy : "see config/reference.yaml";
}

function createReporter(root: unknown, problems: Problem[]): Report {
  let schema: JsonSchema | undefined;
  return (issues, prefix) => {
    for (const issue of issues) {
      const path = [...prefix, ...issue.path.map((step) => (typeof step === "symbol" ? String(step) : step))];
      if (issue.code === "unrecognized_keys") {
        schema ??= jsonSchema();
        for (const key of issue.keys ?? []) problems.push(unknownKey(schema, path, key, valueAt(root, [...path, key])));
      } else if (issue.code === "invalid_key") {
        const [first] = issue.issues ?? [];
        problems.push({ path, what: first?.message ?? issue.message, remedy: remedyOf(first), at: "key" });
      } else if (issue.code === "custom") {
        const missing = valueAt(root, path) === undefined && isMap(valueAt(root, path.slice(0, -1)));
        problems.push({ path, what: missing ? "is missing" : issue.message, remedy: remedyOf(issue), at: "value" });
      } else {
        problems.push(wrongKind(path, valueAt(root, path), issue));
      }
    }
  };
}

function unknownKey(schema: JsonSchema, block: Path, key: string, value: unknown): Problem {
  const problem = (what: string, remedy: string): Problem => ({ path: [...block, key], what, remedy, at: "key" });
  if (isLater(block, key)) return problem("is not available yet", "remove it; a coming version takes it");
  const colon = key.indexOf(":");
  if (value === null && colon > 0) {
    return problem(
      "is a key without a value",
      `put a space after the colon: ${key.slice(0, colon)}: ${key.slice(colon + 1)}`,
    );
  }
  const known = knownKeys(schema, block);
  const meant = nearest(key, known);
  if (meant !== undefined) return problem("unknown key", `did you mean ${meant}?`);
  const home = homeOf(schema, key);
  if (home !== undefined) return problem("unknown key here", `it belongs under ${home}`);
  if (block.length === 0 && key.includes(".")) return problem("unknown key", "a site stands under `sites:`");
  if (block.length > 0 && Object.hasOwn(configSchema.shape, key))
    return problem("unknown key here", "it belongs at the left margin");
  return problem("unknown key", `there are ${known.join(", ")}`);
}

function wrongKind(path: Path, value: unknown, issue: Issue): Problem {
  const problem = (what: string, remedy: string): Problem => ({ path, what, remedy, at: "value" });
  if (value === undefined) return problem("is missing", "write it, or remove the block it belongs to");
  if (issue.expected === "array") return problem(`takes a list, not ${shown(value)}`, "begin each entry with `- `");
  if (issue.expected === "object" || issue.expected === "record") {
    const noSpace = typeof value === "string" && /^[^\s:]+:\S/.test(value);
    const remedy = noSpace
      ? "put a space after the colon of each `key: value`"
      : "write `key: value` lines below it, indented";
    return problem(`takes a block of keys, not ${shown(value)}`, remedy);
  }
  return problem(issue.message, "see config/reference.yaml");
}

function valueAt(root: unknown, path: Path): unknown {
  let value = root;
  for (const step of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, step)) return undefined;
    value = (value as Record<string | number, unknown>)[step];
  }
  return value;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
