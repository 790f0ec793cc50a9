/**
 * Would the CA be satisfied with this name, if it were asked in earnest?
 * Owns: an order at the CA's staging, up to the point where all names are proved, with an account and a ledger of its own.
 * Never: has anything signed or kept.
 *
 * After a failure the CA's own limit (Let's Encrypt: five failed checks an hour) is too dear for finding out whether the
 * router is right by now. Its staging looks from the same places and allows forty times as much.
 */
import { errorText, GatehouseError, isGatehouseError } from "../core/errors.ts";
import { type AccountOptions, type AcmeAccount, createAcmeAccount } from "./account.ts";
import type { Prover } from "./authorize.ts";
import { explainChallenge } from "./challenges/explain.ts";
import type { Histories } from "./schedule/history.ts";
import { type Attempt, type Ledger, createLedger } from "./ledger/ledger.ts";
import { limitsOf } from "./ledger/limits.ts";
import { countedAccounts, countedWire } from "./ledger/wire.ts";
import { readProblem } from "./problem.ts";
import { type AcmeWire, createAcmeWire } from "./wire/wire.ts";

export interface Rehearsal {
  /** Is a staging of this CA known? */
  readonly isPossible: boolean;
  /**
   * When the last try failed because the CA could not check the name. A staging in trouble is passed over.
   *
   * @throws GATEHOUSE_ACME_CHALLENGE_FAILED as the CA itself would
   */
  ifItFailed(attempt: Attempt, signal: AbortSignal): Promise<void>;
  /** @throws what the CA itself would; GATEHOUSE_ACME_REFUSED when it has no staging */
  now(attempt: Attempt, signal: AbortSignal): Promise<void>;
}

interface RehearsalOptions extends AccountOptions {
  /** Default: what is known of the CA; `false` for not at all. */
  staging?: { directoryUrl: string; roots?: string | undefined } | false | undefined;
  prover: () => Prover;
  histories: Histories;
}

export function createRehearsal(options: RehearsalOptions): Rehearsal {
  const { histories, prover, clock, log } = options;
  const staging = stagingOf(options);

  async function now(attempt: Attempt, signal: AbortSignal): Promise<void> {
    if (staging === undefined) {
      throw new GatehouseError("GATEHOUSE_ACME_REFUSED", {
        message: `No staging is known of the CA at ${options.directoryUrl}.`,
        hint: "Let's Encrypt has one; of another CA write it as acme.staging. Or order in earnest.",
      });
    }
    const first = { ...attempt, account: undefined, isRenewal: false, isAdvised: false };
    const wire = countedWire(await staging.account.open(signal), staging.ledger, first);
    const { names } = attempt;
    const order = await wire.newOrder(names, {}, signal);
    for (const url of order.authorizations) await prover().authorize(wire, url, signal);
    const proved = await wire.pollOrder(order.url, signal);
    if (proved.status !== "invalid") return;
    const facts = { type: undefined, wasAsked: undefined, another: false, now: clock.now() };
    throw explainChallenge(names.join(", "), proved.problem ?? readProblem({}, 0), facts);
  }

  return {
    isPossible: staging !== undefined,
    now,
    async ifItFailed(attempt, signal) {
      const { name } = attempt;
      if (staging === undefined || attempt.who === "insists") return;
      if ((await histories.read(name)).lastFailure !== "GATEHOUSE_ACME_CHALLENGE_FAILED") return;
      try {
        await now(attempt, signal);
        log.info({ event: "acme.rehearsal.passed", name }, "the CA's staging is satisfied, the CA itself is asked");
      } catch (error) {
        signal.throwIfAborted();
        if (isGatehouseError(error, "GATEHOUSE_ACME_CHALLENGE_FAILED")) {
          await histories.failed(attempt, error, "rehearsal");
          throw error;
        }
        // Staging has its own troubles, and fewer nines.
        log.warn({ event: "acme.rehearsal.none", name, reason: errorText(error) }, "the CA's staging cannot be asked");
      }
    },
  };
}

function stagingOf(options: RehearsalOptions): { account: AcmeAccount; ledger: Ledger } | undefined {
  const known = limitsOf(options.directoryUrl).staging;
  const place = options.staging ?? (known === undefined ? false : { directoryUrl: known, roots: options.roots });
  if (place === false) return undefined;
  const { connect = createAcmeWire } = options;
  const ledger = createLedger({ ...options, directoryUrl: place.directoryUrl });
  const counted = (wire: Parameters<typeof connect>[0]): AcmeWire => countedAccounts(connect(wire), ledger);
  return { ledger, account: createAcmeAccount({ ...options, ...place, eab: undefined, connect: counted }) };
}
