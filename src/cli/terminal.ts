/**
 * How does the command line talk?
 * Owns: standard output for data, standard error for talk, colours where a person looks.
 * Never: knows what is said.
 */
import { styleText } from "node:util";
import { isGatehouseError } from "../core/errors.ts";
import { EXIT, exitCodeOf } from "./exit-codes.ts";

export type Style = "bold" | "dim" | "red" | "yellow" | "green";

export interface Terminal {
  out: NodeJS.WriteStream;
  err: NodeJS.WriteStream;
  env: NodeJS.ProcessEnv;
}

/** Node judges: a terminal, NO_COLOR, FORCE_COLOR. */
export const paint = (stream: NodeJS.WriteStream, style: Style, text: string): string =>
  styleText(style, text, { stream });

/** Terminals obey these, and some texts come from a CA or a target. */
const CONTROLS = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

export const harmless = (text: string): string => text.replace(CONTROLS, "\ufffd");

/** The shapes of --json are promises: a member may be added, none changes or goes without another number here. */
export function printJson(terminal: Terminal, value: Readonly<Record<string, unknown>>): void {
  terminal.out.write(`${JSON.stringify({ format: 1, ...value }, undefined, 2)}\n`);
}

/** Whole seconds: `jq fromdate` reads no fractions. */
export const isoTime = (ms: number | undefined): string | undefined =>
  ms === undefined ? undefined : `${new Date(ms).toISOString().slice(0, 19)}Z`;

/** Says what happened and what to do, and gives the exit code for it. */
export function reportError(terminal: Terminal, error: unknown): number {
  const { err } = terminal;
  const lead = paint(err, "red", "gatehouse:");
  if (!isGatehouseError(error)) {
    const story = error instanceof Error ? (error.stack ?? error.message) : String(error);
    err.write(`${lead} this is a mistake in Gatehouse itself; please report it with the lines below\n`);
    err.write(`${harmless(story)}\n`);
    return EXIT.failed;
  }
  const isList = error.message.includes("\n");
  err.write(isList ? `${lead}\n${harmless(error.message)}\n` : `${lead} ${harmless(error.message)}\n`);
  if (error.hint !== undefined) err.write(`${harmless(error.hint)}\n`);
  if (error.notBefore !== undefined) err.write(`next allowed at ${isoTime(error.notBefore)}\n`);
  return exitCodeOf(error.code);
}
