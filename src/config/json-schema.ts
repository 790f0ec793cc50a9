/**
 * What does an editor know about the file?
 * Owns: the JSON Schema (2020-12) of what is written, made from the declarations; the keys there are at any place of it.
 * Never: judges a file; JSON Schema cannot say half of what the loader checks.
 */
import * as z from "zod";
import type { Path } from "./findings.ts";
import { configSchema } from "./schema.ts";

export interface JsonSchema {
  title?: string;
  description?: string;
  default?: unknown;
  examples?: readonly unknown[];
  type?: string | readonly string[];
  enum?: readonly unknown[];
  pattern?: string;
  properties?: Readonly<Record<string, JsonSchema>>;
  additionalProperties?: JsonSchema | boolean;
  propertyNames?: JsonSchema;
  required?: readonly string[];
  items?: JsonSchema;
  anyOf?: readonly JsonSchema[];
}

export function jsonSchema(): JsonSchema {
  const schema = z.toJSONSchema(configSchema, {
    io: "input",
    override: ({ zodSchema, jsonSchema }) => {
      const meta = z.globalRegistry.get(zodSchema);
      // zod drops these from what is written when a value is transformed; ours are written by hand for just that side.
      if (meta?.["examples"] !== undefined) jsonSchema.examples = meta["examples"] as unknown[];
      delete jsonSchema.propertyNames;
      if (jsonSchema["short"] !== "string") return;
      delete jsonSchema["short"];
      const { description, default: preset, ...long } = jsonSchema;
      for (const key of Object.keys(long)) delete jsonSchema[key];
      Object.assign(jsonSchema, { description, anyOf: [{ type: "string" }, long] });
      if (preset !== undefined) jsonSchema.default = preset;
    },
  }) as JsonSchema;
  return { ...schema, title: "Gatehouse configuration" };
}

/** The block or list behind a short form. */
export function longForm(schema: JsonSchema): JsonSchema {
  return schema.anyOf?.find((one) => one.properties !== undefined || one.items !== undefined) ?? schema;
}

/** The keys that a block at this place takes; empty when there is no such block. */
export function knownKeys(schema: JsonSchema, path: Path): string[] {
  let at: JsonSchema | undefined = longForm(schema);
  for (const step of path) {
    const any: JsonSchema | undefined =
      typeof at.additionalProperties === "object" ? at.additionalProperties : undefined;
    const below: JsonSchema | undefined = typeof step === "number" ? at.items : (at.properties?.[step] ?? any);
    if (below === undefined) return [];
    at = longForm(below);
  }
  return Object.keys(at.properties ?? {});
}

/** Where a key of this name is at home: `sites.NAME`, `acme`; the first place, from the top. */
export function homeOf(schema: JsonSchema, key: string, place = ""): string | undefined {
  const { properties = {}, additionalProperties } = longForm(schema);
  const join = (step: string) => (place === "" ? step : `${place}.${step}`);
  for (const [name, below] of Object.entries(properties)) {
    const home = knownKeys(below, []).includes(key) ? join(name) : homeOf(below, key, join(name));
    if (home !== undefined) return home;
  }
  if (typeof additionalProperties !== "object") return undefined;
  const anyName = join("NAME");
  return knownKeys(additionalProperties, []).includes(key) ? anyName : homeOf(additionalProperties, key, anyName);
}
