/**
 * What does the doctor say about one thing?
 * Owns: the shape of a finding, the report, and its first sentence.
 * Never: looks at anything.
 */

/**
 * `ok`: looked at and well. `note`: worth knowing. `warning`: works, but not for long or not for everybody.
 * `error`: visitors do not get in. `unknown`: could not be looked at; nothing is claimed.
 */
export type Severity = "ok" | "note" | "warning" | "error" | "unknown";

/**
 * From the inside out, so that the first error is the one to mend first: a port that cannot be opened is why nothing runs,
 * and a certificate that does not come is named after all that keeps a CA from looking.
 */
export const CHECKS = [
  "configuration",
  "listening",
  "running",
  "clock",
  "target",
  "websocket",
  "lan",
  "gateway",
  "router",
  "public-address",
  "ddns",
  "dns",
  "caa",
  "acme-path",
  "outside",
  "certificate",
  "rate-limits",
  "loopback",
  "ipv6",
  "clients",
] as const;

export type CheckName = (typeof CHECKS)[number];

export interface Finding {
  check: CheckName;
  /** Upper case; the same for the same trouble in every version. */
  code: string;
  severity: Severity;
  /** Which site, target or port; undefined when it is about the machine. */
  subject: string | undefined;
  /** A sentence. */
  seen: string;
  /** Why it matters. */
  why: string | undefined;
  /** What to do, with the numbers of this network. */
  next: string | undefined;
  /** Texts to paste, each under the name of the program that takes it. */
  snippets?: Readonly<Record<string, string>>;
}

export interface Report {
  /** No error and no warning. What could not be looked at does not count against it, but the summary tells. */
  ok: boolean;
  summary: string;
  findings: readonly Finding[];
}

type Words = { subject?: string | undefined; seen: string; why?: string; next?: string | undefined };

/** A finding without its check, which `underCheck` adds. */
export type Note = Omit<Finding, "check">;

export const note = (severity: Severity, code: string, words: Words): Note => ({
  code,
  severity,
  subject: words.subject,
  seen: words.seen,
  why: words.why,
  next: words.next,
});

export const underCheck = (check: CheckName, notes: readonly Note[]): Finding[] =>
  notes.map((one) => ({ check, ...one }));

export function reportOf(findings: readonly Finding[]): Report {
  const ordered = findings.toSorted((a, b) => CHECKS.indexOf(a.check) - CHECKS.indexOf(b.check));
  const of = (severity: Severity): Finding[] => ordered.filter((one) => one.severity === severity);
  const trouble = [...of("error"), ...of("warning")];
  return { ok: trouble.length === 0, summary: summaryOf(trouble, of("unknown").length), findings: ordered };
}

function summaryOf([first, ...others]: readonly Finding[], unknown: number): string {
  const blind = unknown === 0 ? "" : ` ${unknown} ${unknown === 1 ? "thing" : "things"} could not be looked at.`;
  if (first === undefined) return `Nothing is wrong with what could be looked at.${blind}`;
  const what = first.subject === undefined || first.seen.includes(first.subject) ? "" : `${first.subject}: `;
  const more = others.length === 0 ? "" : ` (${others.length} more below)`;
  return `${what}${first.seen.replace(/\.$/, "")}${more}.${first.next === undefined ? "" : ` Next: ${first.next}`}`;
}
