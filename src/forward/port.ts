/**
 * What is a forwarded port to those who open, watch and close it?
 * Owns: the contract of tcp and udp, and what is counted for each.
 * Never: opens one.
 */
import type { SecureContext } from "node:tls";
import type { PortConfig } from "../config/model.ts";
import type { YoungGarbage } from "../core/young-garbage.ts";
import type { Logger } from "../observe/log.ts";
import type { KnownAddresses } from "./known-addresses.ts";

export interface PortTraffic {
  /** Sessions open now, and since the port was opened. */
  active: number;
  total: number;
  /** Turned away: not on the list, no room, TLS that failed. */
  refused: number;
  /** Bytes from clients and to clients. */
  bytesIn: number;
  bytesOut: number;
  /** What the last connection to the target came to; undefined before the first. */
  target: { ok: boolean; at: number; error: string | undefined } | undefined;
}

export interface ForwardedPort {
  readonly traffic: Readonly<PortTraffic>;
  /** Where it really listens (port 0 resolved). */
  bound(): { host: string; port: number } | undefined;
  /**
   * Takes new settings for the sessions to come; those that are open stay, but for clients who are no longer allowed.
   * The address listened on does not change.
   */
  reconfigure(config: PortConfig): void;
  /** Take no new sessions. */
  stopListening(): void;
  /** Stop listening and cut every session. */
  close(): Promise<void>;
}

export interface PortOptions {
  log: Logger;
  /** Write one line per session. */
  isLogged(): boolean;
  garbage: YoungGarbage;
  /** Shared by all ports: who talks to one by TCP may be answered by another by UDP. */
  known: KnownAddresses;
  /** The certificate for `tls:`; undefined while there is none. */
  contextFor(name: string): SecureContext | undefined;
}

export const newTraffic = (): PortTraffic => ({
  active: 0,
  total: 0,
  refused: 0,
  bytesIn: 0,
  bytesOut: 0,
  target: undefined,
});

/** At most one line about a target that does not answer every ten seconds; the count tells of the rest. */
export function createComplaints(
  log: Logger,
  everyMs = 10_000,
): (facts: Record<string, unknown>, words: string) => void {
  let saidAt = -everyMs;
  let unsaid = 0;
  return (facts, words) => {
    const now = performance.now();
    if (now - saidAt < everyMs) {
      unsaid++;
      return;
    }
    saidAt = now;
    log.warn({ ...facts, unsaid }, words);
    unsaid = 0;
  };
}
