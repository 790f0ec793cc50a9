/**
 * What did the operator mean when the text is not even YAML?
 * Owns: the traps of home users' YAML and the sentence for each.
 * Never: reports more than the first error; one bad bracket makes thirty of them.
 */
import type { ErrorCode } from "yaml";

export interface Trap {
  what: string;
  remedy: string;
  /** Where to point: the cause, when it lies before the place where the parser stumbled. */
  offset: number;
}

/** What the parser says. */
export interface ParserError {
  code: ErrorCode;
  message: string;
  offset: number;
  /** Where the quote or bracket begins that is still open there. */
  openedAt: number | undefined;
}

export function syntaxTrap(text: string, error: ParserError): Trap {
  const line = lineAt(text, error.offset);
  const before = lineAt(text, text.slice(0, line.start).trimEnd().length);
  // The parser stumbles over `*.lab:` only at what follows it, which may be the next line.
  return spellingTrap(line.text, line.start) ?? starTrap(before.text, before.start) ?? parserTrap(error, line.text);
}

function lineAt(text: string, offset: number): { text: string; start: number } {
  const start = text.lastIndexOf("\n", offset - 1) + 1;
  const end = text.indexOf("\n", offset);
  return {
    start,
    text: text
      .slice(start, end < 0 ? undefined : end)
      .replace(/\r$/, "")
      .replace(/(?:^|\s)#.*$/, ""),
  };
}

/** Three spellings that YAML reads as something else altogether; the line shows them whatever the parser says. */
function spellingTrap(line: string, lineStart: number): Trap | undefined {
  const variable = /\$\{(\w*)/.exec(line);
  if (variable !== null && !/["'][^"']*\$\{/.test(line)) {
    const name = variable[1] === "" ? "NAME" : variable[1];
    return {
      what: "${…} means nothing here",
      remedy: `use env:${name} or file:/path`,
      offset: lineStart + variable.index,
    };
  }
  const star = starTrap(line, lineStart);
  if (star !== undefined) return star;
  const bracket = /(?<=[:,[{-]\s+|^\s*)\[[\da-f.:%]*:[\da-f.:%]*\](?::\d+)?/i.exec(line);
  if (bracket !== null) {
    const offset = lineStart + bracket.index;
    return {
      what: "an unquoted [ begins a list in YAML",
      remedy: `put [IPv6]:port in quotes: "${bracket[0]}"`,
      offset,
    };
  }
  return undefined;
}

function starTrap(line: string, lineStart: number): Trap | undefined {
  const star = /^(\s*(?:-\s+)?)(\*[^\s:,]*)/.exec(line) ?? /([{,]\s*)(\*[^\s:,]*)/.exec(line);
  if (star !== null) {
    const offset = lineStart + star.index + (star[1] ?? "").length;
    return {
      what: "a text that starts with * is an alias in YAML",
      remedy: `put names that start with * in quotes: "${star[2]}"`,
      offset,
    };
  }
  return undefined;
}

/** Every unclosed bracket and quote ends in one of a dozen errors; what was left open is the cause. */
function parserTrap({ code, message, offset, openedAt }: ParserError, line: string): Trap {
  if (openedAt !== undefined && ["MISSING_CHAR", "BAD_INDENT", "TAB_AS_INDENT"].includes(code)) {
    return { what: "a quote or bracket is opened here and not closed", remedy: "close it", offset: openedAt };
  }
  return { ...codeTrap(code, message, line), offset };
}

function codeTrap(code: ErrorCode, parserMessage: string, line: string): { what: string; remedy: string } {
  switch (code) {
    case "TAB_AS_INDENT":
      return { what: "a tab indents this line", remedy: "replace the tab by spaces" };
    case "BAD_SCALAR_START":
      return {
        what: `a text cannot start with ${parserMessage.at(-1) ?? "this character"} in YAML`,
        remedy: "quote it",
      };
    case "BLOCK_AS_IMPLICIT_KEY":
      return {
        what: "a second `: ` stands in this line",
        remedy: "quote a text that has `: ` in it, or begin a new line",
      };
    case "MISSING_CHAR":
      return line.includes(":") && !/["'[{]/.test(line)
        ? { what: "a key has no value here", remedy: "write `key: value`, with a space after the colon" }
        : { what: "a quote or bracket is not closed", remedy: "close it" };
    case "MULTILINE_IMPLICIT_KEY":
      return {
        what: "this line is no `key: value`",
        remedy: "put a space after the colon, and quote texts of several lines",
      };
    case "MULTIPLE_DOCS":
      return { what: "a second document begins here", remedy: "remove the --- line; one file is one configuration" };
    case "BAD_INDENT":
      return { what: "this line is not indented like its neighbours", remedy: "align it with the line it belongs to" };
    case "UNEXPECTED_TOKEN":
      return { what: "something stands here that does not belong", remedy: "quote the text, or begin a new line" };
    default: {
      const message = parserMessage.split("\n", 1)[0] ?? "";
      return {
        what: `this is not YAML: ${message.slice(0, 120)}`,
        remedy: "check quotes, brackets and indentation of this line",
      };
    }
  }
}
