/**
 * Does the domain allow our CA to sign?
 * Owns: comparing the CAA records of our names with the CA's own names.
 * Never: writes a record, or guesses the names of a CA that does not tell them.
 */
import type { Config } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import { type CaaFound, findCaa } from "../dns/caa.ts";
import { createZones } from "../dns/zones.ts";
import { neverPublic } from "./addresses-of-names.ts";
import { caaIdentities, type HttpsAnswer } from "./ask-ca.ts";
import { type Note, note } from "./finding.ts";

const MAX_NAMES = 32;

/** For when the directory does not answer; each CA documents them. */
const KNOWN: Readonly<Record<string, readonly string[]>> = {
  letsencrypt: ["letsencrypt.org"],
  "letsencrypt-staging": ["letsencrypt.org"],
  zerossl: ["sectigo.com", "trust-provider.com"],
  google: ["pki.goog"],
};

export async function lookAtCaa(
  config: Config,
  names: readonly string[],
  directory: HttpsAnswer | undefined,
  signal: AbortSignal,
): Promise<Note[]> {
  const { acme, dns } = config;
  if (acme.directoryUrl === undefined) {
    return [note("ok", "CAA_NOT_ASKED", { seen: "The embedded CA signs; it asks no DNS for leave." })];
  }
  const told = directory === undefined ? [] : caaIdentities(directory);
  const ours = told.length > 0 ? told : (KNOWN[acme.caName] ?? []);
  const zones = createZones({ resolvers: dns.resolvers });
  const asked = names.filter((name) => !neverPublic(name)).slice(0, MAX_NAMES);
  const notes = await Promise.all(
    asked.map(async (name) => {
      try {
        return judgeCaa({ name, found: await findCaa(zones, name, signal), ours, challenge: acme.challenge });
      } catch (error) {
        signal.throwIfAborted();
        const seen = `The CAA records of ${name} were not read: ${errorText(error)}`;
        return note("unknown", "CAA_NOT_READ", { subject: name, seen });
      }
    }),
  );
  return notes.length > 0
    ? notes
    : [note("ok", "CAA_NOT_ASKED", { seen: "No name of ours is in public DNS, so no CAA record counts." })];
}

export interface CaaSeen {
  name: string;
  found: CaaFound | undefined;
  /** By which our CA knows itself; empty: it does not tell. */
  ours: readonly string[];
  challenge: Config["acme"]["challenge"];
}

export function judgeCaa({ name: subject, found, ours, challenge }: CaaSeen): Note {
  const why = "The CA looks at these records each time, and refuses to sign when they do not name it.";
  if (found === undefined) return note("ok", "CAA_FREE", { subject, seen: `No CAA record restricts ${subject}.` });
  const { at, records } = found;
  const strange = records.find(({ tag, isCritical }) => isCritical && !KNOWN_TAGS.has(tag));
  if (strange !== undefined) {
    return note("error", "CAA_FORBIDS", {
      subject,
      seen: `A CAA record of ${at} has the critical tag "${strange.tag}", which CAs do not know.`,
      why,
      next: `Remove that record of ${at}.`,
    });
  }
  const wild = records.filter(({ tag }) => tag === "issuewild");
  // RFC 8659 §4.3: for a wildcard issuewild alone counts, where there is one.
  const tag = subject.startsWith("*.") && wild.length > 0 ? "issuewild" : "issue";
  const that = records.filter((one) => one.tag === tag);
  if (that.length === 0) return note("ok", "CAA_FREE", { subject, seen: `The CAA records of ${at} restrict no CA.` });
  const allowed = [...new Set(that.map(({ issuer }) => issuer).filter((one) => one !== ""))];
  const who = allowed.length === 0 ? "no CA at all" : allowed.join(", ");
  const [wanted] = ours;
  const line = wanted === undefined ? "our CA's" : `${at} CAA 0 ${tag} "${wanted}"`;
  if (allowed.length > 0 && ours.length === 0) {
    return note("unknown", "CAA_NOT_COMPARED", {
      subject,
      seen: `CAA of ${at} allows ${who}; our CA does not tell which name is its own.`,
      next: "Its documentation says which name it looks for.",
    });
  }
  const fitting = that.filter(({ issuer }) => ours.includes(issuer));
  if (fitting.length === 0) {
    return note("error", "CAA_FORBIDS", {
      subject,
      seen: `CAA of ${at} allows ${who} to sign for ${subject}, and not our CA.`,
      why,
      next: wanted === undefined ? `Remove the CAA record of ${at}, or add ${line}.` : `Add the record ${line}.`,
    });
  }
  // RFC 8657 §4.
  const methods = fitting.map(({ parameters }) => parameters.get("validationmethods"));
  const isOpen = methods.some((list) => list === undefined || list.split(",").some((one) => fits(one, challenge)));
  if (!isOpen) {
    return note("error", "CAA_FORBIDS", {
      subject,
      seen: `CAA of ${at} lets our CA check ${subject} by ${methods.join(", ")} alone, and the file says ${challenge}.`,
      why,
      next: `Write acme: { challenge: ${methods[0]?.split(",")[0]?.trim() ?? "auto"} }, or widen validationmethods.`,
    });
  }
  return note("ok", "CAA_ALLOWS", { subject, seen: `CAA of ${at} allows our CA (${who}).` });
}

const KNOWN_TAGS = new Set(["issue", "issuewild", "iodef", "issuemail", "contactemail", "contactphone", "issuevmc"]);

const fits = (method: string, challenge: string): boolean => challenge === "auto" || method.trim() === challenge;
