/**
 * Does this machine know what time it is?
 * Owns: comparing our clock with the Date of an HTTPS answer, the CA's first.
 * Never: sets a clock.
 */
import type { Config } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import type { Witness } from "../network/public-ip.ts";
import { askHttps, type HttpsAnswer } from "./ask-ca.ts";
import { type Note, note } from "./finding.ts";

/** A Date has whole seconds and travelled for a while; certificates and TOTP bear a minute. */
const SLIGHT_MS = 60_000;
/** From here on fresh certificates are "not yet valid" and DNS signatures are refused (RFC 8945: 300 s). */
const GRAVE_MS = 300_000;

export async function lookAtClock(
  { acme }: Config,
  witnesses: readonly Witness[],
  /** The CA's directory, which another look wants as well. */
  directory: () => Promise<HttpsAnswer>,
  signal: AbortSignal,
): Promise<Note[]> {
  const urls = [acme.directoryUrl, ...witnesses.map((one) => (one.kind === "https" ? one.url : undefined))];
  const reasons: string[] = [];
  for (const url of urls) {
    if (url === undefined) continue;
    try {
      const answer = await (url === acme.directoryUrl ? directory() : askHttps(url, signal));
      return [judged(answer, new URL(url).host)];
    } catch (error) {
      signal.throwIfAborted();
      reasons.push(`${new URL(url).host}: ${errorText(error)}`);
    }
    if (reasons.length === 2) break;
  }
  const why = reasons.length === 0 ? "there is nobody to ask" : reasons.join("; ");
  return [note("unknown", "CLOCK_NOT_COMPARED", { seen: `The clock was not compared: ${why}.` })];
}

function judged({ theirs, ours }: HttpsAnswer, host: string): Note {
  if (theirs === undefined) throw new Error("its answer has no date");
  const off = ours - theirs;
  const size = Math.abs(off);
  const seconds = Math.round(size / 1000);
  if (size <= SLIGHT_MS) return note("ok", "CLOCK_RIGHT", { seen: `The clock agrees with ${host}'s.` });
  return note(size <= GRAVE_MS ? "warning" : "error", "CLOCK_WRONG", {
    seen: `The clock of this machine is ${seconds} s ${off > 0 ? "ahead of" : "behind"} ${host}'s.`,
    why: "With a wrong clock certificates seem expired or not valid yet, and renewals come at the wrong time.",
    next: "Switch time synchronisation on: sudo timedatectl set-ntp true",
  });
}
