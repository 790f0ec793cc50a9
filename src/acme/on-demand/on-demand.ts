/**
 * May a name that is not in the configuration have a certificate, because a client has asked for it?
 * Owns: who is let in (pattern, question, so many an hour, so many altogether), the memory of both answers, and that a name
 *   goes again: when it could never be proved, or is no longer wanted.
 * Never: orders (the scheduler does, as for any name), and never keeps a handshake waiting for an answer.
 *
 * Kept in `acme/on-demand.json`, so that a restart neither forgets a name nor begins the hour anew.
 */
import { LRUCache } from "lru-cache";
import { errorText } from "../../core/errors.ts";
import type { Clock } from "../../core/time.ts";
import type { Logger } from "../../observe/log.ts";
import type { Storage } from "../../storage/contract.ts";
import { isRecord } from "../problem.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const PLACE = "acme/on-demand.json";
/** Names that were turned away; strangers choose them, and the oldest go first. */
const MAX_REFUSED = 1_000;
const REFUSED_FOR_MS = HOUR_MS;
/** The one who was to answer may be back soon. */
const UNANSWERED_FOR_MS = 60_000;
/** Each unknown name is a question to somebody's program: a scanner must not turn into a flood of them. */
const MAX_ASKING = 10;
const ASKED_PER_MINUTE = 60;
/** Who could not be proved for this long was pointed here by mistake, or by somebody else. */
const UNPROVED_MS = DAY_MS;

/** Of one site `*.rest`. */
export interface DemandRules {
  /** The site's name. */
  site: string;
  /** Whom to ask; undefined: the pattern is enough. */
  ask: string | undefined;
  /** Of what stands for the star, `*` for any characters; empty: anything. */
  match: readonly string[];
  /** New names. */
  perHour: number;
  /** Names altogether. */
  most: number;
}

export interface OnDemandOptions {
  storage: Storage;
  clock: Clock;
  log: Logger;
  /** @throws when there is no answer */
  ask(url: string, name: string): Promise<boolean>;
  /** Is there a certificate for it? */
  hasCertificate(name: string): Promise<boolean>;
  /** `names()` is another list. */
  changed(): void;
}

export interface OnDemand {
  /** Names that are no longer anybody's are dropped. */
  apply(rules: readonly DemandRules[]): void;
  /** Those that were let in. */
  names(): string[];
  has(name: string): boolean;
  /** A client has asked for it. What follows, follows by itself. */
  wish(name: string): void;
  /** Ask again about names that were let in, and drop those that came to nothing. For once an hour. */
  review(): Promise<void>;
  /** What was begun has ended. */
  settled(): Promise<void>;
}

interface Guest {
  /** Let in, ms since 1970. */
  at: number;
  /** Asked about last. */
  askedAt: number;
}

/** What was let in before is read first. */
export async function createOnDemand(options: OnDemandOptions): Promise<OnDemand> {
  const { storage, clock, log } = options;
  const guests = await readGuests(storage, log);
  const refused = new LRUCache<string, number>({ max: MAX_REFUSED });
  const asking = new Map<string, Promise<void>>();
  let rules: ReadonlyMap<string, DemandRules> = new Map();
  let minute = { at: 0, asked: 0 };
  let saving: Promise<void> = Promise.resolve();

  const rulesOf = (name: string): DemandRules | undefined => rules.get(`*${name.slice(name.indexOf("."))}`);
  const ofSite = (site: string): [string, Guest][] => [...guests].filter(([name]) => rulesOf(name)?.site === site);

  function save(): void {
    saving = saving
      .then(() => storage.write(PLACE, `${JSON.stringify({ version: 1, names: Object.fromEntries(guests) })}\n`))
      .catch((error: unknown) => {
        log.warn({ event: "on_demand.unkept", reason: errorText(error) }, "names on demand are not written down");
      });
  }

  function drop(name: string, why: string): void {
    guests.delete(name);
    refused.set(name, clock.now() + REFUSED_FOR_MS);
    log.info({ event: "on_demand.dropped", name, why }, "a name is no longer kept on demand");
  }

  /** A house that is full says so once an hour, not for each stranger. */
  let saidFullAt = 0;
  function isFull({ site, perHour, most }: DemandRules): boolean {
    const now = clock.now();
    const own = ofSite(site);
    const lately = own.filter(([, { at }]) => Math.abs(now - at) < HOUR_MS).length;
    if (own.length < most && lately < perHour) return false;
    if (Math.abs(now - saidFullAt) >= HOUR_MS) {
      saidFullAt = now;
      const limit = own.length >= most ? `most: ${most}` : `perHour: ${perHour}`;
      log.warn({ event: "on_demand.full", site, limit }, "no further names are taken on demand for now");
    }
    return true;
  }

  function mayAsk(): boolean {
    const now = clock.now();
    if (Math.abs(now - minute.at) >= 60_000) minute = { at: now, asked: 0 };
    return asking.size < MAX_ASKING && minute.asked++ < ASKED_PER_MINUTE;
  }

  async function decide(name: string, its: DemandRules): Promise<void> {
    const { site } = its;
    if (its.ask !== undefined) {
      try {
        if (!(await options.ask(its.ask, name))) {
          refused.set(name, clock.now() + REFUSED_FOR_MS);
          log.info({ event: "on_demand.refused", site, name }, "a name was asked for and is not wanted");
          return;
        }
      } catch (error) {
        refused.set(name, clock.now() + UNANSWERED_FOR_MS);
        log.warn(
          { event: "on_demand.unanswered", site, name, reason: errorText(error) },
          "nobody said whether a name is wanted",
        );
        return;
      }
    }
    // Others may have come in, and the configuration may have changed, while the answer was on its way.
    if (rulesOf(name) !== its || isFull(its)) return;
    guests.set(name, { at: clock.now(), askedAt: clock.now() });
    save();
    log.info({ event: "on_demand.taken", site, name }, "a name was asked for and gets a certificate");
    options.changed();
  }

  return {
    apply(wanted) {
      rules = new Map(wanted.map((each) => [each.site, each]));
      refused.clear();
      const gone = [...guests.keys()].filter((name) => !isMatch(name, rulesOf(name)));
      for (const name of gone) guests.delete(name);
      if (gone.length > 0) save();
    },
    names: () => [...guests.keys()],
    has: (name) => guests.has(name),

    wish(name) {
      const its = rulesOf(name);
      if (guests.has(name) || asking.has(name) || !isMatch(name, its)) return;
      if ((refused.get(name) ?? 0) > clock.now() || isFull(its) || !mayAsk()) return;
      const deciding = decide(name, its).finally(() => asking.delete(name));
      asking.set(name, deciding);
    },

    async review() {
      const now = clock.now();
      const before = guests.size;
      for (const [name, guest] of Array.from(guests)) {
        const its = rulesOf(name);
        if (now - guest.at >= UNPROVED_MS && !(await options.hasCertificate(name))) {
          drop(name, "it could not be proved for a day");
        } else if (its?.ask !== undefined && Math.abs(now - guest.askedAt) >= DAY_MS) {
          // Who does not answer takes nothing away.
          const isWanted = await options.ask(its.ask, name).catch(() => true);
          if (isWanted) guest.askedAt = now;
          else drop(name, "it is no longer wanted");
        }
      }
      save();
      if (guests.size !== before) options.changed();
    },

    async settled() {
      await Promise.all(asking.values());
      await saving;
    },
  };
}

/** One label in place of the star, as everywhere. */
function isMatch(name: string, rules: DemandRules | undefined): rules is DemandRules {
  if (rules === undefined) return false;
  const label = name.slice(0, name.indexOf("."));
  return rules.match.length === 0 || rules.match.some((pattern) => matches(label, pattern));
}

/** `*` for any characters. Greedy from left to right, so that no pattern takes longer than its length times the label's. */
function matches(label: string, pattern: string): boolean {
  const [head = "", ...parts] = pattern.split("*");
  if (parts.length === 0) return label === head;
  const tail = parts.pop() ?? "";
  if (label.length < head.length + tail.length || !label.startsWith(head) || !label.endsWith(tail)) return false;
  let at = head.length;
  for (const part of parts) {
    const found = label.indexOf(part, at);
    if (found < 0 || found + part.length > label.length - tail.length) return false;
    at = found + part.length;
  }
  return true;
}

/** A list that cannot be read is an empty one: each name is asked for again. */
async function readGuests(storage: Storage, log: Logger): Promise<Map<string, Guest>> {
  const guests = new Map<string, Guest>();
  try {
    const data: unknown = JSON.parse((await storage.read(PLACE))?.toString("utf8") ?? "{}");
    const names = isRecord(data) && isRecord(data["names"]) ? data["names"] : {};
    for (const [name, guest] of Object.entries(names)) {
      if (isRecord(guest)) guests.set(name, { at: Number(guest["at"]), askedAt: Number(guest["askedAt"]) });
    }
  } catch (error) {
    log.warn({ event: "on_demand.unread", reason: errorText(error) }, "the names on demand cannot be read");
  }
  return guests;
}
