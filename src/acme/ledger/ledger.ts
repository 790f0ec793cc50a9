/**
 * What have we spent at this CA, and may we ask once more?
 * Owns: `acme/<ca>/ledger.json`: the estimate of each published limit, and until when the CA wants to be left alone.
 * Never: asks the CA, or decides when (the scheduler does). What is counted when is in `ledger/wire`.
 *
 * A token is spent on the disk before the CA hears the question, so that a loop of crashes ends at our own limit and not
 * at the CA's. Bounded by itself: a bucket that is full again is a bucket nobody needs to remember.
 */
import { createHash } from "node:crypto";
import { errorText, GatehouseError, isGatehouseError } from "../../core/errors.ts";
import type { Clock } from "../../core/time.ts";
import type { Logger } from "../../observe/log.ts";
import type { Storage } from "../../storage/contract.ts";
import { caFolder } from "../account.ts";
import { type LimitKind, domainOf, giveBack, limitsOf, nextAt, spend } from "./limits.ts";
import { isRecord } from "../problem.ts";

/** A change is one read and one write. */
const LOCK_WITHIN_MS = 60_000;
/** 10,000 names of one home, and some; what is nearest to being full again is forgotten first. */
const MAX_ENTRIES = 20_000;
/** A fifth stays for people: whoever stands in front of a broken page must not hear that the machine used it all up. */
const SHARE_OF_THE_MACHINE = 0.8;
/** Nobody is left alone for longer than this, whatever was said (and whatever clock wrote it). */
const LONGEST_HOLD_MS = 7 * 86_400_000;

/** Who wants what. */
export interface Attempt {
  name: string;
  names: readonly string[];
  /** Which of our accounts at this CA; undefined is the one that sites share. */
  account: string | undefined;
  /** `machine` leaves a share for people. `insists` is not held back at all. */
  who: "machine" | "person" | "insists";
  /** The same names have a certificate of this CA already: some limits do not count that. */
  isRenewal: boolean;
  /** The CA's own window for the renewal has begun: an order that `replaces` is not counted. */
  isAdvised: boolean;
}

export interface Ledger {
  /** @throws GATEHOUSE_ACME_RATE_LIMITED with `notBefore` and `detail.local`: the CA need not be asked to know that */
  admit(attempt: Attempt, kinds: readonly LimitKind[]): Promise<void>;
  /** @throws GATEHOUSE_STORAGE_FAILED: then nothing must be asked */
  spend(attempt: Attempt, kinds: readonly LimitKind[]): Promise<void>;
  /** It turned out that nothing was used up. */
  giveBack(attempt: Attempt, kinds: readonly LimitKind[]): Promise<void>;
  /** Remember until when the CA wants to be left alone, and with what, if the error says so. Never rejects. */
  heed(attempt: Attempt, error: unknown): Promise<void>;
}

interface Book {
  /** Key of a bucket → when it is full again. */
  buckets: Record<string, number>;
  holds: Record<string, { until: number; why: string }>;
}

export interface LedgerOptions {
  directoryUrl: string;
  storage: Pick<Storage, "read" | "write" | "lock">;
  clock: Clock;
  log: Pick<Logger, "warn">;
}

const WORDS: Readonly<Record<LimitKind, string>> = {
  accounts: "new accounts",
  orders: "orders of this account",
  domain: "certificates for the domain",
  set: "certificates for exactly these names",
  failures: "failed checks of the name",
};

export function createLedger({ directoryUrl, storage, clock, log }: LedgerOptions): Ledger {
  const folder = caFolder(directoryUrl);
  const place = `${folder}/ledger.json`;
  const { limits } = limitsOf(directoryUrl);

  /** Two processes on one state folder share the ledger. */
  async function change(work: (book: Book, now: number) => void): Promise<void> {
    const lock = await storage.lock(folder.replace(/^acme/, "acme-ledger"), { withinMs: LOCK_WITHIN_MS });
    try {
      const book = readBook(await storage.read(place));
      const now = clock.now();
      work(book, now);
      await storage.write(place, `${JSON.stringify({ version: 1, ...compact(book, now) })}\n`);
    } finally {
      await lock.release();
    }
  }

  const inBook = (attempt: Attempt, kinds: readonly LimitKind[]) =>
    kinds.flatMap((kind) => {
      const limit = limits[kind];
      return limit === undefined ? [] : keysOf(attempt, kind).map((key) => ({ kind, key, limit }));
    });

  return {
    async admit(attempt, kinds) {
      if (attempt.who === "insists") return;
      const book = readBook(await storage.read(place));
      const now = clock.now();
      const share = attempt.who === "person" ? 1 : SHARE_OF_THE_MACHINE;
      const held = ["ca", ...kinds.flatMap((kind) => keysOf(attempt, kind))].flatMap((key) => {
        const hold = book.holds[key];
        return hold === undefined ? [] : [{ until: Math.min(hold.until, now + LONGEST_HOLD_MS), why: hold.why }];
      });
      const empty = inBook(attempt, kinds).map(({ kind, key, limit }) => ({
        until: nextAt(book.buckets[key], limit, now, share),
        why: `its limit of ${limit.burst} ${WORDS[kind]} is nearly used up`,
      }));
      const last = [...held, ...empty].reduce((a, b) => (b.until > a.until ? b : a), { until: 0, why: "" });
      if (last.until > now) throw notYet(attempt.name, last.until, last.why);
    },

    async spend(attempt, kinds) {
      const wanted = inBook(attempt, kinds);
      if (wanted.length === 0) return;
      await change(({ buckets }, now) => {
        for (const { key, limit } of wanted) buckets[key] = spend(buckets[key], limit, now);
      });
    },

    async giveBack(attempt, kinds) {
      const wanted = inBook(attempt, kinds);
      if (wanted.length === 0) return;
      await change(({ buckets }) => {
        for (const { key, limit } of wanted) {
          const fullAt = buckets[key];
          if (fullAt !== undefined) buckets[key] = giveBack(fullAt, limit);
        }
      }).catch(unkept); // too careful is all that is left of it
    },

    async heed(attempt, error) {
      if (!isGatehouseError(error) || error.notBefore === undefined || error.detail["local"] === true) return;
      const isLimit = error.code === "GATEHOUSE_ACME_RATE_LIMITED";
      if (!isLimit && error.code !== "GATEHOUSE_ACME_UNAVAILABLE") return;
      const until = error.notBefore;
      const kind = isLimit ? limitNamedIn(error.message) : "ca";
      const keys = kind === "ca" ? ["ca"] : keysOf(attempt, kind);
      await change(({ holds }) => {
        for (const key of keys) holds[key] = { until, why: `it said: ${error.message.slice(0, 300)}` };
      }).catch(unkept);
    },
  };

  function unkept(error: unknown): void {
    log.warn({ event: "acme.ledger.unkept", reason: errorText(error) }, "the ledger of a CA's limits was not written");
  }
}

function notYet(name: string, until: number, why: string): GatehouseError {
  return new GatehouseError("GATEHOUSE_ACME_RATE_LIMITED", {
    message: `The CA is not asked for ${name} now: ${why}. Next allowed at ${new Date(until).toISOString()}.`,
    hint: "Nothing to do here: it is tried by itself then. Asking earlier would only make the wait longer.",
    notBefore: until,
    detail: { local: true },
  });
}

function keysOf({ name, names, account = "" }: Attempt, kind: LimitKind): string[] {
  switch (kind) {
    case "accounts":
      return ["accounts"];
    case "orders":
      return [`orders ${shortHash(account)}`];
    case "domain":
      return [...new Set(names.map((each) => `domain ${domainOf(each)}`))];
    case "set":
      return [`set ${shortHash([...new Set(names.length === 0 ? [name] : names)].sort().join(" "))}`];
    case "failures":
      return [...new Set(names.map((each) => `failures ${shortHash(account)} ${each.replace(/^\*\./, "")}`))];
  }
}

/**
 * Which of its limits does a CA mean? Boulder's sentences (ratelimits/transaction.go), and whoever copies them; of
 * another's we know only that the account is to wait.
 */
function limitNamedIn(message: string): LimitKind | "ca" {
  if (/new registrations|new accounts/i.test(message)) return "accounts";
  if (/exact (?:same )?set/i.test(message)) return "set";
  if (/failed (?:authorizations|validations)/i.test(message)) return "failures";
  if (/already issued for/i.test(message)) return "domain";
  if (/service busy|overloaded/i.test(message)) return "ca";
  return "orders";
}

const shortHash = (text: string): string =>
  text === "" ? "-" : createHash("sha256").update(text).digest("base64url").slice(0, 16);

function compact({ buckets, holds }: Book, now: number): Book {
  const live = Object.entries(buckets).filter(([, fullAt]) => fullAt > now);
  if (live.length > MAX_ENTRIES) live.sort(([, a], [, b]) => b - a).length = MAX_ENTRIES;
  const held = Object.entries(holds).filter(([, { until }]) => until > now);
  if (held.length > MAX_ENTRIES) held.sort(([, a], [, b]) => b.until - a.until).length = MAX_ENTRIES;
  return { buckets: Object.fromEntries(live), holds: Object.fromEntries(held) };
}

/** A damaged ledger is no reason to stop: the CA's own limits are the second line. */
function readBook(bytes: Buffer | undefined): Book {
  const book: Book = { buckets: {}, holds: {} };
  try {
    const data: unknown = JSON.parse(bytes?.toString("utf8") ?? "");
    if (!isRecord(data)) return book;
    for (const [key, fullAt] of Object.entries(isRecord(data["buckets"]) ? data["buckets"] : {})) {
      if (typeof fullAt === "number") book.buckets[key] = fullAt;
    }
    for (const [key, hold] of Object.entries(isRecord(data["holds"]) ? data["holds"] : {})) {
      if (isRecord(hold) && typeof hold["until"] === "number") {
        book.holds[key] = { until: hold["until"], why: String(hold["why"]).slice(0, 400) };
      }
    }
  } catch {
    return book;
  }
  return book;
}
