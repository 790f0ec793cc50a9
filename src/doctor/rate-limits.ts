/**
 * Would the CA be asked, or is one of its limits used up?
 * Owns: reading the ledger that the running Gatehouse keeps, with the same arithmetic.
 * Never: writes it, or asks the CA.
 */
import { createLedger, type Attempt } from "../acme/ledger/ledger.ts";
import type { Config } from "../config/model.ts";
import { errorText, isGatehouseError } from "../core/errors.ts";
import { systemClock } from "../core/time.ts";
import { type Note, note } from "./finding.ts";
import { keptFiles } from "./kept-files.ts";
import type { Running } from "./running.ts";

const MAX_NAMES = 32;

export async function lookAtRateLimits(
  { acme, state }: Config,
  names: readonly string[],
  running: Running | undefined,
): Promise<Note[]> {
  const { directoryUrl } = acme;
  if (directoryUrl === undefined) {
    return [note("ok", "RATE_LIMITS_NONE", { seen: "The embedded CA has no limits." })];
  }
  const ledger = createLedger({ directoryUrl, storage: keptFiles(state), clock: systemClock, log: { warn() {} } });
  const notes: Note[] = [];
  for (const name of names.slice(0, MAX_NAMES)) {
    const isRenewal = running?.certificates.some((one) => one.name === name && one.state === "valid") === true;
    const attempt: Attempt = { name, names: [name], account: undefined, who: "machine", isRenewal, isAdvised: false };
    try {
      await ledger.admit(attempt, isRenewal ? ["set", "failures"] : ["orders", "domain", "set", "failures"]);
    } catch (error) {
      if (!isGatehouseError(error, "GATEHOUSE_ACME_RATE_LIMITED")) {
        const seen = `The ledger of the CA's limits in ${state} was not read: ${errorText(error)}`;
        return [note("unknown", "RATE_LIMITS_NOT_READ", { seen, next: "Ask as the user that Gatehouse runs as." })];
      }
      notes.push(
        note("warning", "RATE_LIMIT_REACHED", {
          subject: name,
          seen: error.message,
          why: isRenewal
            ? "The certificate there is serves on meanwhile."
            : "Until then there is no certificate for it, whatever is mended.",
          next: "Mend what is above in this list; it is tried by itself then. To try things out: acme: { ca: letsencrypt-staging }.",
        }),
      );
    }
  }
  if (notes.length > 0) return notes;
  return [note("ok", "RATE_LIMITS_FREE", { seen: "No limit of the CA is in the way, as far as we have counted." })];
}
