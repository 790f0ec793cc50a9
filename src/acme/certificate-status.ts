/**
 * How do things stand with one name, for people?
 * Owns: the words `valid`, `pending`, `expired`, `refused`, and the facts that go with them.
 * Never: finds anything out (the scheduler knows it).
 */
import type { CertificateBundle } from "../storage/bundles.ts";
import type { FailureRecord } from "./failures.ts";

export interface CertificateStatus {
  name: string;
  /** `refused`: nothing valid is there, and the last failure needs a person. */
  state: "valid" | "pending" | "expired" | "refused";
  issuer: string | undefined;
  notBefore: number | undefined;
  notAfter: number | undefined;
  /** When the next order is planned, ms since 1970. */
  nextTry: number | undefined;
  /** Message and hint. */
  lastError: string | undefined;
  consecutiveFailures: number;
}

interface Known {
  name: string;
  bundle: CertificateBundle | undefined;
  failure: FailureRecord | undefined;
  /** What our own ledger says, when it is that which holds a name back. */
  heldBy: string | undefined;
}

export function statusOf({ name, bundle, failure, heldBy }: Known, nextTry: number, now: number): CertificateStatus {
  const isValid = bundle !== undefined && bundle.notAfter > now;
  const without = failure?.isRefusal === true ? "refused" : bundle === undefined ? "pending" : "expired";
  return {
    name,
    state: isValid ? "valid" : without,
    issuer: bundle?.issuer,
    notBefore: bundle?.notBefore,
    notAfter: bundle?.notAfter,
    nextTry: Math.max(nextTry, now),
    lastError: heldBy ?? (failure && [failure.message, failure.hint].filter((part) => part !== undefined).join(" ")),
    consecutiveFailures: failure?.count ?? 0,
  };
}
