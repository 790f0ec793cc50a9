/**
 * How is a file with thousands of sites read in a fraction of the parser's time?
 * Owns: the parser for everything but the plain sites in the middle of a run of such; both put together again.
 * Never: answers otherwise than `readDocument` would: value, problems and places are the same, or that reads it all.
 *
 * A line at the same indentation ends the site before it and begins the next. So where the first and the last site of a run
 * turn out to be just what they look like, by the parser's own word, all between them are, too.
 */
import { isDeepStrictEqual } from "node:util";
import { inOneGo } from "../../core/pieces.ts";
import { type DocumentText, type Place, readDocument } from "./document.ts";
import type { Path } from "../findings.ts";
import { type PlainRun, type PlainSite, plainRuns } from "./plain-sites.ts";

/** Of so many lines, which are left for the parser, it makes 12 ms. */
const FEW_LINES = 200;

export function readLargeDocument(text: string): DocumentText {
  return inOneGo(readPlainDocument(text, Number.POSITIVE_INFINITY)) ?? readDocument(text);
}

/** A site is a step. Undefined: all of it, or more than `most` lines, is for the parser, which cannot be held up. */
export function* readPlainDocument(text: string, most = FEW_LINES): Generator<void, DocumentText | undefined> {
  const lines = text.split("\n");
  const runs = yield* plainRuns(lines);
  const spared = runs.reduce((sum, { start, end }) => sum + end - start, 0);
  return runs.length === 0 || lines.length - spared > most ? undefined : yield* readAround(lines, runs);
}

function* readAround(lines: readonly string[], runs: readonly PlainRun[]): Generator<void, DocumentText | undefined> {
  const kept: string[] = [];
  /** Of each kept line, its number in the file. */
  const numbers: number[] = [];
  const keep = (start: number, end: number): void => {
    for (let at = start; at < end; at++) {
      kept.push(lines[at] ?? "");
      numbers.push(at + 1);
    }
  };
  let at = 0;
  for (const { start, end } of runs) {
    keep(at, start);
    at = end;
  }
  keep(at, lines.length);

  const rest = readDocument(kept.join("\n"));
  if (rest.problems.length > 0) return undefined;
  const inFile = ({ line, column }: Place): Place => ({ line: numbers[line - 1] ?? line, column });
  const sites = mapIn(mapIn(rest.value)?.["sites"]);
  const isAsRead = ({ name, value, line }: PlainSite): boolean =>
    isDeepStrictEqual(sites?.[name], value) && inFile(rest.keyPlace(["sites", name])).line === line + 1;
  if (sites === undefined || !runs.every(({ first, last }) => isAsRead(first) && isAsRead(last))) return undefined;

  const all = yield* together(sites, runs);
  if (all === undefined) return undefined;
  /** Made when a place is asked for, that is, when something is wrong. */
  let plain: Map<string, PlainSite> | undefined;
  const alone = (path: Path): PlainSite | undefined => {
    if (path[0] !== "sites" || path.length < 2) return undefined;
    plain ??= new Map(runs.flatMap(({ between }) => between.map((site) => [site.name, site])));
    return plain.get(String(path[1]));
  };
  const placeBy = (find: (document: DocumentText, path: Path) => Place, path: Path): Place => {
    const site = alone(path);
    if (site === undefined) return inFile(find(rest, path));
    const { line, column } = find(readAlone(lines, site), path);
    return { line: line + site.line - 1, column };
  };
  return {
    value: Object.assign(Object.create(null), rest.value, { sites: all }),
    problems: [],
    place: (path) => placeBy((document, each) => document.place(each), path),
    keyPlace: (path) => placeBy((document, each) => document.keyPlace(each), path),
    written(path) {
      const site = alone(path);
      return (site === undefined ? rest : readAlone(lines, site)).written(path);
    },
  };
}

/** Its lines are the second and those after it. */
const readAlone = (lines: readonly string[], { line, length }: PlainSite): DocumentText =>
  readDocument(["sites:", ...lines.slice(line, line + length)].join("\n"));

const mapIn = (value: unknown): Readonly<Record<string, unknown>> | undefined =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;

/** In the order of the file; undefined where a name stands twice, which has to be said with its lines. */
function* together(
  sites: Readonly<Record<string, unknown>>,
  runs: readonly PlainRun[],
): Generator<void, Record<string, unknown> | undefined> {
  const after = new Map(runs.map(({ first, between }) => [first.name, between]));
  const all = Object.create(null) as Record<string, unknown>;
  for (const [name, value] of Object.entries(sites)) {
    if (name in all) return undefined;
    all[name] = value;
    for (const site of after.get(name) ?? []) {
      if (site.name in all) return undefined;
      all[site.name] = site.value;
      yield;
    }
  }
  return all;
}
