/**
 * What did the CA say, and what became of the road to it?
 * Owns: problem documents (RFC 7807, RFC 8555 §6.7), broken connections and Retry-After as typed errors.
 * Never: chooses words for people (explain does) or sends anything.
 */

/** A CA that says "come back next month" is misconfigured or an impostor; longer also overflows timers (24.8 days). */
const MAX_RETRY_AFTER_MS = 7 * 86_400_000;
/** Details end in the log and on the status page; a CA needs no more than a paragraph. */
const MAX_DETAIL_CHARACTERS = 1_000;
const MAX_SUBPROBLEMS = 100;

const ERROR_NAMESPACE = "urn:ietf:params:acme:error:";

export interface Subproblem {
  type: string;
  detail: string;
  /** The name it is about, when the CA says. */
  identifier: string | undefined;
}

export interface ProblemFacts {
  /** Without the ACME namespace: `rateLimited`, `badNonce`; `unknown` when the answer was no problem document. */
  type: string;
  /** HTTP status; 0 for a problem inside an order or a challenge. */
  status: number;
  detail: string;
  subproblems: readonly Subproblem[];
  /** Milliseconds from now, as the CA asked for. */
  retryAfterMs: number | undefined;
}

/** The CA answered, and the answer is no. */
export class AcmeProblem extends Error {
  override readonly name = "AcmeProblem";
  readonly type: string;
  readonly status: number;
  readonly detail: string;
  readonly subproblems: readonly Subproblem[];
  readonly retryAfterMs: number | undefined;

  constructor(facts: ProblemFacts) {
    super(`${facts.type}: ${facts.detail}`);
    this.type = facts.type;
    this.status = facts.status;
    this.detail = facts.detail;
    this.subproblems = facts.subproblems;
    this.retryAfterMs = facts.retryAfterMs;
  }
}

/** `garbage`: bytes came, but they were not ACME (a captive portal, a wrong address, an answer without end). */
export type BrokenRoad = "refused" | "unreachable" | "dns" | "tls" | "timeout" | "cut" | "garbage";

/** The CA did not answer, or what answered is not a CA. */
export class AcmeUnreachable extends Error {
  override readonly name = "AcmeUnreachable";
  readonly kind: BrokenRoad;

  constructor(kind: BrokenRoad, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.kind = kind;
  }
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** One line, bounded, without control characters: it will be printed on somebody's terminal. */
function plainText(value: unknown): string {
  if (typeof value !== "string") return "";
  const oneLine = value.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, " ").trim();
  return oneLine.length > MAX_DETAIL_CHARACTERS ? `${oneLine.slice(0, MAX_DETAIL_CHARACTERS)}…` : oneLine;
}

function shortType(value: unknown): string {
  const text = plainText(value);
  return text === "" ? "unknown" : text.replace(ERROR_NAMESPACE, "");
}

/** A problem document, or the `error` member of an order or a challenge; anything else is described as best we can. */
export function readProblem(body: unknown, status: number, retryAfterMs?: number): AcmeProblem {
  const document = isRecord(body) ? body : {};
  const listed: unknown[] = Array.isArray(document["subproblems"]) ? document["subproblems"] : [];
  const subproblems = listed
    .slice(0, MAX_SUBPROBLEMS)
    .filter(isRecord)
    .map((entry) => ({
      type: shortType(entry["type"]),
      detail: plainText(entry["detail"]),
      identifier: isRecord(entry["identifier"]) ? plainText(entry["identifier"]["value"]) || undefined : undefined,
    }));
  const detail = plainText(document["detail"]) || (status === 0 ? "no reason given" : `HTTP status ${status}`);
  return new AcmeProblem({ type: shortType(document["type"]), status, detail, subproblems, retryAfterMs });
}

/** Seconds or an HTTP date (RFC 9110 §10.2.3) → milliseconds from `now`; undefined when absent or meaningless. */
export function parseRetryAfter(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined;
  const text = value.trim();
  // Date.parse takes nearly anything (`-5` is a month of May); an HTTP date begins with the day's name.
  const isDate = /^[A-Z][a-z]{2}/.test(text);
  const ms = /^\d{1,12}$/.test(text) ? Number(text) * 1_000 : isDate ? Date.parse(text) - now : Number.NaN;
  if (!Number.isFinite(ms)) return undefined;
  return Math.min(Math.max(ms, 0), MAX_RETRY_AFTER_MS);
}
