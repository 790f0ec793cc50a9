/**
 * What does the text say, and where does it say it?
 * Owns: YAML 1.2 → plain values plus the place of every key and value; repeated keys, aliases and tags are problems here.
 * Never: knows which keys exist.
 */
import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
} from "yaml";
import type { Path } from "../findings.ts";
import { syntaxTrap } from "./traps.ts";

export interface Place {
  line: number;
  column: number;
}

/** Something the text itself gets wrong. What lies below its path is not judged again. */
export interface TextProblem {
  path: Path;
  place: Place;
  what: string;
  remedy: string;
  /** The text could not be read to its end: nothing else of it is to be trusted. */
  isFatal: boolean;
  /** False where the value was read all the same. */
  hidesValue: boolean;
}

export interface DocumentText {
  /** Maps have no prototype, so that no key of the text can reach one. */
  value: unknown;
  problems: readonly TextProblem[];
  /** Where a value is written; a block, or nothing, is where its key is. The nearest one above for what is not written. */
  place(path: Path): Place;
  keyPlace(path: Path): Place;
  /** The part of the path that is written: `sites.a.to` of `a: 1.2.3.4` is `sites.a`. */
  written(path: Path): Path;
}

const START: Place = { line: 1, column: 1 };
/** Settings are four deep; the walk below is recursive. */
const MAX_DEPTH = 32;

interface Places {
  key: number | undefined;
  value: number | undefined;
  isContainer: boolean;
}

export function readDocument(text: string): DocumentText {
  const lines = new LineCounter();
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const fatal = (what: string, remedy: string, place: Place): DocumentText => {
    const problem = { path: [], place, what, remedy, isFatal: true, hidesValue: true };
    return {
      value: undefined,
      problems: [problem],
      place: () => place,
      keyPlace: () => place,
      written: (path) => path,
    };
  };

  let document;
  try {
    // Repeated keys are found below, with the first line named; the parser would stop at them.
    document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false, version: "1.2" });
  } catch (error) {
    // The parser is recursive: brackets nested thousands deep end here.
    const reason = error instanceof RangeError ? "it is nested too deeply" : "its structure is broken";
    return fatal(`this is not YAML that can be read: ${reason}`, "see config/reference.yaml for the shape", START);
  }
  const first = document.errors[0];
  if (first !== undefined) {
    const trap = syntaxTrap(text, {
      code: first.code,
      message: first.message,
      offset: first.pos[0],
      openedAt: openedBefore(document, first.pos[0]),
    });
    return fatal(trap.what, trap.remedy, placeAt(trap.offset));
  }
  const yaml = document.directives?.yaml;
  if (yaml !== undefined && yaml.version !== "1.2") {
    return fatal(`%YAML ${yaml.version} is not read`, "remove the line; this is YAML 1.2", START);
  }
  const walk = createWalk(placeAt);
  const value = walk.valueOf(document.contents, []);
  return { value, problems: walk.problems, ...createLookup(walk.places, placeAt) };
}

/** Where the quote or bracket begins that is still open at `offset`. */
function openedBefore(document: Document.Parsed, offset: number): number | undefined {
  let opened: number | undefined;
  visit(document, {
    Node: (_, node) => {
      const isFramed = isScalar(node)
        ? node.type === "QUOTE_DOUBLE" || node.type === "QUOTE_SINGLE"
        : isCollection(node) && node.flow === true;
      const [start, end] = node.range ?? [offset, 0];
      if (isFramed && start < offset && end >= offset) opened = start;
    },
  });
  return opened;
}

const idOf = (path: Path): string => JSON.stringify(path);

function createLookup(places: ReadonlyMap<string, Places>, placeAt: (offset: number) => Place) {
  const nearestWritten = (path: Path, offsetOf: (places: Places) => number | undefined): Place => {
    for (let length = path.length; length >= 0; length--) {
      const known = places.get(idOf(path.slice(0, length)));
      const offset = known === undefined ? undefined : offsetOf(known);
      if (offset !== undefined) return placeAt(offset);
    }
    return START;
  };
  return {
    place: (path: Path) =>
      nearestWritten(path, ({ key, value, isContainer }) => (isContainer ? (key ?? value) : (value ?? key))),
    keyPlace: (path: Path) => nearestWritten(path, ({ key, value }) => key ?? value),
    written: (path: Path): Path => {
      const scalarAt = path.findIndex((_, at) => places.get(idOf(path.slice(0, at)))?.isContainer === false);
      return scalarAt < 0 ? path : path.slice(0, scalarAt);
    },
  };
}

function createWalk(placeAt: (offset: number) => Place) {
  const problems: TextProblem[] = [];
  const places = new Map<string, Places>();
  const problem = (path: Path, offset: number, what: string, remedy: string, hidesValue = true) => {
    problems.push({ path, place: placeAt(offset), what, remedy, isFatal: false, hidesValue });
  };

  function valueOf(node: Node | null, path: Path, keyOffset?: number): unknown {
    const offset = node?.range?.[0] ?? keyOffset ?? 0;
    const isEmpty = node === null || (isScalar(node) && node.value === null);
    places.set(idOf(path), { key: keyOffset, value: isEmpty ? undefined : offset, isContainer: isCollection(node) });
    if (node === null) return null;
    if (path.length > MAX_DEPTH) return problem(path, offset, "this is nested too deeply", "no setting lies that deep");
    if (isAlias(node)) {
      return problem(
        path,
        offset,
        `*${node.source} is a YAML alias`,
        "put names that start with * in quotes; write repeated values out",
      );
    }
    if (node.tag !== undefined && !/^tag:yaml\.org,2002:(?:str|int|float|bool|null|map|seq)$/.test(node.tag)) {
      const tag = node.tag.replace(/^tag:yaml\.org,2002:/, "!!");
      return problem(
        path,
        offset,
        `the tag ${tag} is not known here`,
        "use env:NAME or file:/path for what is kept elsewhere",
      );
    }
    if (isMap(node)) return mapOf(node.items as Pair<Node, Node | null>[], path);
    if (isSeq(node)) return (node.items as Node[]).map((item, at) => valueOf(item, [...path, at]));
    const value = isScalar(node) ? node.value : undefined;
    if (value === null || ["string", "number", "boolean"].includes(typeof value)) return value;
    return problem(path, offset, "this kind of value is not known here", "write a text, a number, true or false");
  }

  function mapOf(pairs: readonly Pair<Node, Node | null>[], path: Path): Record<string, unknown> {
    const map = Object.create(null) as Record<string, unknown>;
    const firstPlaces = new Map<string, Place>();
    for (const { key, value } of pairs) {
      const offset = key.range?.[0] ?? 0;
      const name = keyText(key);
      if (name === undefined) {
        const remedy = isAlias(key) ? "put names that start with * in quotes" : "a key is a plain text";
        problem(path, offset, "this key cannot be used", remedy, false);
        continue;
      }
      const below = [...path, name];
      const seen = firstPlaces.get(name);
      if (name === "__proto__") {
        problem(below, offset, "this key cannot be used", "choose another name");
      } else if (seen !== undefined) {
        problem(below, offset, `this key stands here twice, first in line ${seen.line}`, "remove one of them", false);
      } else {
        firstPlaces.set(name, placeAt(offset));
        map[name] = valueOf(value, below, offset);
      }
    }
    return map;
  }

  return { valueOf, problems, places };
}

/** `8080: x` and `null: x` have keys that YAML reads as a number and as nothing; here a key is what was written. */
function keyText(key: Node): string | undefined {
  if (!isScalar(key)) return undefined;
  if (typeof key.value === "string") return key.value;
  return key.source ?? String(key.value);
}
