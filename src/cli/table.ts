/**
 * How do rows line up?
 * Owns: padding columns by their widest cell.
 * Never: cuts a text off; a terminal wraps, a file does not need to.
 */
import { harmless, paint, type Style } from "./terminal.ts";

export type Cell = string | { text: string; style: Style };

const textOf = (cell: Cell): string => harmless(typeof cell === "string" ? cell : cell.text).replaceAll("\n", " ");

/** Padding comes before paint: escape sequences have no width. The last column is not padded. */
export function table(stream: NodeJS.WriteStream, head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const all: (readonly Cell[])[] = [head.map((text): Cell => ({ text, style: "bold" })), ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => textOf(row[column] ?? "").length)));
  const lines = all.map((row) =>
    row.map((cell, column) => {
      const isLast = column === row.length - 1;
      const padded = isLast ? textOf(cell) : textOf(cell).padEnd(widths[column] ?? 0);
      return typeof cell === "string" ? padded : paint(stream, cell.style, padded);
    }),
  );
  return `${lines.map((cells) => cells.join("  ").trimEnd()).join("\n")}\n`;
}
