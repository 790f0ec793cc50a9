/**
 * What is wrong with a configuration, where, and how is it mended?
 * Owns: the shape of a finding, its one line of text, and the error that carries all of them.
 * Never: looks for any.
 */
import { GatehouseError } from "../core/errors.ts";

export interface Finding {
  /** As the operator wrote it, so that editors and terminals make it a link. */
  file: string;
  /** Both count from 1. */
  line: number;
  column: number;
  /** `sites["ha.example.org"].to`; empty for the file as a whole. */
  path: string;
  /** What is wrong. */
  message: string;
  /** How to mend it. */
  remedy: string;
}

/** `config/gatehouse.yaml:14:3  sites["a.example"].too  unknown key; did you mean to?` */
export function findingText(finding: Finding): string {
  const { file, line, column, path, message, remedy } = finding;
  return `${file}:${line}:${column}  ${path === "" ? "" : `${path}  `}${message}${remedy === "" ? "" : `; ${remedy}`}`;
}

/** GATEHOUSE_CONFIG_INVALID with everything that was found, in the order of the file. */
export class ConfigInvalid extends GatehouseError {
  readonly findings: readonly Finding[];

  constructor(findings: readonly Finding[]) {
    super("GATEHOUSE_CONFIG_INVALID", {
      message: findings.map(findingText).join("\n"),
      hint: "Mend the lines above; `gatehouse check` says when it is well.",
      detail: { findings: findings.length },
    });
    this.findings = findings;
  }
}

/** Where in the tree: keys of maps and numbers of lists. */
export type Path = readonly (string | number)[];

/** Keys that are not plain words (host names, route prefixes) stand in brackets, so that a dot always means one step. */
export function pathText(path: Path): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === "number") return `${text}[${step}]`;
    if (text !== "" && !/^[\w-]+$/.test(step)) return `${text}[${JSON.stringify(step)}]`;
    return text === "" ? step : `${text}.${step}`;
  }, "");
}

/** One value is not what its key takes: a finding that does not know its place yet. */
export class Refusal {
  readonly what: string;
  readonly remedy: string;

  constructor(what: string, remedy: string) {
    this.what = what;
    this.remedy = remedy;
  }
}

/** A value as a person would recognise it, short enough for one line. */
export function shown(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a block of keys";
  return JSON.stringify(typeof value === "string" && value.length > 60 ? `${value.slice(0, 60)}…` : value);
}
