/**
 * What does a CA's refusal mean for the person at home, and what should they do?
 * Owns: ACME problem types and broken connections → GatehouseError with code, plain words and the next step.
 * Never: decides when to try again (the code's retry rule and `notBefore` say it; the scheduler acts).
 */
import { errorText, GatehouseError, isGatehouseError, type ErrorCode, type ErrorFacts } from "../core/errors.ts";
import { AcmeProblem, AcmeUnreachable, type BrokenRoad } from "./problem.ts";

const ROAD_WORDS: Readonly<Record<BrokenRoad, { message: string; hint: string }>> = {
  refused: {
    message: "nothing listens there",
    hint: "Check the address in acme.ca, and that the CA runs.",
  },
  unreachable: {
    message: "there is no route to it",
    hint: "Check this machine's Internet connection and its default gateway.",
  },
  dns: {
    message: "its name could not be looked up",
    hint: "Check the DNS server of this machine (resolv.conf) and the spelling of acme.ca.",
  },
  tls: {
    message: "its certificate is not trusted here",
    hint: "For a private CA give its root in acme.caRoots; for a public one check this machine's clock.",
  },
  timeout: {
    message: "it did not answer in time",
    hint: "A firewall may swallow the connection; the next try is planned.",
  },
  cut: {
    message: "the connection was cut",
    hint: "Usually passing; the next try is planned.",
  },
  garbage: {
    message: "what answers there does not speak ACME",
    hint: "Check that acme.ca is the directory address of the CA, and that no login page or proxy stands in between.",
  },
};

export interface Meaning {
  code: ErrorCode;
  message: string;
  hint: string;
}

/** docs/errors.md has the same table; a test compares the two. */
export const PROBLEM_WORDS: Readonly<Record<string, Meaning>> = {
  rateLimited: {
    code: "GATEHOUSE_ACME_RATE_LIMITED",
    message: "the CA's rate limit is reached",
    hint: "Nothing is asked until the time the CA named. While trying things out, use acme.ca: letsencrypt-staging.",
  },
  rejectedIdentifier: {
    code: "GATEHOUSE_ACME_REFUSED",
    message: "the CA does not sign for this name",
    hint: "Use another name, or another CA; for names that exist only at home use acme.ca: local.",
  },
  unsupportedIdentifier: {
    code: "GATEHOUSE_ACME_REFUSED",
    message: "the CA does not sign for this kind of name",
    hint: "Use an ordinary host name, or another CA.",
  },
  caa: {
    code: "GATEHOUSE_ACME_REFUSED",
    message: "the domain's CAA record forbids this CA",
    hint: "Add this CA to the CAA record of the domain, or remove the record.",
  },
  dns: {
    code: "GATEHOUSE_ACME_CHALLENGE_FAILED",
    message: "the CA could not look the name up in DNS",
    hint: "Check that the name has an A (or AAAA) record with this home's public address.",
  },
  connection: {
    code: "GATEHOUSE_ACME_CHALLENGE_FAILED",
    message: "the CA could not reach this home",
    hint: "Check that the router forwards TCP ports 80 and 443 to this machine, and that an AAAA record (if any) is not stale.",
  },
  unauthorized: {
    code: "GATEHOUSE_ACME_REFUSED",
    message: "the CA says this account may not do that",
    hint: "If it repeats, remove the account folder of this CA from the state folder; a new account is made.",
  },
  accountDoesNotExist: {
    code: "GATEHOUSE_ACME_REFUSED",
    message: "the CA does not know this account",
    hint: "A new account is made by itself; if it repeats, the CA loses its accounts.",
  },
  externalAccountRequired: {
    code: "GATEHOUSE_ACME_REFUSED",
    message: "the CA wants an account of its own website (external account binding)",
    hint: "Get a key identifier and an HMAC key there and write them as acme.eab, or use acme.ca: letsencrypt, which needs none.",
  },
  userActionRequired: {
    code: "GATEHOUSE_ACME_REFUSED",
    message: "the CA wants a person to do something first, usually to read new terms",
    hint: "Open the address in the CA's answer and follow it.",
  },
  invalidContact: {
    code: "GATEHOUSE_ACME_REFUSED",
    message: "the CA does not accept the e-mail address",
    hint: "Correct acme.email, or remove it: it is optional.",
  },
  unsupportedContact: {
    code: "GATEHOUSE_ACME_REFUSED",
    message: "the CA does not accept this kind of contact",
    hint: "Correct acme.email, or remove it: it is optional.",
  },
  invalidProfile: {
    code: "GATEHOUSE_ACME_REFUSED",
    message: "the CA does not sign by this profile",
    hint: "Correct acme.profile, or remove it: the CA then takes its own default.",
  },
  badNonce: {
    code: "GATEHOUSE_ACME_UNAVAILABLE",
    message: "the CA refused every nonce it gave us",
    hint: "Usually a CA in trouble; the next try is planned.",
  },
  serverInternal: {
    code: "GATEHOUSE_ACME_UNAVAILABLE",
    message: "the CA has an internal problem",
    hint: "Nothing to do here; the next try is planned.",
  },
  orderNotReady: {
    code: "GATEHOUSE_ACME_SLOW",
    message: "the CA is not ready to sign yet",
    hint: "Nothing to do here; the order is continued at the next try.",
  },
};

/** invalidContact and unsupportedContact share words; anything new from a CA is shown with its own. */
export function meaningOf(problem: AcmeProblem): Meaning {
  if (/unpause|temporarily prevented/i.test(problem.detail)) return PAUSED;
  const known = PROBLEM_WORDS[problem.type];
  // A 503 with a type we know (rateLimited is used for shedding load) keeps that meaning.
  if (known !== undefined) return known;
  if (problem.status === 429) return PROBLEM_WORDS["rateLimited"] ?? UNKNOWN;
  if (problem.status >= 500) {
    return { code: "GATEHOUSE_ACME_UNAVAILABLE", message: "the CA has trouble", hint: "The next try is planned." };
  }
  return UNKNOWN;
}

/** Let's Encrypt, after some thousand failures of a name in a row. No waiting helps: a person has to press a button. */
const PAUSED: Meaning = {
  code: "GATEHOUSE_ACME_REFUSED",
  message: "the CA has paused this name for this account, because it failed for too long",
  hint: "Mend what kept the CA from checking the name, then open the address in the CA's words and unpause it.",
};

const UNKNOWN: Meaning = {
  code: "GATEHOUSE_ACME_REFUSED",
  message: "the CA refused",
  hint: "The CA's own words are above; see its documentation.",
};

/** `caa: CAA record for x prevents issuance (x: …; y: …)`: the CA's words, subproblems included. */
export function wordsOf(problem: AcmeProblem): string {
  const parts = problem.subproblems.slice(0, 5).map((sub) => `${sub.identifier ?? sub.type}: ${sub.detail}`);
  const more = parts.length > 0 ? ` (${parts.join("; ")})` : "";
  return `${problem.detail}${more} [${problem.type}]`;
}

/** Compound errors (RFC 8555 §6.7.1) hide the reason one level down; when all agree, that is the reason. */
export function effectiveProblem(problem: AcmeProblem): AcmeProblem {
  const types = new Set(problem.subproblems.map((sub) => sub.type));
  const only = types.size === 1 ? [...types][0] : undefined;
  if (only === undefined || PROBLEM_WORDS[problem.type] !== undefined) return problem;
  const { status, detail, subproblems, retryAfterMs } = problem;
  return new AcmeProblem({ type: only, status, detail, subproblems, retryAfterMs });
}

/**
 * Anything the wire threw, as an error with words. An abort stays what it is.
 *
 * @param doing  what was being done, for the sentence: "ordering a certificate for home.example.org"
 */
export function explain(error: unknown, doing: string, now: number): unknown {
  if (error instanceof GatehouseError) return error;
  if (error instanceof AcmeUnreachable) {
    const words = ROAD_WORDS[error.kind];
    return new GatehouseError("GATEHOUSE_ACME_UNAVAILABLE", {
      message: `The CA could not be reached while ${doing}: ${words.message} (${error.message}).`,
      hint: words.hint,
      cause: error,
      detail: { road: error.kind },
    });
  }
  if (error instanceof AcmeProblem) {
    const problem = effectiveProblem(error);
    const meaning = meaningOf(problem);
    return refusal(
      meaning.code,
      `Refused while ${doing}: ${meaning.message}. ${wordsOf(problem)}`,
      meaning.hint,
      error,
      now,
    );
  }
  if (error instanceof Error && error.name === "AbortError") return error;
  // acme-client's own words: a directory without newOrder, an order without Location, and the like.
  return new GatehouseError("GATEHOUSE_ACME_UNAVAILABLE", {
    message: `The CA's answer made no sense while ${doing}: ${errorText(error)}.`,
    hint: ROAD_WORDS.garbage.hint,
    cause: error,
    detail: { road: "garbage" },
  });
}

export function refusal(
  code: ErrorCode,
  message: string,
  hint: string,
  problem: AcmeProblem,
  now: number,
  detail: ErrorFacts["detail"] = {},
): GatehouseError {
  const facts: ErrorFacts = {
    message,
    hint,
    cause: problem,
    detail: { problem: problem.type, status: problem.status, ...detail },
    ...notBeforeOf(problem, now),
  };
  return new GatehouseError(code, facts);
}

/** Longer is a mistake, or an impostor; Retry-After is held to the same in `problem`. */
const MAX_WAIT_MS = 7 * 86_400_000;

/**
 * Retry-After, and the instant in the text (`retry after 2026-08-12 10:00:00 UTC`, as Let's Encrypt says it): the later one,
 * as Retry-After alone may be meant for the next request and not for the next order.
 */
function notBeforeOf({ detail, retryAfterMs }: AcmeProblem, now: number): { notBefore?: number } {
  const [, day, time] = /(?:retry|try again) after (\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)/i.exec(detail) ?? [];
  const said = day === undefined ? Number.NaN : Math.min(Date.parse(`${day}T${time}Z`), now + MAX_WAIT_MS);
  const asked = retryAfterMs === undefined ? Number.NaN : now + retryAfterMs;
  const both = [said, asked].filter((each) => each >= now);
  return both.length === 0 ? {} : { notBefore: Math.max(...both) };
}

/**
 * The account is gone or switched off: nothing under it will ever work again. `unauthorized` is what a deactivated account
 * gets for everything; being wrong about it is cheap, as the CA answers with the account there is.
 */
export function isAccountGone(error: unknown): boolean {
  if (!isGatehouseError(error, "GATEHOUSE_ACME_REFUSED") || !(error.cause instanceof AcmeProblem)) return false;
  return error.cause.type === "accountDoesNotExist" || error.cause.type === "unauthorized";
}
