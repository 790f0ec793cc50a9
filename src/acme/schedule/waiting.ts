/**
 * Who waits for an order, and how much do they want it?
 * Owns: people's wishes for one name, and what they make of an order's reason.
 * Never: orders.
 */
import type { CertificateBundle } from "../../storage/bundles.ts";
import type { IssueReason } from "../issue.ts";

export interface Waiting {
  /** Also against the ledger. */
  really: boolean;
  resolve: (bundle: CertificateBundle) => void;
  reject: (error: unknown) => void;
}

/** Undefined when nobody waits. */
export function reasonFor(waiting: readonly Waiting[]): IssueReason | undefined {
  if (waiting.length === 0) return undefined;
  return waiting.some(({ really }) => really) ? "insisted" : "asked";
}
