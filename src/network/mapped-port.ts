/**
 * How does one port of ours stand with the router, and when is it its turn?
 * Owns: leases, renewals and retries of one port as data and pure steps; the arithmetic of the router's clock.
 * Never: sends anything or reads a clock.
 */
import { errorText, isGatehouseError } from "../core/errors.ts";
import type { Granted, PortRequest } from "./speaker.ts";

/** A port that the world should reach. */
export interface WantedPort {
  /** For people and the router's list: https, http, or the entry's key. */
  name: string;
  protocol: "tcp" | "udp";
  internalPort: number;
  externalPort: number;
  /** How it is listened on; by IPv6 only where the port outside is the port inside. */
  families: readonly ("ipv4" | "ipv6")[];
}

export type PortState = "waiting" | "mapped" | "conflict" | "refused" | "silent";

export interface MappedPort {
  port: WantedPort;
  family: "ipv4" | "ipv6";
  state: PortState;
  /** Ms since 1970; undefined while nothing is mapped, and for a lease without end. */
  until: number | undefined;
  /** When to ask next. */
  dueAt: number;
  failures: number;
  /** Times that the mapping was found gone or changed and made again. */
  repairs: number;
  error: { code: string; message: string; hint: string | undefined } | undefined;
}

/** Retries of a port that was never had: a person has to act, and the router should not be bothered meanwhile. */
const RETRY_FIRST_MS = 30_000;
const RETRY_MOST_MS = 900_000;
/** RFC 6887 §11.2.1: no renewal sooner than this after the last. */
const RENEW_LEAST_MS = 4_000;

export const keyOf = (port: WantedPort, family: "ipv4" | "ipv6"): string =>
  `${family} ${port.protocol} ${port.externalPort} ${port.internalPort}`;

export const newPort = (port: WantedPort, family: "ipv4" | "ipv6"): MappedPort => ({
  port,
  family,
  state: "waiting",
  until: undefined,
  dueAt: 0,
  failures: 0,
  repairs: 0,
  error: undefined,
});

/** @param random  0 to 1: the renewal comes between a half and five eighths of the lease (RFC 6887 §11.2.1) */
export function granted(one: MappedPort, { leaseSeconds }: Granted, now: number, random: number): MappedPort {
  const leaseMs = leaseSeconds * 1_000;
  return {
    ...one,
    state: "mapped",
    until: leaseSeconds === 0 ? undefined : now + leaseMs,
    dueAt: leaseSeconds === 0 ? Number.POSITIVE_INFINITY : now + Math.max(RENEW_LEAST_MS, leaseMs * (0.5 + random / 8)),
    failures: 0,
    error: undefined,
  };
}

export function failed(one: MappedPort, error: unknown, now: number): MappedPort {
  const code = isGatehouseError(error) ? error.code : "GATEHOUSE_ROUTER_GARBAGE";
  const facts = { code, message: errorText(error), hint: isGatehouseError(error) ? error.hint : undefined };
  const failures = one.failures + 1;
  const isHeld = one.state === "mapped" && (one.until === undefined || one.until > now);
  if (isHeld) {
    // Half of what is left, each time.
    const left = one.until === undefined ? RETRY_MOST_MS : one.until - now;
    return { ...one, failures, error: facts, dueAt: now + Math.max(RENEW_LEAST_MS, left / 2) };
  }
  const backOff = Math.min(RETRY_FIRST_MS * 2 ** Math.min(one.failures, 10), RETRY_MOST_MS);
  const notBefore = isGatehouseError(error) ? (error.notBefore ?? 0) : 0;
  const states: Record<string, PortState> = {
    GATEHOUSE_ROUTER_CONFLICT: "conflict",
    GATEHOUSE_ROUTER_SILENT: "silent",
  };
  return {
    ...one,
    state: states[code] ?? "refused",
    until: undefined,
    failures,
    error: facts,
    dueAt: Math.max(now + backOff, notBefore),
  };
}

/** The router has it no more: ask now. */
export const lost = (one: MappedPort): MappedPort => ({
  ...one,
  state: "waiting",
  until: undefined,
  dueAt: 0,
  failures: 0,
  repairs: one.repairs + 1,
});

/**
 * The router may have started anew without its clock showing it (RFC 6887 §8.5 cannot tell when the clock was young before):
 * ask now, which renews what is still there.
 */
export const doubted = (one: MappedPort): MappedPort => (one.state === "mapped" ? { ...one, dueAt: 0 } : one);

/** IPv6 has no other port outside than inside. */
export const requestFor = ({ port, family }: MappedPort, leaseSeconds: number): PortRequest => ({
  protocol: port.protocol,
  internalPort: port.internalPort,
  externalPort: family === "ipv6" ? port.internalPort : port.externalPort,
  leaseSeconds,
  description: `Gatehouse ${port.name}`.replace(/[^\x20-\x7e]/g, "?").slice(0, 60),
});

/** A reading of the router's clock, and when it was taken. */
export interface Epoch {
  seconds: number;
  /** Ms, of a clock that does not jump. */
  at: number;
}

/**
 * Has the router lost its table between these two readings? The stricter rule of RFC 6887 §8.5, which covers RFC 6886 §3.6.
 */
export function hasForgotten(last: Epoch | undefined, next: Epoch): boolean {
  if (last === undefined) return false;
  if (next.seconds < last.seconds - 1) return true;
  const ours = (next.at - last.at) / 1_000;
  const theirs = next.seconds - last.seconds;
  return ours + 2 < theirs - theirs / 16 || theirs + 2 < ours - ours / 16;
}
