/**
 * How do things stand with one name, for people?
 * Owns: the words `valid`, `pending`, `expired`, `refused`, and the facts that go with them.
 * Never: finds anything out (the scheduler knows it).
 */
import type { CertificateBundle } from "../storage/bundles.ts";
import type { FailureRecord } from "./schedule/failures.ts";

export interface CertificateStatus {
  name: string;
  /** `refused`: nothing valid is there, and the last failure needs a person. */
  state: "valid" | "pending" | "expired" | "refused";
  issuer: string | undefined;
  /** As the CA calls it; undefined where it does not say. */
  profile: string | undefined;
  notBefore: number | undefined;
  notAfter: number | undefined;
  /** When it is due by its life, ms since 1970; undefined without a certificate. */
  renewAt: number | undefined;
  /** When the next order is planned, ms since 1970; undefined when none is. */
  nextTry: number | undefined;
  /** Message and hint. */
  lastError: string | undefined;
  lastFailure: Pick<FailureRecord, "code" | "message" | "hint" | "at" | "notBefore"> | undefined;
  consecutiveFailures: number;
  /** We asked the CA to take it back. */
  isRevoked: boolean;
  /** No orders for it until a person wants one. */
  isDisabled: boolean;
  /** It comes from files that somebody else renews: nothing is ever ordered for it. */
  hasOwnFiles?: true | undefined;
}

interface Known {
  name: string;
  bundle: CertificateBundle | undefined;
  failure: FailureRecord | undefined;
  /** What our own ledger says, when it is that which holds a name back. */
  heldBy: string | undefined;
}

/** Times in ms since 1970. */
export function certificateStatus(
  known: Known,
  times: { nextTry: number | undefined; renewAt: number; now: number },
): CertificateStatus {
  const { name, bundle, failure, heldBy } = known;
  const { nextTry, renewAt, now } = times;
  const isValid = bundle !== undefined && bundle.notAfter > now;
  const without = failure?.isRefusal === true ? "refused" : bundle === undefined ? "pending" : "expired";
  return {
    name,
    state: isValid ? "valid" : without,
    issuer: bundle?.issuer,
    profile: bundle?.profile,
    notBefore: bundle?.notBefore,
    notAfter: bundle?.notAfter,
    renewAt: bundle && renewAt,
    nextTry: nextTry === undefined ? undefined : Math.max(nextTry, now),
    lastError: heldBy ?? (failure && [failure.message, failure.hint].filter((part) => part !== undefined).join(" ")),
    lastFailure: failure && {
      code: failure.code,
      message: failure.message,
      hint: failure.hint,
      at: failure.at,
      notBefore: failure.notBefore,
    },
    consecutiveFailures: failure?.count ?? 0,
    isRevoked: bundle?.revokedAt !== undefined,
    isDisabled: false,
  };
}
