/**
 * What is known of the names whose addresses are kept?
 * Owns: the shapes that `gatehouse ddns` shows (plain JSON, times in ms since 1970).
 * Never: asks anything.
 */
import type { Addresses } from "../dns/contract.ts";
import type { Shown } from "../dns/shown.ts";
import { covers, type NameKeeper } from "./ddns-name.ts";
import type { DdnsFailure } from "./ddns-state.ts";
import type { PublicAddress } from "./public-ip.ts";

/**
 * `right`: the zone shows this home's address. `waiting`: it is not right yet, and nothing has failed. `failing`: it is
 * tried again by itself. `stopped`: the service wants a person. `unknown`: nobody tells the home's address.
 */
export type DdnsState = "right" | "waiting" | "failing" | "stopped" | "unknown";

export interface DdnsNameReport {
  name: string;
  service: string;
  state: DdnsState;
  wanted: Addresses;
  /** Last seen to be right: the last-known-good. */
  good: Addresses | undefined;
  goodAt: number | undefined;
  pushedAt: number | undefined;
  /** What each name server of the zone showed at the last look. */
  shown: readonly Shown[];
  failures: number;
  nextTryAt: number | undefined;
  error: DdnsFailure | undefined;
}

export interface DdnsReport {
  isOn: boolean;
  address: PublicAddress | undefined;
  checkedAt: number | undefined;
  nextCheckAt: number | undefined;
  names: readonly DdnsNameReport[];
}

export const NO_DDNS: DdnsReport = {
  isOn: false,
  address: undefined,
  checkedAt: undefined,
  nextCheckAt: undefined,
  names: [],
};

export function reportName(
  name: string,
  service: string,
  wanted: Addresses,
  keeper: NameKeeper | undefined,
  now: number,
): DdnsNameReport {
  const state = keeper?.state();
  const isKnown = wanted.ipv4 !== undefined || wanted.ipv6 !== undefined;
  const isFailing = (state?.failures ?? 0) > 0;
  const word: DdnsState =
    state?.isStopped === true
      ? "stopped"
      : isFailing
        ? "failing"
        : !isKnown
          ? "unknown"
          : covers(state?.good, wanted)
            ? "right"
            : "waiting";
  const next = keeper?.nextAt();
  return {
    name,
    service,
    state: word,
    wanted,
    good: state?.good,
    goodAt: state?.goodAt,
    pushedAt: state?.pushedAt,
    shown: keeper?.lastShown() ?? [],
    failures: state?.failures ?? 0,
    nextTryAt: isFailing && next !== undefined ? Math.max(next, now) : undefined,
    error: state?.error,
  };
}
