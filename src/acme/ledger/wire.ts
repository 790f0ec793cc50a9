/**
 * Which of the things we say to a CA cost something?
 * Owns: a wire that asks the ledger before it speaks, and writes down what it spends.
 * Never: knows a limit.
 *
 * By Let's Encrypt's accounting: an order costs when it is made, a certificate when it is signed, a check when it fails.
 * What happens at the CA is written down before it can happen; what then did not happen is given back.
 */
import { isGatehouseError } from "../../core/errors.ts";
import type { Attempt, Ledger } from "./ledger.ts";
import { AcmeProblem } from "../problem.ts";
import type { AcmeWire } from "../wire/wire.ts";

/**
 * Let's Encrypt counts a renewal of the same names neither as an order nor for the domain, and one that `replaces` another
 * by renewal information not at all. Being held back by a failed check is no limit of ours to lift.
 */
const OF_A_RENEWAL = ["set", "failures"] as const;
const OF_A_NEW_ONE = ["orders", "domain", "set", "failures"] as const;

export function countedWire(wire: AcmeWire, ledger: Ledger, attempt: Attempt): AcmeWire {
  /** Orders that a signature was spent for: asked a second time after a lost answer, it is the same signature. */
  const signed = new Set<string>();
  /** Which name a challenge or an authorization is about. */
  const names = new Map<string, string>();
  let isFree = false;

  const about = (url: string): Attempt => ({ ...attempt, names: [names.get(url) ?? attempt.name] });

  async function heeding<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      await ledger.heed(attempt, error);
      throw error;
    }
  }

  return {
    ...wire,
    get accountUrl() {
      return wire.accountUrl;
    },

    async newOrder(wanted, options, signal) {
      isFree = options.replaces !== undefined && attempt.isAdvised;
      await ledger.admit(attempt, isFree ? [] : attempt.isRenewal ? OF_A_RENEWAL : OF_A_NEW_ONE);
      const spent = isFree || attempt.isRenewal ? [] : (["orders"] as const);
      await ledger.spend(attempt, spent);
      try {
        return await heeding(() => wire.newOrder(wanted, options, signal));
      } catch (error) {
        if (wasRefused(error)) await ledger.giveBack(attempt, spent);
        throw error;
      }
    },

    async authorization(url, signal) {
      const authorization = await heeding(() => wire.authorization(url, signal));
      names.set(url, authorization.name);
      for (const challenge of authorization.challenges) names.set(challenge.url, authorization.name);
      return authorization;
    },

    /** A check that nobody lived to see the end of counts as failed. */
    async completeChallenge(challenge, signal) {
      const one = about(challenge.url);
      await ledger.admit(one, ["failures"]);
      await ledger.spend(one, ["failures"]);
      await heeding(() => wire.completeChallenge(challenge, signal));
    },

    async pollAuthorization(url, signal) {
      const authorization = await heeding(() => wire.pollAuthorization(url, signal));
      if (authorization.status === "valid") await ledger.giveBack(about(url), ["failures"]);
      return authorization;
    },

    async finalize(order, csrPem, signal) {
      const spent = isFree ? [] : attempt.isRenewal ? (["set"] as const) : (["set", "domain"] as const);
      if (!signed.has(order.url)) await ledger.spend(attempt, spent);
      signed.add(order.url);
      try {
        return await heeding(() => wire.finalize(order, csrPem, signal));
      } catch (error) {
        if (wasRefused(error)) {
          signed.delete(order.url);
          await ledger.giveBack(attempt, spent);
        }
        throw error;
      }
    },
  };
}

/** New accounts are counted for each address of the Internet, which is all of this home. */
export function countedAccounts(wire: AcmeWire, ledger: Ledger): AcmeWire {
  const attempt: Attempt = {
    name: "a new account",
    names: [],
    account: undefined,
    who: "machine",
    isRenewal: false,
    isAdvised: false,
  };
  return {
    ...wire,
    get accountUrl() {
      return wire.accountUrl;
    },
    async createAccount(contact, signal) {
      await ledger.admit(attempt, ["accounts"]);
      await ledger.spend(attempt, ["accounts"]);
      try {
        return await wire.createAccount(contact, signal);
      } catch (error) {
        await ledger.heed(attempt, error);
        if (wasRefused(error)) await ledger.giveBack(attempt, ["accounts"]);
        throw error;
      }
    },
  };
}

/** The CA itself said no. When it did not answer, it may have done it all the same. */
const wasRefused = (error: unknown): boolean => isGatehouseError(error) && error.cause instanceof AcmeProblem;
