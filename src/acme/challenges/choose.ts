/**
 * By which challenge is a name proved, and why that one?
 * Owns: the choice, as a pure function, and the memory of what worked and what failed for a name.
 * Never: tries one.
 */
import type { Storage } from "../../storage/contract.ts";
import { isRecord } from "../problem.ts";
import { CHALLENGE_TYPES, type ChallengeType } from "./solver.ts";

/** A router may have been set right since: after this long a failure says nothing any more. */
const FAILURE_COUNTS_MS = 7 * 86_400_000;

export interface ChallengeMemory {
  /** What the CA was satisfied with last. */
  worked: ChallengeType | undefined;
  /** When each failed for the last time since it worked, ms since 1970. */
  failed: Partial<Record<ChallengeType, number>>;
}

export interface ChallengeFacts {
  /** The setting. */
  wanted: "auto" | ChallengeType;
  /** Which can be done here at all: a listener for plain HTTP, one for HTTPS, a DNS provider. */
  possible: ReadonlySet<ChallengeType>;
  isWildcard: boolean;
  isAddress: boolean;
  memory: ChallengeMemory;
  now: number;
}

export interface ChallengeChoice {
  type: ChallengeType;
  why: string;
  /** It has not failed lately, so trying it spends nothing that is known to be lost. */
  isUntried: boolean;
}

/** Best first; empty when the name cannot be proved here. */
export function rankChallenges(facts: ChallengeFacts): ChallengeChoice[] {
  const { wanted, memory, now } = facts;
  const failedAt = (type: ChallengeType): number => {
    const at = memory.failed[type];
    // A clock that was ahead must not make a failure last for years.
    return at === undefined || Math.abs(now - at) > FAILURE_COUNTS_MS ? 0 : at;
  };
  const able = CHALLENGE_TYPES.filter((type) => facts.possible.has(type) && canProve(type, facts));
  const allowed = wanted === "auto" ? able : able.filter((type) => type === wanted);
  const rank = (type: ChallengeType): number => (type === memory.worked ? -1 : failedAt(type));
  return allowed
    .map((type, at) => ({ type, at }))
    .sort(
      (a, b) =>
        (failedAt(a.type) > 0 ? 1 : 0) - (failedAt(b.type) > 0 ? 1 : 0) || rank(a.type) - rank(b.type) || a.at - b.at,
    )
    .map(({ type }) => ({ type, why: whyThis(type, facts), isUntried: failedAt(type) === 0 }));
}

/** Wildcards are proved in DNS alone (Baseline Requirements §3.2.2.4), and addresses are not in DNS (RFC 8738 §7). */
function canProve(type: ChallengeType, { isWildcard, isAddress }: ChallengeFacts): boolean {
  if (isWildcard) return type === "dns-01";
  return !isAddress || type !== "dns-01";
}

function whyThis(type: ChallengeType, { wanted, isWildcard, memory, possible }: ChallengeFacts): string {
  if (wanted !== "auto") return `acme.challenge is ${wanted}`;
  if (isWildcard) return "a wildcard is proved in DNS alone";
  if (memory.worked === type && memory.failed[type] === undefined) return "it worked the last time";
  const failed = CHALLENGE_TYPES.filter((other) => other !== type && memory.failed[other] !== undefined);
  if (failed.length > 0) return `${failed.join(" and ")} failed before`;
  if (type === "http-01") return "port 80 is open here and needs nothing else";
  if (!possible.has("http-01") && type === "tls-alpn-01") return "nothing listens for plain HTTP, port 443 is enough";
  return "it is the way that this configuration leaves";
}

export interface ChallengeMemories {
  read(name: string): Promise<ChallengeMemory>;
  worked(name: string, type: ChallengeType): Promise<void>;
  failed(name: string, type: ChallengeType, at: number): Promise<void>;
}

/** Under `acme/proved/<name>.json`; a wildcard has its own. */
export function createChallengeMemories(storage: Storage): ChallengeMemories {
  const place = (name: string): string => `acme/proved/${name.replaceAll(":", "_")}.json`;
  const read = async (name: string): Promise<ChallengeMemory> => parse(await storage.read(place(name)));
  const write = (name: string, memory: ChallengeMemory): Promise<void> =>
    storage.write(place(name), `${JSON.stringify({ version: 1, ...memory })}\n`);
  return {
    read,
    async worked(name, type) {
      const before = await read(name);
      if (before.worked === type && before.failed[type] === undefined) return;
      const { [type]: _, ...failed } = before.failed;
      await write(name, { worked: type, failed });
    },
    async failed(name, type, at) {
      const before = await read(name);
      await write(name, { ...before, failed: { ...before.failed, [type]: at } });
    },
  };
}

function parse(bytes: Buffer | undefined): ChallengeMemory {
  const memory: ChallengeMemory = { worked: undefined, failed: {} };
  try {
    const data: unknown = JSON.parse(bytes?.toString("utf8") ?? "");
    if (!isRecord(data)) return memory;
    memory.worked = CHALLENGE_TYPES.find((type) => type === data["worked"]);
    const failed = isRecord(data["failed"]) ? data["failed"] : {};
    for (const type of CHALLENGE_TYPES) if (typeof failed[type] === "number") memory.failed[type] = failed[type];
    return memory;
  } catch {
    return memory; // as good as none: the first way is tried again
  }
}
