/**
 * What is configured?
 * Owns: from the file to the frozen Config or all its findings; the quarantine of single sites.
 * Never: changes anything outside; calling it is always safe.
 */
import { createHash } from "node:crypto";
import { GatehouseError } from "../core/errors.ts";
import { type DocumentText, readDocument, type TextProblem } from "./document.ts";
import { ConfigInvalid, type Finding, findingText, type Path, pathText } from "./findings.ts";
import { judge, type Problem } from "./judge.ts";
import { readLargeDocument } from "./large-document.ts";
import type { Config } from "./model.ts";
import { readSmallFile } from "./read-file.ts";
import { resolveConfig } from "./resolve.ts";
import { createResolver, fileTrouble } from "./secrets.ts";

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
  const readFile = options.readFile ?? readSmallFile;
  const text = await readConfigFile(file, readFile);
  const document = text.length < LARGE_CHARS ? readDocument(text) : readLargeDocument(text);
  const findings = createFindings(file, document);
  if (document.problems.some((problem) => problem.isFatal)) throw new ConfigInvalid(findings.ofText());

  const judged = judge(document.value);
  const resolver = createResolver(file, { env: options.env, readFile });
  const warnings: Finding[] = [];
  const known = [...document.problems, ...judged.problems];
  const resolved = await resolveConfig(
    file,
    judged,
    resolver,
    (path, what, remedy) => warnings.push(findings.of({ path, what, remedy, at: "value" })),
    (section) => known.some(({ path }) => path[0] === section),
  );

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

async function readConfigFile(file: string, readFile: (path: string) => Promise<string>): Promise<string> {
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
