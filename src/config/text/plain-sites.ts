/**
 * Which lines of a large file hold sites that are written as plainly as can be?
 * Owns: telling them from all others, and what each of them says.
 * Never: decides what is YAML: one step off this narrow path, and the parser reads it (document does).
 *
 * The YAML parser takes 60 µs for a line: most of a second for ten thousand sites, at each start and each reload. Its
 * losers: js-yaml is ten times as fast, but takes aliases, dates and `1_000` for what we refuse, and knows no places.
 */

/** Sites in a row, all at one indentation. Text, and no number, that the parser would read in just the same way. */
export interface PlainRun {
  /** Numbers of lines from 0; `end` is the first after it. The last site is not among them. */
  start: number;
  end: number;
  /** The two that the parser reads as well: where they are is where all of them are. */
  first: PlainSite;
  last: PlainSite;
  /** What lies between the two, in order. */
  between: readonly PlainSite[];
}

export interface PlainSite {
  name: string;
  value: unknown;
  /** Number of its first line, from 0. */
  line: number;
  /** How many lines it has. */
  length: number;
}

const QUOTED = `"[ !#-[\\]-~]*"|'[ -&(-~]*'`;
const NAME = `[A-Za-z0-9][A-Za-z0-9.-]{0,300}|${QUOTED}`;
const TEXT = `[A-Za-z0-9](?:[A-Za-z0-9._/:-]*[A-Za-z0-9_/-])?|${QUOTED}`;
const KEY = "[A-Za-z]+";
const END = "[ ]*(?:[ ]#[^\\r\\n]*)?\\r?$";
const FIELD = `(${KEY}):[ ]+(${TEXT})`;

const SITES = /^sites:[ ]*(?:[ ]#[^\r\n]*)?\r?$/;
const NOTHING = /^[ ]*(?:#[^\r\n]*)?\r?$/;
const LINE = new RegExp(`^([ ]{1,16})(${NAME}):[ ]+(${TEXT})${END}`);
const FLOW = new RegExp(
  `^([ ]{1,16})(${NAME}):[ ]+\\{[ ]*((?:${KEY}:[ ]+(?:${TEXT})[ ]*,[ ]*)*${KEY}:[ ]+(?:${TEXT}))[ ]*\\}${END}`,
);
const HEAD = new RegExp(`^([ ]{1,16})(${NAME}):${END}`);
const BELOW = new RegExp(`^([ ]{2,32})${FIELD}${END}`);
/** Broader than what the parser takes for something else than text. */
const NO_TEXT = /^(?:null|true|false|[-+.\d][-+.\d_]*(?:e[-+\d]*)?|0x[\da-f]*|0o[0-7]*)$/i;
const SMALL_NUMBER = /^[1-9]\d{0,5}$/;

/** Fewer are not worth a cut. */
const MIN_BETWEEN = 8;

/** The runs below the first `sites:` at the left margin, in order; a site is a step. */
export function* plainRuns(lines: readonly string[]): Generator<void, PlainRun[]> {
  const runs: PlainRun[] = [];
  let at = lines.findIndex((line) => SITES.test(line)) + 1;
  if (at === 0) return runs;
  let run: PlainSite[] = [];
  let indent: string | undefined;
  const close = (): void => {
    const [first, last] = [run[0], run.at(-1)];
    if (first !== undefined && last !== undefined && run.length >= MIN_BETWEEN) {
      runs.push({ start: first.line + first.length, end: last.line, first, last, between: run.slice(1, -1) });
    }
    run = [];
  };
  while (at < lines.length) {
    const line = lines[at] ?? "";
    if (NOTHING.test(line)) {
      at++;
      continue;
    }
    const site = siteAt(lines, at, indent);
    if (site === undefined) {
      close();
      // What is at the left margin is no site.
      if (!line.startsWith(" ")) break;
      at++;
      continue;
    }
    indent ??= /^ */.exec(line)?.[0] ?? "";
    run.push(site);
    at += site.length;
    yield;
  }
  close();
  return runs;
}

function siteAt(lines: readonly string[], at: number, indent: string | undefined): PlainSite | undefined {
  const line = lines[at] ?? "";
  const plain = LINE.exec(line);
  if (plain !== null) {
    const value = valueOf(plain[3] ?? "");
    return isAt(plain[1], indent) && value !== undefined ? siteOf(plain[2], value, at, 1) : undefined;
  }
  const flow = FLOW.exec(line);
  if (flow !== null) {
    const fields = [...(flow[3] ?? "").matchAll(new RegExp(`${FIELD}[ ]*(?:,|$)`, "g"))];
    const value = mapOf(fields.map(([, key = "", text = ""]) => [key, text]));
    return isAt(flow[1], indent) && value !== undefined ? siteOf(flow[2], value, at, 1) : undefined;
  }
  const head = HEAD.exec(line);
  return head !== null && isAt(head[1], indent) ? blockAt(lines, at, head) : undefined;
}

const isAt = (found: string | undefined, indent: string | undefined): boolean =>
  indent === undefined || found === indent;

/** The lines below a name, all of them deeper and at one indentation. */
function blockAt(lines: readonly string[], at: number, [, indent = "", name]: RegExpExecArray): PlainSite | undefined {
  const fields: [string, string][] = [];
  let below: string | undefined;
  let next = at + 1;
  for (; next < lines.length; next++) {
    const line = lines[next] ?? "";
    if (NOTHING.test(line) || !line.startsWith(`${indent} `)) break;
    const field = BELOW.exec(line);
    if (field === null || (below !== undefined && field[1] !== below)) return undefined;
    below = field[1];
    fields.push([field[2] ?? "", field[3] ?? ""]);
  }
  // A comment may have further lines of the block behind it.
  for (let rest = next; rest < lines.length; rest++) {
    const line = lines[rest] ?? "";
    if (NOTHING.test(line)) continue;
    if (line.startsWith(`${indent} `)) return undefined;
    break;
  }
  const value = mapOf(fields);
  return fields.length === 0 || value === undefined ? undefined : siteOf(name, value, at, next - at);
}

function siteOf(name = "", value: unknown, line: number, length: number): PlainSite | undefined {
  const text = /^["']/.test(name) ? name.slice(1, -1) : name;
  // Keys are at most 1024 characters long (YAML 1.2.2 §7.4.2), one is refused, and JavaScript puts numbers before others.
  return text.length > 300 || text === "__proto__" || /^\d*$/.test(text)
    ? undefined
    : { name: text, value, line, length };
}

/** Undefined where a key stands twice. */
function mapOf(fields: readonly (readonly [key: string, text: string])[]): Record<string, unknown> | undefined {
  const map = Object.create(null) as Record<string, unknown>;
  for (const [key, text] of fields) {
    const value = valueOf(text);
    if (value === undefined || key in map) return undefined;
    map[key] = value;
  }
  return map;
}

function valueOf(text: string): string | number | boolean | undefined {
  if (/^["']/.test(text)) return text.slice(1, -1);
  if (!NO_TEXT.test(text)) return text;
  if (text === "true" || text === "false") return text === "true";
  return SMALL_NUMBER.test(text) ? Number(text) : undefined;
}
