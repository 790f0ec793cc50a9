/**
 * What was done for each name until now, and what must a restart not forget?
 * Owns: `ddns/state` in the store: what was pushed, what was seen to be right, how long to be silent.
 * Never: holds a token; of a service's settings it keeps a digest.
 */
import type { Addresses } from "../dns/contract.ts";
import type { Storage } from "../storage/contract.ts";

export interface DdnsFailure {
  code: string;
  message: string;
  hint: string | undefined;
}

/** Times in ms since 1970. */
export interface NameState {
  /** Digest of the settings that it is about: with other ones, failures and refusals begin anew. */
  settings: string;
  /** What the service last took. */
  pushed?: Addresses | undefined;
  pushedAt?: number | undefined;
  /** What the zone's own name servers last showed and was right. */
  good?: Addresses | undefined;
  goodAt?: number | undefined;
  /** In a row. */
  failures: number;
  error?: DdnsFailure | undefined;
  /** Nothing is asked of the service before. */
  notBefore: number;
  /** The service wants a person; only `ddns update` or other settings begin again. */
  isStopped: boolean;
  /** The last few pushes, for the bound on them. */
  pushes: readonly number[];
}

export interface DdnsStates {
  of(name: string): NameState | undefined;
  /** Durable when it resolves. @throws GATEHOUSE_STORAGE_FAILED */
  set(name: string, state: NameState): Promise<void>;
}

const KEY = "ddns/state";
const FORMAT = 1;

/** What cannot be read is as if it had never been: the zone is looked at before anything is pushed. */
export async function openDdnsStates(storage: Storage, names: readonly string[]): Promise<DdnsStates> {
  const states = new Map<string, NameState>();
  const kept = readStates(await storage.read(KEY));
  for (const name of names) {
    const state = kept.get(name);
    if (state !== undefined) states.set(name, state);
  }
  return {
    of: (name) => states.get(name),
    async set(name, state) {
      states.set(name, state);
      await storage.write(KEY, `${JSON.stringify({ format: FORMAT, names: Object.fromEntries(states) })}\n`);
    },
  };
}

function readStates(bytes: Buffer | undefined): Map<string, NameState> {
  try {
    const { format, names } = JSON.parse(bytes?.toString("utf8") ?? "") as { format?: unknown; names?: unknown };
    if (format !== FORMAT || typeof names !== "object" || names === null) return new Map();
    return new Map(Object.entries(names).filter((entry): entry is [string, NameState] => isState(entry[1])));
  } catch {
    return new Map();
  }
}

function isState(value: unknown): value is NameState {
  const { settings, failures, notBefore, isStopped, pushes } = (value ?? {}) as Partial<NameState>;
  return (
    typeof settings === "string" &&
    typeof failures === "number" &&
    typeof notBefore === "number" &&
    typeof isStopped === "boolean" &&
    Array.isArray(pushes) &&
    pushes.every((at) => typeof at === "number")
  );
}
