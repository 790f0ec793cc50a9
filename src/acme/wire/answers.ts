/**
 * Is what the CA sent an order, an authorization, a challenge?
 * Owns: our own shapes of RFC 8555 objects, and the checks that turn unknown JSON into them.
 * Never: trusts a member because the RFC says it is there.
 */
import { type AcmeProblem, AcmeUnreachable, isRecord, readProblem } from "../problem.ts";

/** Each is bounded so that one answer cannot make us send thousands of requests. */
const MAX_AUTHORIZATIONS = 100;
const MAX_CHALLENGES = 20;

const ORDER_STATUSES = ["pending", "ready", "processing", "valid", "invalid"] as const;
const AUTHORIZATION_STATUSES = ["pending", "valid", "invalid", "deactivated", "expired", "revoked"] as const;
const CHALLENGE_STATUSES = ["pending", "processing", "valid", "invalid"] as const;

/** RFC 8555 §7.1.3. */
export interface AcmeOrder {
  url: string;
  status: (typeof ORDER_STATUSES)[number];
  names: readonly string[];
  /** URLs, one for each name; some may be valid already (re-used by the CA). */
  authorizations: readonly string[];
  finalizeUrl: string;
  /** Present when `valid`. */
  certificateUrl: string | undefined;
  /** ms since 1970. */
  expires: number | undefined;
  problem: AcmeProblem | undefined;
  /** By which it is signed, when the CA has such (draft-ietf-acme-profiles §4). */
  profile: string | undefined;
}

/** RFC 8555 §7.1.4. */
export interface AcmeAuthorization {
  url: string;
  /** Without the star of a wildcard; the text of an address. */
  name: string;
  isWildcard: boolean;
  status: (typeof AUTHORIZATION_STATUSES)[number];
  challenges: readonly AcmeChallenge[];
}

/** RFC 8555 §8. */
export interface AcmeChallenge {
  type: string;
  url: string;
  token: string;
  status: (typeof CHALLENGE_STATUSES)[number];
  problem: AcmeProblem | undefined;
}

const senseless = (what: string): AcmeUnreachable => new AcmeUnreachable("garbage", `its ${what} makes no sense`);

function text(value: unknown, what: string): string {
  if (typeof value !== "string" || value === "" || value.length > 4_096) throw senseless(what);
  return value;
}

function oneOf<T extends string>(allowed: readonly T[], value: unknown, what: string): T {
  const found = allowed.find((status) => status === value);
  if (found === undefined) throw senseless(`${what} ${String(value).slice(0, 40)}`);
  return found;
}

function list(value: unknown, max: number, what: string): unknown[] {
  if (!Array.isArray(value) || value.length > max) throw senseless(what);
  return value;
}

export function readOrder(data: unknown, url: string): AcmeOrder {
  if (!isRecord(data)) throw senseless("order");
  const identifiers = list(data["identifiers"], MAX_AUTHORIZATIONS, "order's identifiers");
  const expires = typeof data["expires"] === "string" ? Date.parse(data["expires"]) : Number.NaN;
  return {
    url: text(url, "order's address"),
    status: oneOf(ORDER_STATUSES, data["status"], "order status"),
    names: identifiers.map((entry) =>
      text(isRecord(entry) ? entry["value"] : undefined, "order's identifier").toLowerCase(),
    ),
    authorizations: list(data["authorizations"], MAX_AUTHORIZATIONS, "order's authorizations").map((entry) =>
      text(entry, "authorization address"),
    ),
    finalizeUrl: text(data["finalize"], "finalize address"),
    certificateUrl: typeof data["certificate"] === "string" ? data["certificate"] : undefined,
    expires: Number.isFinite(expires) ? expires : undefined,
    problem: isRecord(data["error"]) ? readProblem(data["error"], 0) : undefined,
    profile: typeof data["profile"] === "string" ? data["profile"].slice(0, 64) : undefined,
  };
}

export function readAuthorization(data: unknown, url: string): AcmeAuthorization {
  if (!isRecord(data) || !isRecord(data["identifier"])) throw senseless("authorization");
  return {
    url,
    name: text(data["identifier"]["value"], "authorization's identifier").toLowerCase(),
    isWildcard: data["wildcard"] === true,
    status: oneOf(AUTHORIZATION_STATUSES, data["status"], "authorization status"),
    challenges: list(data["challenges"], MAX_CHALLENGES, "challenges").filter(isRecord).flatMap(readChallenge),
  };
}

/** A kind of challenge that has no token (dns-persist-01 and whatever comes) is left out: we could not answer it. */
function readChallenge(data: Record<string, unknown>): AcmeChallenge[] {
  if (typeof data["token"] !== "string") return [];
  return [
    {
      type: text(data["type"], "challenge type"),
      url: text(data["url"], "challenge address"),
      token: text(data["token"], "challenge token"),
      status: oneOf(CHALLENGE_STATUSES, data["status"], "challenge status"),
      problem: isRecord(data["error"]) ? readProblem(data["error"], 0) : undefined,
    },
  ];
}
