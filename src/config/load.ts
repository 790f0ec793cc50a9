/**
 * What is configured?
 * Owns: from the file to the frozen Config or all its findings; the quarantine of single sites.
 * Never: changes anything outside; calling it is always safe.
 */
import { createHash } from "node:crypto";
import { GatehouseError } from "../core/errors.ts";
import { atPace, type Pace } from "../core/pieces.ts";
import { type DocumentText, readDocument, type TextProblem } from "./text/document.ts";
import { ConfigInvalid, type Finding, findingText, type Path, pathText } from "./findings.ts";
import { judge, type Judged, judging, type Problem } from "./judge.ts";
import { readLargeDocument, readPlainDocument } from "./text/large-document.ts";
import type { Config } from "./model.ts";
import { readSmallFile } from "./text/read-file.ts";
import { type Resolved, resolveConfig } from "./resolve.ts";
import { createResolver, fileTrouble, type Resolver } from "./values/secrets.ts";

/** Some 400 sites: of fewer, the parser makes 30 ms. */
const LARGE_CHARS = 16_384;

export interface LoadOptions {
  /** Where `env:NAME` looks. */
  env: NodeJS.ProcessEnv;
  /** Leave out sites and ports that have findings of their own, and run the rest. Default: any finding is an error. */
  quarantine?: boolean;
  readFile?: (path: string) => Promise<string>;
}

export interface LoadedConfig {
  config: Config;
  /** It runs, but this is probably not meant. */
  warnings: Finding[];
  /** Value of a secret → how it was written. For those who print a configuration; never log it. */
  references: ReadonlyMap<string, string>;
  /** SHA-256 of the text: what the watcher compares with. */
  digest: string;
}

/**
 * @param file  as the operator wrote it: findings repeat it
 * @throws GATEHOUSE_CONFIG_INVALID    (ConfigInvalid) with all findings
 * @throws GATEHOUSE_CONFIG_UNREADABLE the file itself cannot be read
 */
export async function loadConfig(file: string, options: LoadOptions): Promise<LoadedConfig> {
  const text = await readConfigFile(file, options);
  const document = text.length < LARGE_CHARS ? readDocument(text) : readLargeDocument(text);
  if (document.problems.some((problem) => problem.isFatal)) {
    throw new ConfigInvalid(createFindings(file, document).ofText());
  }
  const judged = judge(document.value);
  const draft = await resolveDraft(file, { text, document, judged, ...options });
  return finish(draft, options);
}

/**
 * The same, of a large file of plain sites in which nothing is wrong, while others are served.
 *
 * @param pace  asked after each site, at each stage
 * @returns undefined where it is another kind of file: that takes the processor for longer than anybody can wait
 * @throws GATEHOUSE_CONFIG_UNREADABLE
 */
export async function loadAtPace(file: string, options: LoadOptions, pace: Pace): Promise<LoadedConfig | undefined> {
  const text = await readConfigFile(file, options);
  const document = await atPace(readPlainDocument(text), pace);
  if (document === undefined) return undefined;
  const judged = await atPace(judging(document.value), pace);
  if (judged.problems.length > 0) return undefined;
  const draft = await resolveDraft(file, { text, document, judged, ...options }, pace);
  if (draft.resolver.problems.length > 0) return undefined;
  await atPace(freezing(draft.resolved.config.sites), pace);
  return finish(draft, options);
}

interface Draft {
  text: string;
  findings: ReturnType<typeof createFindings>;
  judged: Judged;
  resolver: Resolver;
  resolved: Resolved;
  warnings: Finding[];
}

async function resolveDraft(
  file: string,
  source: LoadOptions & { text: string; document: DocumentText; judged: Judged },
  pace?: Pace,
): Promise<Draft> {
  const { text, document, judged, env, readFile = readSmallFile } = source;
  const findings = createFindings(file, document);
  const resolver = createResolver(file, { env, readFile }, pace);
  const warnings: Finding[] = [];
  const known = [...document.problems, ...judged.problems];
  const resolved = await resolveConfig(
    file,
    judged,
    resolver,
    (path, what, remedy) => warnings.push(findings.of({ path, what, remedy, at: "value" })),
    (section) => known.some(({ path }) => path[0] === section),
  );
  return { text, findings, judged, resolver, resolved, warnings };
}

/** @throws GATEHOUSE_CONFIG_INVALID */
function finish({ text, findings, judged, resolver, resolved, warnings }: Draft, options: LoadOptions): LoadedConfig {
  const all = [...findings.ofText(), ...findings.ofProblems([...judged.problems, ...resolver.problems])].sort(
    (a, b) => a.line - b.line || a.column - b.column,
  );
  const byEntry = Map.groupBy(all, (finding) => findings.entryOf(finding) ?? "");
  const general = byEntry.get("") ?? [];
  byEntry.delete("");
  const nameOf = (written: string) => resolved.names.get(written) ?? written;
  const bad = new Set([...byEntry.keys()].map(nameOf));
  const sites = resolved.config.sites.filter((site) => !bad.has(site.name));
  const ports = resolved.config.ports.filter((port) => !bad.has(port.key));
  if (general.length > 0 || (byEntry.size > 0 && (options.quarantine !== true || sites.length === 0)))
    throw new ConfigInvalid(all);

  const quarantined = [...byEntry].map(([written, own]) => ({
    name: nameOf(written),
    finding: own.map(findingText).join("\n"),
  }));
  return {
    config: deepFreeze({ ...resolved.config, sites, ports, quarantined }),
    warnings,
    references: resolver.references,
    digest: digestOf(text),
  };
}

export function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

async function readConfigFile(file: string, { readFile = readSmallFile }: LoadOptions): Promise<string> {
  try {
    return await readFile(file);
  } catch (cause) {
    const { what, remedy } = fileTrouble(file, cause);
    throw new GatehouseError("GATEHOUSE_CONFIG_UNREADABLE", {
      message: what,
      hint: `${remedy}; --config or GATEHOUSE_CONFIG names another file`,
      cause,
    });
  }
}

/** Problems to findings: with a place, each once, and none below what could not be read. */
function createFindings(file: string, document: DocumentText) {
  const entries = new Map<Finding, string>();
  const finish = (
    path: Path,
    { line, column }: { line: number; column: number },
    what: string,
    remedy: string,
  ): Finding => {
    const finding = { file, line, column, path: pathText(path), message: what, remedy };
    if ((path[0] === "sites" || path[0] === "ports") && path.length > 1) entries.set(finding, String(path[1]));
    return finding;
  };
  const of = ({ path, what, remedy, at, clashesWith }: Problem): Finding => {
    const written = document.written(path);
    const place = at === "key" ? document.keyPlace(path) : document.place(path);
    const other = clashesWith === undefined ? "" : ` in line ${document.keyPlace(clashesWith).line}`;
    return finish(written, place, `${what}${other}`, remedy);
  };
  const isHidden = (path: Path) =>
    document.problems.some(({ hidesValue, path: above }) => hidesValue && startsWith(path, above));
  return {
    of,
    ofText: () =>
      document.problems.map(({ path, place, what, remedy }: TextProblem) => finish(path, place, what, remedy)),
    ofProblems: (problems: readonly Problem[]) => problems.filter(({ path }) => !isHidden(path)).map(of),
    /** The site or port it belongs to. */
    entryOf: (finding: Finding) => entries.get(finding),
  };
}

function startsWith(path: Path, above: Path): boolean {
  return above.every((step, at) => path[at] === step);
}

export function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const below of Object.values(value)) deepFreeze(below);
  return Object.freeze(value);
}

function* freezing(values: readonly unknown[]): Generator<void, void> {
  for (const value of values) {
    deepFreeze(value);
    yield;
  }
}
