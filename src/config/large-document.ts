/**
 * How is a file with thousands of sites read in a fraction of the parser's time?
 * Owns: the parser for everything but the plain sites in the middle of a run of such; both put together again.
 * Never: answers otherwise than `readDocument` would: value, problems and places are the same, or that reads it all.
 *
 * A line at the same indentation ends the site before it and begins the next. So where the first and the last site of a run
 * turn out to be just what they look like, by the parser's own word, all between them are, too.
 */
import { isDeepStrictEqual } from "node:util";
import { type DocumentText, type Place, readDocument } from "./document.ts";
import type { Path } from "./findings.ts";
import { type PlainRun, type PlainSite, plainRuns } from "./plain-sites.ts";

export function readLargeDocument(text: string): DocumentText {
  const lines = text.split("\n");
  const runs = plainRuns(lines);
  return (runs.length === 0 ? undefined : readAround(lines, runs)) ?? readDocument(text);
}

function readAround(lines: readonly string[], runs: readonly PlainRun[]): DocumentText | undefined {
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

  const all = together(sites, runs);
  if (all === undefined) return undefined;
  const plain = new Map(runs.flatMap(({ between }) => between.map((site) => [site.name, site])));
  const alone = (path: Path): PlainSite | undefined =>
    path[0] === "sites" && path.length > 1 ? plain.get(String(path[1])) : undefined;
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
function together(
  sites: Readonly<Record<string, unknown>>,
  runs: readonly PlainRun[],
): Record<string, unknown> | undefined {
  const after = new Map(runs.map(({ first, between }) => [first.name, between]));
  const all = Object.create(null) as Record<string, unknown>;
  for (const [name, value] of Object.entries(sites)) {
    if (name in all) return undefined;
    all[name] = value;
    for (const site of after.get(name) ?? []) {
      if (site.name in all) return undefined;
      all[site.name] = site.value;
    }
  }
  return all;
}
