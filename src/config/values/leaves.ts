/**
 * How is one value written: a length of time, a size, a choice, a secret?
 * Owns: the building blocks of the schema; each has a doc, a default, and refusals with a remedy.
 * Never: knows a key by name.
 */
import * as z from "zod";
import { formatDuration, formatSize, parseDuration, parseSize } from "../../core/time.ts";
import { Refusal, shown } from "../findings.ts";
import { nearest } from "../text/nearest.ts";

/** What an editor and the reference say about a key. */
export interface About {
  doc: string;
  /** As it would be written. A key without one is optional. */
  default?: string | number | boolean | readonly string[];
  /** For the reference, where there is no default. */
  example?: string | number | boolean | readonly string[] | Readonly<Record<string, string | null>>;
}

/** A text whose value may stand elsewhere. */
export type SecretRef = { kind: "text"; text: string } | { kind: "env"; name: string } | { kind: "file"; path: string };

interface LeafAbout extends About {
  json: Readonly<Record<string, unknown>>;
}

const metaOf = (about: About) => ({
  description: about.doc,
  ...(about.example === undefined ? {} : { examples: [about.example] }),
});

/** A value that `read` understands or refuses. Required unless a default or `.optional()` says otherwise. */
export function leaf<T>(about: LeafAbout, read: (value: unknown) => T | Refusal) {
  return z
    .unknown()
    .transform((value, context): T => {
      const result = read(value);
      if (!(result instanceof Refusal)) return result;
      context.issues.push({ code: "custom", message: result.what, params: { remedy: result.remedy }, input: value });
      return z.NEVER;
    })
    .meta({ ...about.json, ...metaOf(about) });
}

function leafWithDefault<T>(
  about: LeafAbout & Required<Pick<About, "default">>,
  read: (value: unknown) => T | Refusal,
) {
  return leaf(about, read).prefault(about.default).meta(metaOf(about));
}

interface Span {
  doc: string;
  min: string;
  max: string;
}

export function duration(about: Span & { default: string }) {
  return leafWithDefault({ ...durationAbout(about), default: about.default }, durationReader(about));
}

/** Without a default of its own: what it is depends on other keys, and `doc` says how. */
export function optionalDuration(about: Span & { example: string }) {
  return leaf({ ...durationAbout(about), example: about.example }, durationReader(about)).optional();
}

const durationAbout = ({ doc, min, max }: Span) => ({
  doc: `${doc} A length of time: ms, s, m, h, d; from ${min} to ${max}.`,
  json: { type: "string", pattern: "^(\\d+(ms|s|m|h|d))+$" },
});

function durationReader(about: Span): (value: unknown) => number | Refusal {
  const [min, max] = [parseDuration(about.min) ?? 0, parseDuration(about.max) ?? Infinity];
  return (value) => {
    const ms = typeof value === "string" ? parseDuration(value) : undefined;
    if (ms === undefined) return new Refusal(`${shown(value)} is not a length of time`, durationRemedy(value));
    if (ms < min) return new Refusal(`${shown(value)} is too short`, `the least is ${about.min}`);
    if (ms > max) return new Refusal(`${shown(value)} is too long`, `the most is ${about.max}`);
    return ms;
  };
}

function durationRemedy(value: unknown): string {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0)
    return `give a unit: ${value}s, say, or ${value}m`;
  const loose = typeof value === "string" ? /^\s*(\d{1,9})\s*([a-z]+)\s*$/i.exec(value) : null;
  const unit = /^(?:(ms|msec|milliseconds?)|(s|secs?|seconds?)|(m|mins?|minutes?)|(h|hrs?|hours?)|(d|days?))$/i.exec(
    loose?.[2] ?? "",
  );
  const short = ["ms", "s", "m", "h", "d"].find((_, at) => unit?.[at + 1] !== undefined);
  if (loose !== null && short !== undefined)
    return `write ${formatDuration(parseDuration(`${Number(loose[1])}${short}`) ?? 0)}`;
  return "write 90s, 5m or 1h30m";
}

const JSON_SIZE = "\\d+(\\.\\d+)?\\s*(B|[KMGT]i?B)";

/** Bytes, between two sizes. */
export function size(about: { doc: string; default: string; min: string; max: string }) {
  const [min, max] = [parseSize(about.min) ?? 0, parseSize(about.max) ?? Infinity];
  const doc = `${about.doc} A size, such as 512B, 16KiB or 1MB; from ${about.min} to ${about.max}.`;
  return leafWithDefault(
    { doc, default: about.default, json: { type: "string", pattern: `^${JSON_SIZE}$` } },
    (value) => {
      const bytes = typeof value === "string" ? parseSize(value) : undefined;
      if (bytes === undefined) return new Refusal(`${shown(value)} is not a size`, "write 512B, 16KiB or 1MB");
      if (bytes < min) return new Refusal(`${shown(value)} is too small`, `the least is ${about.min}`);
      return bytes > max ? new Refusal(`${shown(value)} is too large`, `the most is ${about.max}`) : bytes;
    },
  );
}

/** How many. */
export function count(about: { doc: string; default: number; min: number; max: number }) {
  const { min, max } = about;
  const doc = `${about.doc} A number from ${min} to ${max}.`;
  const json = { type: "integer", minimum: min, maximum: max };
  return leafWithDefault({ doc, default: about.default, json }, (value) => judgeCount(value, about));
}

export function judgeCount(value: unknown, about: { default: number; min: number; max: number }): number | Refusal {
  if (typeof value !== "number" || !Number.isInteger(value))
    return new Refusal(`${shown(value)} is not a whole number`, `write ${about.default}, say`);
  if (value < about.min) return new Refusal(`${value} is too small`, `the least is ${about.min}`);
  return value > about.max ? new Refusal(`${value} is too large`, `the most is ${about.max}`) : value;
}

/** Bytes; `none` is 0, which means no limit. */
export function sizeOrNone(about: { doc: string; default: string }) {
  const doc = `${about.doc} A size: B, KB, MB, GB, TB (thousands) or KiB, MiB, GiB, TiB; or none.`;
  const json = { type: "string", pattern: `^(none|${JSON_SIZE})$` };
  return leafWithDefault({ doc, default: about.default, json }, (value) => {
    if (value === "none") return 0;
    const bytes = typeof value === "string" ? parseSize(value) : undefined;
    if (bytes === undefined) return new Refusal(`${shown(value)} is not a size`, sizeRemedy(value));
    return bytes > 0 ? bytes : new Refusal("a size of 0 would refuse everything", "write none for no limit");
  });
}

function sizeRemedy(value: unknown): string {
  if (value === 0) return "write none for no limit";
  if (typeof value === "number" && Number.isSafeInteger(value) && value > 0)
    return `give a unit: ${value < 10_000 ? `${value}MB` : formatSize(value)}, say`;
  const loose = typeof value === "string" ? /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*$/i.exec(value) : null;
  if (loose !== null && loose[2] !== "") {
    return `write ${loose[1]}${loose[2]?.toUpperCase() ?? ""}${loose[3]?.toLowerCase() ?? ""}B`;
  }
  return "write 512KB, 20MB or 1.5GB, or none for no limit";
}

/** One of a few words or numbers. `later` are the ones that a coming version takes. */
export function choice<const T extends string | number>(
  about: { doc: string; default: T },
  values: readonly T[],
  later: readonly string[] = [],
) {
  return leafWithDefault({ ...about, json: { enum: [...values] } }, (value): T | Refusal => {
    const found = values.find((one) => one === value);
    if (found !== undefined) return found;
    return choiceRefusal(value, values.map(String), later);
  });
}

export function choiceRefusal(value: unknown, values: readonly string[], later: readonly string[] = []): Refusal {
  if (typeof value === "string" && later.includes(value))
    return new Refusal(`${value} is not available yet`, oneOf(values));
  const meant = typeof value === "string" ? nearest(value, values) : undefined;
  return new Refusal(
    `${shown(value)} is not known here`,
    meant === undefined ? oneOf(values) : `did you mean ${meant}?`,
  );
}

const oneOf = (values: readonly string[]) => `write one of ${values.join(", ")}`;

export function flag(about: { doc: string; default: boolean }) {
  return leafWithDefault({ ...about, json: { type: "boolean" } }, (value) => {
    if (typeof value === "boolean") return value;
    const word = typeof value === "string" ? value : "";
    const isYes = /^(?:yes|on|true|y)$/i.test(word);
    const isNo = /^(?:no|off|false|n)$/i.test(word);
    const remedy = isYes ? "write true" : isNo ? "write false" : "write true or false";
    return new Refusal(`${shown(value)} is neither true nor false`, remedy);
  });
}

export function text(about: About, judge: (value: string) => Refusal | undefined = () => undefined) {
  return leaf({ ...about, json: { type: "string" } }, (value) => {
    if (typeof value !== "string")
      return new Refusal(
        `${shown(value)} is not a text`,
        value === null ? "write a value, or remove the key" : "put it in quotes",
      );
    return variableRefusal(value) ?? judge(value) ?? value;
  });
}

/** A text, `env:NAME` or `file:/path`. With `elsewhere` the text itself may not stand in the file. */
export function secretText(about: About & { elsewhere?: boolean }) {
  return leaf({ ...about, json: { type: "string" } }, (value): SecretRef | Refusal => {
    const forms = about.elsewhere === true ? "write file:/path or env:NAME" : "write a text, file:/path or env:NAME";
    if (typeof value !== "string" || value === "") return new Refusal(`${shown(value)} is not a text`, forms);
    const variable = variableRefusal(value);
    if (variable !== undefined) return variable;
    if (value.startsWith("env:")) {
      const name = value.slice("env:".length);
      if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) return { kind: "env", name };
      return new Refusal(`${shown(name)} is not the name of an environment variable`, "write env:NAME");
    }
    if (value.startsWith("file:")) {
      const path = value.slice("file:".length).replace(/^\/\/(?=\/)/, "");
      if (path === "" || path.includes("\0")) return new Refusal("file: names no path", "write file:/path");
      if (path.startsWith("~")) return new Refusal("~ is not expanded here", "write the whole path");
      return { kind: "file", path };
    }
    if (about.elsewhere === true) return new Refusal("this text does not stand in the file itself", forms);
    return { kind: "text", text: value };
  });
}

/** Other programs expand `${X}`; here it would be taken as it stands, and nobody would notice. */
export function variableRefusal(value: string): Refusal | undefined {
  const name = /\$\{(\w*)[^}]*\}/.exec(value)?.[1];
  if (name === undefined) return undefined;
  return new Refusal(
    "${…} is not expanded here",
    `use env:${name === "" ? "NAME" : name} or file:/path as the whole value, where secrets are taken`,
  );
}

/** Keys below a key. Left out, or with nothing below it, every key of it has its default. */
export function block<S extends z.ZodRawShape>(doc: string, shape: S) {
  return z
    .preprocess((value) => value ?? {}, z.strictObject(shape))
    .prefault({})
    .meta({ description: doc });
}

/** A block that is nothing at all when it is left out. */
export function optionalBlock<S extends z.ZodRawShape>(doc: string, shape: S) {
  return z.strictObject(shape).optional().meta({ description: doc });
}

/** One, or a list of them. */
export function oneOrMany<T extends z.ZodType>(doc: string, item: T, preset: string | readonly string[]) {
  return z
    .preprocess((value) => (Array.isArray(value) ? (value as unknown[]) : [value]), z.array(item))
    .prefault(preset)
    .meta({ description: doc, short: "string" });
}

/** Names that `judgeName` lets pass, one kind of value; nothing below the key is the same as no names. */
export function mapOf<T extends z.ZodType>(value: T, judgeName: (name: string) => Refusal | undefined) {
  const name = z.string().superRefine((text, context) => {
    const refusal = judgeName(text);
    if (refusal === undefined) return;
    context.issues.push({ code: "custom", message: refusal.what, params: { remedy: refusal.remedy }, input: text });
  });
  return z.preprocess((map) => map ?? {}, z.record(name, value));
}
