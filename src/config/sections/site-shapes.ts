/**
 * What does an entry under `sites` declare, when thousands of them are alike but for their target?
 * Owns: what the schema made of each shape (all keys but `to`, with their values), for one file.
 * Never: judges: a shape that is new, or anything wrong, is the schema's to say (judge).
 */
import { Refusal } from "../findings.ts";
import { readTarget } from "../values/readings.ts";
import type { DeclaredSite } from "../schema.ts";

/** More differ from each other, and keeping them is of no use. */
const MAX_SHAPES = 500;

export interface SiteShapes {
  /** Undefined: ask the schema. */
  declared(value: unknown): DeclaredSite | undefined;
  /** What the schema made of it. */
  learn(value: unknown, declared: DeclaredSite): void;
}

export function createSiteShapes(): SiteShapes {
  const shapes = new Map<string, DeclaredSite>();
  return {
    declared(value) {
      const { to, shape } = split(value);
      const known = shape === undefined ? undefined : shapes.get(shape);
      if (known === undefined || to === undefined) return undefined;
      const target = readTarget(to);
      return target instanceof Refusal ? undefined : { ...known, to: target };
    },
    learn(value, declared) {
      const { to, shape } = split(value);
      if (shape !== undefined && to !== undefined && shapes.size < MAX_SHAPES) shapes.set(shape, declared);
    },
  };
}

/** As the schema sees it: a text is a target. */
function split(value: unknown): { to: unknown; shape: string | undefined } {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return { to: value ?? undefined, shape: "{}" };
  const { to, ...others } = value as Readonly<Record<string, unknown>>;
  return { to, shape: shapeOf(others) };
}

/** JSON writes `null` for numbers that it has no word for. */
function shapeOf(others: Readonly<Record<string, unknown>>): string | undefined {
  let isWhole = true;
  const text = JSON.stringify(others, (_, value: unknown) => {
    if (typeof value === "number" && !Number.isFinite(value)) isWhole = false;
    return value;
  });
  return isWhole ? text : undefined;
}
