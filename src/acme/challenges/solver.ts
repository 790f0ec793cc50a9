/**
 * How is a name proved to a CA?
 * Owns: the promise that each kind of challenge keeps: put the answer where the CA looks, say whether it looked, tidy up.
 * Never: talks to the CA. `challenges` is port 80, `challenges/alpn` port 443, `challenges/dns` a record in the zone.
 */
import { createHash } from "node:crypto";
import type { Challenges } from "./port-80.ts";

/** In the order in which `auto` prefers them: the least that has to be set up by hand comes first. */
export const CHALLENGE_TYPES = ["http-01", "tls-alpn-01", "dns-01"] as const;
export type ChallengeType = (typeof CHALLENGE_TYPES)[number];

export interface Question {
  /** The DNS name without its star, or the text of an address. */
  name: string;
  isWildcard: boolean;
  token: string;
  /** RFC 8555 §8.1: token and thumbprint of the account's key. */
  keyAuthorization: string;
}

export interface Solver {
  readonly type: ChallengeType;
  /** Resolves when the CA may look. A question that is presented already stays as it is. */
  present(question: Question, signal: AbortSignal): Promise<void>;
  /** Did a question for it reach this process? Undefined where nobody can know. */
  wasAsked(question: Question): boolean | undefined;
  /** Tidy up, also when `present` failed half-way. */
  remove(question: Question): Promise<void>;
  /** Remove what crashes left behind. */
  sweep(): Promise<void>;
}

/** SHA-256 of the key authorization: what RFC 8555 §8.4 puts into DNS and RFC 8737 §3 into a certificate. */
export const digestOf = (keyAuthorization: string): Buffer => createHash("sha256").update(keyAuthorization).digest();

/** HTTP-01 (RFC 8555 §8.3): tokens on port 80. */
export function createHttpSolver(challenges: Challenges): Solver {
  return {
    type: "http-01",
    present: ({ token, keyAuthorization }) => challenges.present(token, keyAuthorization),
    wasAsked: ({ token }) => challenges.wasAsked(token),
    remove: ({ token }) => challenges.remove(token),
    sweep: () => challenges.sweep(),
  };
}
