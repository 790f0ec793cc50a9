/**
 * Why could the CA not check a name, and what should the person at home do?
 * Owns: the words for each kind of challenge: port 80, port 443, the zone.
 * Never: decides whether another way is tried (authorize does).
 */
import { isIPv6 } from "node:net";
import type { GatehouseError } from "../../core/errors.ts";
import { type Meaning, effectiveProblem, meaningOf, refusal, wordsOf } from "../explain.ts";
import type { AcmeProblem } from "../problem.ts";
import type { ChallengeType } from "./solver.ts";

export interface ChallengeFailure {
  /** Undefined when the order was spoiled before this process looked. */
  type: ChallengeType | undefined;
  /** Did a request for it arrive at this process? Undefined where nobody can know. */
  wasAsked: boolean | undefined;
  /** Will the next order be proved another way? */
  another: boolean;
  now: number;
}

const UNREACHABLE: Readonly<Record<ChallengeType, Pick<Meaning, "message" | "hint">>> = {
  "http-01": {
    message: "the CA could not reach this home on port 80",
    hint: "Check that the router forwards TCP port 80 to this machine, and that an AAAA record (if any) is not stale.",
  },
  "tls-alpn-01": {
    message: "the CA could not reach this home on port 443",
    hint: "Check that the router forwards TCP port 443 to this machine, and that an AAAA record (if any) is not stale.",
  },
  "dns-01": {
    message: "the CA could not reach the name servers of the zone",
    hint: "Check the NS records of the domain, and that its name servers answer from outside.",
  },
};

const WRONG_ANSWER: Readonly<Record<ChallengeType, Pick<Meaning, "message" | "hint">>> = {
  "http-01": {
    message: "it asked for the token on port 80 and got something else",
    hint: "Another program or machine answers on port 80 for this name: check the router's forwarding and the DNS records.",
  },
  "tls-alpn-01": {
    message: "it asked for the challenge's certificate on port 443 and got something else",
    hint: "Another program or machine answers on port 443 for this name: check the router's forwarding and the DNS records.",
  },
  "dns-01": {
    message: "it looked for the TXT record in the zone and found something else",
    hint: "Check that acme.dns writes to the zone that the world asks, and that no old _acme-challenge record stands there.",
  },
};

/**
 * It is the name that failed, not the account, so `unauthorized` (RFC 8555 §6.7: "the client lacks sufficient
 * authorization") means here that the CA looked and read something else.
 */
export function explainChallenge(name: string, problem: AcmeProblem, failure: ChallengeFailure): GatehouseError {
  const effective = effectiveProblem(problem);
  const { message, hint } = viaIpv6(meaningHere(effective, failure.type), effective, name);
  const parts = [
    `The CA could not check ${name}${failure.type === undefined ? "" : ` by ${failure.type}`}: ${message}. ${wordsOf(effective)}.`,
    seen(failure),
    failure.another ? "The next order is proved another way." : "",
  ];
  const text = parts.filter((part) => part !== "").join(" ");
  return refusal("GATEHOUSE_ACME_CHALLENGE_FAILED", text, hint, problem, failure.now, {
    challenge: failure.type,
    another: failure.another,
  });
}

function meaningHere(problem: AcmeProblem, type: ChallengeType | undefined): Pick<Meaning, "message" | "hint"> {
  const here = type ?? "http-01";
  if (problem.type === "unauthorized" || problem.type === "incorrectResponse") return WRONG_ANSWER[here];
  if (problem.type === "connection" || (problem.type === "tls" && here === "tls-alpn-01")) return UNREACHABLE[here];
  return meaningOf(problem);
}

/** CAs try IPv6 first where an AAAA record stands. A record of another connection is the classic of homes. */
function viaIpv6(meaning: Pick<Meaning, "message" | "hint">, problem: AcmeProblem, name: string) {
  if (!["connection", "unauthorized", "incorrectResponse", "tls"].includes(problem.type)) return meaning;
  const address = ipv6In(problem.detail);
  if (address === undefined) return meaning;
  return {
    message: meaning.message,
    hint: `The CA came over IPv6, to ${address}. If this machine does not have that address, remove the AAAA record of ${name} (or set it right); if it does, let IPv6 through in the router's firewall.`,
  };
}

/** Boulder begins with the address (`2001:db8::1: Fetching …`), Go has it in brackets (`dial tcp [2001:db8::1]:80: …`). */
function ipv6In(detail: string): string | undefined {
  const words = detail.slice(0, 1_000).split(/[\s"'(),]+/);
  return words.map((word) => /^\[([^\]]+)\]/.exec(word)?.[1] ?? word.replace(/:$/, "")).find((word) => isIPv6(word));
}

function seen({ wasAsked }: ChallengeFailure): string {
  if (wasAsked === undefined) return "";
  return wasAsked
    ? "The CA's question did arrive at this Gatehouse."
    : "No question for it arrived at this Gatehouse: something else answers, or nothing does.";
}
