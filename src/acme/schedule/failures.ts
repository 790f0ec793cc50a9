/**
 * How long do we wait after a failure?
 * Owns: the back-off, and the memory of it under `acme/failures/<name>.json`, so that a restart loop burns no limits.
 * Never: orders.
 */
import { errorText, isGatehouseError } from "../../core/errors.ts";
import type { CertificateBundle } from "../../storage/bundles.ts";
import type { Storage } from "../../storage/contract.ts";
import { isRecord } from "../problem.ts";

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
/** Let's Encrypt's integration guide; three failures in the first hour stay under its five. */
const BACK_OFF_MS = [MINUTE_MS, 10 * MINUTE_MS, 100 * MINUTE_MS, DAY_MS] as const;
/** Up to a quarter longer: many homes that lost the same CA come back apart. */
const JITTER_SHARE = 1 / 4;
/** Never longer than this share of what is left of the certificate … */
const SHARE_OF_REST = 1 / 8;
/** … but not so often that five failures fit into an hour; a life of an hour is for private CAs and their own pace. */
const SHORTEST_MS = 15 * MINUTE_MS;

export interface FailureRecord {
  name: string;
  ca: string;
  /** In a row. */
  count: number;
  code: string;
  message: string;
  hint: string | undefined;
  /** Does it need a person? */
  isRefusal: boolean;
  at: number; // ms since 1970
  nextTry: number; // ms since 1970
  /** The CA's own "not before", ms since 1970: even a person's request waits for it. */
  notBefore: number | undefined;
}

export function recordFailure(
  error: unknown,
  facts: {
    name: string;
    ca: string;
    before: FailureRecord | undefined;
    bundle: CertificateBundle | undefined;
    now: number;
    random: () => number;
  },
): FailureRecord {
  const { now } = facts;
  const known = isGatehouseError(error) ? error : undefined;
  const count = (facts.before?.count ?? 0) + 1;
  const isRefusal = known?.retry === "never";
  // A refusal stays one until a person acts: nothing is won by asking again in a minute.
  const planned = isRefusal ? DAY_MS : (BACK_OFF_MS[count - 1] ?? DAY_MS);
  const delay = Math.min(planned * (1 + JITTER_SHARE * facts.random()), longestWait(facts.bundle, now));
  const notBefore = known?.notBefore;
  return {
    name: facts.name,
    ca: facts.ca,
    count,
    code: known?.code ?? "UNKNOWN",
    message: errorText(error),
    hint: known?.hint,
    isRefusal,
    at: now,
    nextTry: Math.max(now + delay, notBefore ?? 0),
    notBefore,
  };
}

/** After the end an eighth of the whole life stands in for what is left: an hour's certificate cannot wait a day. */
function longestWait(bundle: CertificateBundle | undefined, now: number): number {
  if (bundle === undefined) return Number.POSITIVE_INFINITY;
  const life = bundle.notAfter - bundle.notBefore;
  const left = bundle.notAfter - now;
  const shortest = Math.min(SHORTEST_MS, Math.max(life / 60, MINUTE_MS));
  return Math.max((left > 0 ? left : life) * SHARE_OF_REST, shortest);
}

export interface FailureMemory {
  load(name: string, now: number): Promise<FailureRecord | undefined>;
  save(record: FailureRecord): Promise<void>;
  clear(name: string): Promise<void>;
}

/** Failures at another CA say nothing about this one and are not returned. */
export function createFailureMemory(storage: Storage, ca: string): FailureMemory {
  const place = (name: string): string => `acme/failures/${name.replaceAll(":", "_")}.json`;
  return {
    async load(name, now) {
      const record = readRecord(await storage.read(place(name)), name);
      if (record === undefined || record.ca !== ca) return undefined;
      if (record.at <= now) return record;
      // Written by a clock that was ahead: the wait counts from now, else it could last for years.
      const lead = record.at - now;
      return {
        ...record,
        at: now,
        nextTry: record.nextTry - lead,
        notBefore: record.notBefore === undefined ? undefined : record.notBefore - lead,
      };
    },
    save: (record) => storage.write(place(record.name), `${JSON.stringify({ version: 1, ...record }, undefined, 2)}\n`),
    clear: (name) => storage.remove(place(name)),
  };
}

/** A damaged record is no reason to stop: the CA's own limits are the second line. */
function readRecord(bytes: Buffer | undefined, name: string): FailureRecord | undefined {
  try {
    const data: unknown = JSON.parse(bytes?.toString("utf8") ?? "");
    if (!isRecord(data)) return undefined;
    const { ca, count, code, message, hint, at, nextTry, notBefore } = data;
    if (typeof ca !== "string" || typeof count !== "number" || typeof at !== "number" || typeof nextTry !== "number") {
      return undefined;
    }
    return {
      name,
      ca,
      count,
      code: String(code),
      message: String(message),
      hint: typeof hint === "string" ? hint : undefined,
      isRefusal: data["isRefusal"] === true,
      at,
      nextTry,
      notBefore: typeof notBefore === "number" ? notBefore : undefined,
    };
  } catch {
    return undefined;
  }
}
