/**
 * What is the answer to the CA's question on port 80?
 * Owns: the tokens of open HTTP-01 challenges (RFC 8555 §8.3), in memory and in storage.
 * Never: listens; the plain listener asks `answerChallenge` before every other rule.
 *
 * In storage so that every worker can answer, and so can a process that restarted while the CA was still looking.
 * Any host may ask: the token is the CA's secret of 128 bits or more, and the CA's question may come by a redirect
 * from another name.
 */
import type { Clock } from "../../core/time.ts";
import type { Storage } from "../../storage/contract.ts";
import { isRecord } from "../problem.ts";

/** RFC 8555 §8.1: base64url. As a storage key it can name nothing but a token. */
const TOKEN = /^[A-Za-z0-9_-]{1,128}$/;
const FOLDER = "acme/challenges";
/** Orders run one at a time with at most 100 names. */
const MAX_OPEN = 1_000;
/** Let's Encrypt forgets a pending authorization after seven days at most. */
const KEEP_MS = 7 * 86_400_000;
/** Strangers choose tokens, and each unknown one is a look into storage: more at once than this get no answer. */
const MAX_LOOKUPS = 32;

export interface Challenges {
  present(token: string, keyAuthorization: string): Promise<void>;
  remove(token: string): Promise<void>;
  /** The key authorization to send as `application/octet-stream`, or undefined for 404. Never rejects. */
  answerChallenge(host: string | undefined, token: string): Promise<string | undefined>;
  /** Was this process asked for a token that is still presented? */
  wasAsked(token: string): boolean;
  /** Remove what crashes left behind. */
  sweep(): Promise<void>;
}

interface Open {
  keyAuthorization: string;
  wasAsked: boolean;
}

export interface ChallengesOptions {
  storage: Storage;
  clock: Clock;
  /** Called for each answer given, with the name that was asked for. */
  onAnswered?: (host: string | undefined, token: string) => void;
}

export function createChallenges({ storage, clock, onAnswered }: ChallengesOptions): Challenges {
  const open = new Map<string, Open>();
  let lookups = 0;

  async function lookUp(token: string): Promise<string | undefined> {
    if (lookups >= MAX_LOOKUPS) return undefined;
    lookups++;
    try {
      return readEntry(await storage.read(`${FOLDER}/${token}`), clock.now())?.keyAuthorization;
    } catch {
      return undefined; // a disk in trouble is reported by whoever writes to it
    } finally {
      lookups--;
    }
  }

  return {
    async present(token, keyAuthorization) {
      if (!TOKEN.test(token)) throw new Error("the CA's token is not base64url (RFC 8555 §8.1)");
      const [oldest] = open.keys();
      if (open.size >= MAX_OPEN && oldest !== undefined) open.delete(oldest);
      open.set(token, { keyAuthorization, wasAsked: false });
      await storage.write(`${FOLDER}/${token}`, JSON.stringify({ keyAuthorization, expires: clock.now() + KEEP_MS }));
    },

    async remove(token) {
      open.delete(token);
      if (TOKEN.test(token)) await storage.remove(`${FOLDER}/${token}`);
    },

    async answerChallenge(host, token) {
      if (!TOKEN.test(token)) return undefined;
      const entry = open.get(token);
      if (entry !== undefined) entry.wasAsked = true;
      const answer = entry?.keyAuthorization ?? (await lookUp(token));
      if (answer !== undefined) onAnswered?.(host, token);
      return answer;
    },

    wasAsked: (token) => open.get(token)?.wasAsked === true,

    async sweep() {
      for (const key of await storage.list(FOLDER)) {
        if (readEntry(await storage.read(key), clock.now()) === undefined) await storage.remove(key);
      }
    },
  };
}

function readEntry(bytes: Buffer | undefined, now: number): { keyAuthorization: string } | undefined {
  try {
    const entry: unknown = JSON.parse(bytes?.toString("utf8") ?? "");
    if (!isRecord(entry) || typeof entry["keyAuthorization"] !== "string") return undefined;
    return Number(entry["expires"]) > now ? { keyAuthorization: entry["keyAuthorization"] } : undefined;
  } catch {
    return undefined;
  }
}
