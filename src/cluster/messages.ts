/**
 * What do the primary and a worker say to each other?
 * Owns: the questions of both sides, their arguments and answers, and the version of all that.
 * Never: carries them (link does).
 *
 * Everything here is structured-cloneable: plain objects, Maps, Buffers. A question is always answered, if only by "done":
 * the one who asks then sends the next part, so neither side ever has more than one part of a large configuration waiting.
 */
import type { Config, SiteConfig } from "../config/model.ts";
import type { VisitorsReport } from "../core/visitors.ts";
import type { Families } from "../observe/families.ts";
import type { CertificateBundle } from "../storage/bundles.ts";
import type { Addresses, Devices, Keeper } from "./contract.ts";

/**
 * A worker that starts late may come from files that were replaced under a running primary (an upgrade without a restart):
 * it says this number first, and the primary of another version does without it. Change it with any shape below.
 */
export const MESSAGES_VERSION = 6;

export interface Beginning {
  version: string;
  log: Config["log"];
  ticketKeys: Buffer;
  devices: Devices;
  /** Of this worker, in the tally at the descriptor that all inherit. Without: there is none. */
  place?: { index: number; fd: number };
  fallback: { keyPem: string; certificatePem: string };
}

export interface Pulse {
  openConnections: number;
  visitors: VisitorsReport;
}

/** What the primary asks of a worker. */
export interface WorkerSide {
  begin(beginning: Beginning): void;
  /** A configuration in parts: all but the sites, the sites in chunks, then the change itself. */
  config(rest: Omit<Config, "sites">): void;
  sites(chunk: readonly SiteConfig[]): void;
  apply(): Promise<Addresses>;
  setBundle(bundle: CertificateBundle): void;
  setTicketKeys(keys: Buffer): void;
  setDevices(devices: Devices): void;
  pulse(): Pulse;
  isAwake(): void;
  numbers(): Promise<Families>;
  /** Answered when the last client is gone or the time is over; the primary then disconnects. */
  drain(withinMs: number, idleMs: number | undefined): Promise<void>;
}

/** What a worker asks of the primary. */
export type PrimarySide = Keeper;

/** The first message of a worker, before any question. */
export interface Hello {
  kind: "hello";
  messages: number;
}

/** A connection comes along: to the primary for another worker, from it for this one. */
export interface Passed {
  kind: "passed";
}

/** That connection, as node:child_process gives it on. */
export interface PassedHandle {
  close(): void;
}

/** False where there was none: a process that has as many open files as it may gets none, and the kernel closes it. */
export const isPassedHandle = (value: unknown): value is PassedHandle =>
  typeof value === "object" && value !== null && "close" in value && typeof value.close === "function";

export type Message =
  | Hello
  | Passed
  | { kind: "ask"; id: number; verb: string; args: readonly unknown[] }
  | { kind: "answer"; id: number; value: unknown }
  | { kind: "failure"; id: number; code: string | undefined; message: string; hint: string | undefined };

/** Node sends messages of its own over the same channel, and keeps those from the listeners; this guards the rest. */
export function isMessage(value: unknown): value is Message {
  return typeof value === "object" && value !== null && "kind" in value;
}
