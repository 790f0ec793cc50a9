/**
 * Would the CA be satisfied with this name, if it were asked in earnest?
 * Owns: an order at the CA's staging, up to the point where all names are proved.
 * Never: has anything signed or kept.
 *
 * After a failure the CA's own limit (Let's Encrypt: five failed checks an hour) is too dear for finding out whether the
 * router is right by now. Its staging looks from the same places and allows forty times as much.
 */
import type { Prover } from "./authorize.ts";
import { explainChallenge } from "./explain-challenge.ts";
import { readProblem } from "./problem.ts";
import type { AcmeWire } from "./wire.ts";

/** @throws GATEHOUSE_ACME_CHALLENGE_FAILED and GATEHOUSE_ACME_REFUSED as the CA itself would, or that staging has trouble */
export async function rehearse(
  wire: AcmeWire,
  names: readonly string[],
  tools: { prover: Prover; now: () => number },
  signal: AbortSignal,
): Promise<void> {
  const order = await wire.newOrder(names, {}, signal);
  for (const url of order.authorizations) await tools.prover.authorize(wire, url, signal);
  const proved = await wire.pollOrder(order.url, signal);
  if (proved.status !== "invalid") return;
  const facts = { type: undefined, wasAsked: undefined, another: false, now: tools.now() };
  throw explainChallenge(names.join(", "), proved.problem ?? readProblem({}, 0), facts);
}
