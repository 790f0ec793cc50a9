/**
 * How is one name of an order proved?
 * Owns: choosing the challenge, putting the answer in place, telling the CA, tidying up, remembering how it went.
 * Never: makes an order, or tries a second way within one: a failed authorization spoils its order (RFC 8555 §7.1.6).
 */
import { isIP } from "node:net";
import { GatehouseError, errorText, isGatehouseError } from "../core/errors.ts";
import type { Clock } from "../core/time.ts";
import type { Logger } from "../observe/log.ts";
import { type ChallengeChoice, type ChallengeMemories, rankChallenges } from "./challenges/choose.ts";
import { explainChallenge } from "./challenges/explain.ts";
import { readProblem } from "./problem.ts";
import { type ChallengeType, CHALLENGE_TYPES, type Question, type Solver } from "./challenges/solver.ts";
import type { AcmeAuthorization, AcmeChallenge } from "./wire/answers.ts";
import type { AcmeWire } from "./wire/wire.ts";

export interface ProverOptions {
  solvers: readonly Solver[];
  /** Default `auto`. */
  wanted?: "auto" | ChallengeType | undefined;
  memories: ChallengeMemories;
  clock: Clock;
  log: Logger;
}

export interface Prover {
  /** Before an order is spent. @throws GATEHOUSE_ACME_REFUSED when one of the names cannot be proved here at all */
  check(names: readonly string[]): void;
  /**
   * Resolves when the CA is satisfied.
   *
   * @throws GATEHOUSE_ACME_CHALLENGE_FAILED; with `detail.another` when the next order would be proved another way that
   *   has not failed yet
   * @throws GATEHOUSE_ACME_REFUSED when the CA offers no challenge that can be met here
   */
  authorize(wire: AcmeWire, url: string, signal: AbortSignal): Promise<void>;
  /** Remove what crashes left behind: tokens, certificates, records in the zone. */
  sweep(): Promise<void>;
}

interface Chosen {
  solver: Solver;
  challenge: AcmeChallenge;
  question: Question;
  /** A way that was never tried is left for the next order. */
  hasAnother: boolean;
}

/** What a CA says when it looked in vain; of anything else (CAA, a limit) another challenge would hear the same. */
const ABOUT_THE_WAY = new Set(["connection", "dns", "tls", "unauthorized", "incorrectResponse", "unknown"]);

export function createProver({ solvers, wanted = "auto", memories, clock, log }: ProverOptions): Prover {
  const possible = new Set(solvers.map(({ type }) => type));

  async function choose(wire: AcmeWire, authorization: AcmeAuthorization): Promise<Chosen> {
    const { name, isWildcard } = authorization;
    const isAddress = isIP(name) !== 0;
    const memory = await memories.read(memoryName(authorization)).catch(() => ({ worked: undefined, failed: {} }));
    const ranked = rankChallenges({ wanted, possible, isWildcard, isAddress, memory, now: clock.now() });
    const offered = authorization.challenges;
    const usable = ranked.flatMap((choice) => {
      const challenge = offered.find(({ type }) => type === choice.type);
      return challenge === undefined ? [] : [{ ...choice, challenge }];
    });
    // After a crash: the CA may be looking at one already, and no other will do.
    const begun = offered.find(({ status, type }) => status === "processing" && solverOf(type) !== undefined);
    const choice = usable.find(({ challenge }) => challenge === begun) ?? usable[0];
    const solver = choice && solverOf(choice.type);
    if (choice === undefined || solver === undefined) throw cannotProve(authorization, ranked);
    log.info(
      { event: "acme.challenge.chosen", name, wildcard: isWildcard, challenge: choice.type, why: choice.why },
      "the CA will be asked to look",
    );
    const { token } = choice.challenge;
    return {
      solver,
      challenge: choice.challenge,
      question: { name, isWildcard, token, keyAuthorization: await wire.keyAuthorization(token) },
      hasAnother: usable.some((other) => other !== choice && other.isUntried),
    };
  }

  const solverOf = (type: string): Solver | undefined => solvers.find((solver) => solver.type === type);

  async function remember(authorization: AcmeAuthorization, type: ChallengeType, failedAt?: number): Promise<void> {
    const name = memoryName(authorization);
    const work = failedAt === undefined ? memories.worked(name, type) : memories.failed(name, type, failedAt);
    await work.catch((error: unknown) => {
      log.warn({ event: "acme.proved.unkept", name, reason: errorText(error) }, "how a name was proved is not kept");
    });
  }

  async function tidyUp({ solver, question }: Chosen): Promise<void> {
    await solver.remove(question).catch((error: unknown) => {
      const { name } = question;
      log.warn(
        { event: "acme.challenge.untidy", name, challenge: solver.type, reason: errorText(error) },
        "the answer to a challenge could not be removed; it is tried again later",
      );
    });
  }

  /** Cut connections and aborts leave the answer in place: the CA may still come, and the order goes on later. */
  async function prove(wire: AcmeWire, chosen: Chosen, url: string, signal: AbortSignal): Promise<AcmeAuthorization> {
    const { solver, question, challenge } = chosen;
    await solver.present(question, signal);
    if (challenge.status === "pending") await wire.completeChallenge(challenge, signal);
    return wire.pollAuthorization(url, signal);
  }

  return {
    check(names) {
      for (const name of names) {
        const isWildcard = name.startsWith("*.");
        const facts = { wanted, possible, isWildcard, isAddress: isIP(name) !== 0, now: clock.now() };
        if (rankChallenges({ ...facts, memory: { worked: undefined, failed: {} } }).length === 0) throw nowhere(name);
      }
    },

    async authorize(wire, url, signal) {
      const authorization = await wire.authorization(url, signal);
      if (authorization.status === "valid") return; // re-used by the CA
      if (authorization.status !== "pending") throw settledBadly(authorization, clock.now());
      const chosen = await choose(wire, authorization);
      const { type } = chosen.solver;
      let settled: AcmeAuthorization;
      try {
        settled = await prove(wire, chosen, url, signal);
      } catch (error) {
        // Our own side of it failed: the next try takes another way, in the same order.
        if (isGatehouseError(error) && error.code.startsWith("GATEHOUSE_DNS_")) {
          await remember(authorization, type, clock.now());
          await tidyUp(chosen);
        }
        throw error;
      }
      const wasAsked = chosen.solver.wasAsked(chosen.question);
      await tidyUp(chosen);
      if (settled.status !== "valid") {
        const problem = problemOf(settled);
        const isTheWay = ABOUT_THE_WAY.has(problem.type);
        if (isTheWay) await remember(authorization, type, clock.now());
        throw explainChallenge(authorization.name, problem, {
          type,
          wasAsked,
          another: isTheWay && chosen.hasAnother,
          now: clock.now(),
        });
      }
      await remember(authorization, type);
      log.debug({ event: "acme.authorization.valid", name: authorization.name }, "the CA has checked the name");
    },

    async sweep() {
      for (const solver of solvers) await solver.sweep();
    },
  };
}

const memoryName = ({ name, isWildcard }: AcmeAuthorization): string => (isWildcard ? `*.${name}` : name);

const problemOf = ({ challenges, status }: AcmeAuthorization) =>
  challenges.find((challenge) => challenge.problem !== undefined)?.problem ??
  readProblem({ detail: `the authorization is ${status}` }, 0);

function settledBadly(authorization: AcmeAuthorization, now: number): GatehouseError {
  return explainChallenge(authorization.name, problemOf(authorization), {
    type: undefined,
    wasAsked: undefined,
    another: false,
    now,
  });
}

function cannotProve(authorization: AcmeAuthorization, ranked: readonly ChallengeChoice[]): GatehouseError {
  if (ranked.length === 0) return nowhere(memoryName(authorization));
  const offered = authorization.challenges.map(({ type }) => type).join(", ") || "none";
  return new GatehouseError("GATEHOUSE_ACME_REFUSED", {
    message: `The CA offers no challenge for ${memoryName(authorization)} that can be met here, only ${offered.slice(0, 100)}.`,
    hint: `Possible here: ${ranked.map(({ type }) => type).join(", ")}. Set up another one of ${CHALLENGE_TYPES.join(", ")}, or use another CA.`,
  });
}

function nowhere(name: string): GatehouseError {
  const isWildcard = name.startsWith("*.");
  return new GatehouseError("GATEHOUSE_ACME_REFUSED", {
    message: isWildcard
      ? `${name} cannot be proved to a CA: a wildcard needs DNS-01, and no DNS provider is set up.`
      : `${name} cannot be proved to a CA with the challenges that are possible here.`,
    hint: "Name a DNS provider in acme.dns (see docs/certificates.md), list the names one by one, or use acme.ca: local.",
  });
}
