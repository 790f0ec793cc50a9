/**
 * What went wrong with a DNS provider, and who can act?
 * Owns: the two errors of this room and their words.
 * Never: shows a token.
 */
import { GatehouseError, errorText } from "../core/errors.ts";

/** It will not go better by itself. */
export function refused(message: string, hint: string, cause?: unknown): GatehouseError {
  return new GatehouseError("GATEHOUSE_DNS_REFUSED", { message, hint, ...(cause === undefined ? {} : { cause }) });
}

/** The next try may do. */
export function failed(message: string, cause?: unknown, notBefore?: number): GatehouseError {
  return new GatehouseError("GATEHOUSE_DNS_FAILED", {
    message: cause === undefined ? message : `${message}: ${errorText(cause)}`,
    hint: "Usually passing; it is tried again. If it repeats, look at the provider's own page.",
    ...(cause === undefined ? {} : { cause }),
    ...(notBefore === undefined ? {} : { notBefore }),
  });
}

/** One line, bounded, printable: a stranger's words that end in a log. */
export function quoted(text: string): string {
  const line = text.replace(/[^\x20-\x7e]+/g, " ").trim();
  return line.length > 200 ? `${line.slice(0, 200)}…` : line;
}
