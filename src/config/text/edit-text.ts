/**
 * Where in the text does an entry of a section begin and end?
 * Owns: inserting and removing one entry of `sites:` or `ports:` as lines, so that every other byte of the file stays.
 * Never: reads or writes a file, or knows what an entry means.
 *
 * Printing the changed YAML document lost: it keeps comments, but spells indentation, quotes and blank lines its own way,
 * and a person who sees the whole file change in a diff stops trusting the command.
 */
import { isMap, isScalar, type Pair, parseDocument, type ParsedNode, stringify } from "yaml";

type Entry = Pair<ParsedNode, ParsedNode | null>;

/** The text with `key: value` at the end of the section; the section is made when there is none. */
export function insertEntry(text: string, section: string, key: string, value: unknown): string {
  const document = parseDocument(text);
  const lines = text.split("\n");
  const found = sectionOf(document.contents, section);
  if (found === undefined) {
    const gap = text === "" || text.endsWith("\n") ? "" : "\n";
    return `${text}${gap}\n${section}:\n${entryLines(key, value, 2).join("\n")}\n`;
  }
  const { value: map } = found;
  if (isMap(map) && map.flow !== true && map.items.length > 0) {
    const last = map.items.at(-1) as Entry;
    const indent = columnOf(text, last.key);
    lines.splice(lastLineOf(lines, lineOf(text, last.key), indent) + 1, 0, ...entryLines(key, value, indent));
    return lines.join("\n");
  }
  if (map === null || (isScalar(map) && map.value === null)) {
    lines.splice(lineOf(text, found.key) + 1, 0, ...entryLines(key, value, 2));
    return lines.join("\n");
  }
  // `ports: { … }` on one line: what is between the braces is printed anew, the rest of the file is not.
  return inFlow(text, found, (written) => ({ ...written, [key]: value }));
}

/** The text without the entry; undefined when the section has none of that name. */
export function removeEntry(text: string, section: string, key: string): string | undefined {
  const found = sectionOf(parseDocument(text).contents, section);
  const map = found?.value;
  if (found === undefined || !isMap(map)) return undefined;
  const entry = (map.items as Entry[]).find((pair) => keyText(pair) === key);
  if (entry === undefined) return undefined;
  if (map.flow === true) {
    return inFlow(text, found, (written) =>
      Object.fromEntries(Object.entries(written).filter(([name]) => name !== key)),
    );
  }
  const lines = text.split("\n");
  const first = lineOf(text, entry.key);
  lines.splice(first, lastLineOf(lines, first, columnOf(text, entry.key)) - first + 1);
  return lines.join("\n");
}

function sectionOf(root: ParsedNode | null, section: string): Entry | undefined {
  return isMap(root) ? (root.items as Entry[]).find((pair) => keyText(pair) === section) : undefined;
}

const keyText = ({ key }: Entry): string | undefined => (isScalar(key) ? String(key.value) : undefined);

/** Counted from 0. */
function lineOf(text: string, node: ParsedNode): number {
  return text.slice(0, node.range[0]).split("\n").length - 1;
}

function columnOf(text: string, node: ParsedNode): number {
  const [start] = node.range;
  return start - (text.lastIndexOf("\n", start - 1) + 1);
}

/** An entry goes on while lines are indented deeper than its key; comments and blank lines count when more follows. */
function lastLineOf(lines: readonly string[], first: number, indent: number): number {
  let last = first;
  for (let at = first + 1; at < lines.length; at++) {
    const line = lines[at] ?? "";
    const isEmpty = line.trim() === "";
    const depth = line.length - line.trimStart().length;
    if (!isEmpty && depth <= indent && !line.trimStart().startsWith("#")) break;
    if (!isEmpty && depth > indent) last = at;
  }
  return last;
}

function entryLines(key: string, value: unknown, indent: number): string[] {
  const printed = stringify({ [key]: value }, { lineWidth: 0, flowCollectionPadding: true }).trimEnd();
  return printed.split("\n").map((line) => " ".repeat(indent) + line);
}

function inFlow(
  text: string,
  { value }: Entry,
  change: (written: Record<string, unknown>) => Record<string, unknown>,
): string {
  if (value === null) return text;
  const [start, end] = value.range;
  const written = (isMap(value) ? value.toJSON() : {}) as Record<string, unknown>;
  const printed = stringify(change(written), { collectionStyle: "flow", lineWidth: 0 }).trimEnd();
  return text.slice(0, start) + printed + text.slice(end);
}
