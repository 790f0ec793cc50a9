/**
 * What does a worker do when the primary speaks?
 * Owns: the worker's end of the channel: putting the parts of a configuration together, and asking for what it lacks.
 * Never: decides to live or to end: signals are ignored, the primary says when; a primary that is gone takes it along.
 */
import cluster from "node:cluster";
import type { Socket } from "node:net";
import { addVisitors } from "../core/visitors.ts";
import type { Config, SiteConfig } from "../config/model.ts";
import { GatehouseError } from "../core/errors.ts";
import type { Spread } from "../core/spread.ts";
import type { Families } from "../observe/families.ts";
import type { Keeper, Serving } from "./contract.ts";
import { createLink } from "./link.ts";
import { createSpread } from "./spread.ts";
import { Tally } from "./tally.ts";
import {
  type Beginning,
  isMessage,
  MESSAGES_VERSION,
  type Passed,
  type PassedHandle,
  type PrimarySide,
  type WorkerSide,
} from "./messages.ts";

export interface WorkerTools {
  /** `first` is the configuration of the coming `apply`. */
  createServing(first: Config, beginning: Beginning, keeper: Keeper, spread: Spread | undefined): Serving;
  families(): Promise<Families>;
}

/** A bundle is read from a disk, a challenge's answer may wait for one: the plain port itself gives up after 8 s. */
const ASK_WITHIN_MS = 10_000;
/** Sent to a whole process group by a terminal or by systemd; what they mean is the primary's to say. */
const NOT_OURS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const;

/** For a process that node:cluster forked. Returns at once; the process ends with its channel. */
export function workForPrimary(tools: WorkerTools): void {
  for (const signal of NOT_OURS) process.on(signal, () => {});
  process.once("disconnect", () => process.exit(0));
  // Told to go and left by the primary in one moment: node:cluster closes the channel a second time, and Node throws that.
  cluster.worker?.on("error", () => process.exit(0));

  let beginning: Beginning | undefined;
  let serving: Serving | undefined;
  let spread: ReturnType<typeof createSpread> | undefined;
  let parts: { rest: Omit<Config, "sites">; sites: SiteConfig[] } | undefined;

  const ours: WorkerSide = {
    begin(given) {
      beginning = given;
      const { place } = given;
      if (place !== undefined) spread = createSpread({ tally: new Tally(place.fd), place: place.index, send: passOn });
    },
    config(rest) {
      parts = { rest, sites: [] };
    },
    sites(chunk) {
      for (const site of chunk) parts?.sites.push(site);
    },
    async apply() {
      if (beginning === undefined || parts === undefined) throw outOfOrder();
      const config: Config = { ...parts.rest, sites: parts.sites };
      parts = undefined;
      if (serving === undefined) {
        serving = tools.createServing(config, beginning, keeper, spread);
        serving.setDevices(beginning.devices);
      }
      await serving.apply(config);
      return serving.addresses();
    },
    setBundle: (bundle) => serving?.setBundle(bundle),
    setTicketKeys(keys) {
      if (beginning !== undefined) beginning = { ...beginning, ticketKeys: keys };
      serving?.setTicketKeys(keys);
    },
    setDevices(devices) {
      if (beginning !== undefined) beginning = { ...beginning, devices };
      serving?.setDevices(devices);
    },
    pulse: () => ({
      openConnections: serving?.openConnections() ?? 0,
      visitors: serving?.visitors() ?? addVisitors([]),
    }),
    isAwake() {},
    numbers: () => tools.families(),
    async drain(withinMs, idleMs) {
      await serving?.drain({ withinMs, idleMs });
      serving?.close();
    },
  };
  const link = createLink<WorkerSide, PrimarySide>({
    ours,
    send: (message, onFailure) => {
      process.send?.(message, undefined, undefined, (error) => {
        if (error !== null) onFailure(error);
      });
    },
  });
  const keeper: Keeper = {
    bundle: (name) => link.ask("bundle", [name], ASK_WITHIN_MS).catch(() => undefined),
    wish: (name) => link.ask("wish", [name], ASK_WITHIN_MS).catch(() => undefined),
    answerChallenge: (host, token) => link.ask("answerChallenge", [host, token], ASK_WITHIN_MS),
    // The primary may be on its way out, and these two may not reject.
    challengeCertificate: (serverName) =>
      link.ask("challengeCertificate", [serverName], ASK_WITHIN_MS).catch(() => undefined),
  };
  process.on("message", (message, handle: unknown) => {
    if (!isMessage(message)) return;
    if (message.kind === "passed") spread?.receive(handle);
    else link.receive(message);
  });
  process.send?.({ kind: "hello", messages: MESSAGES_VERSION });
}

function passOn(handle: PassedHandle, sent: () => void): void {
  // Node's types know whole sockets only, which read as soon as they are.
  process.send?.({ kind: "passed" } satisfies Passed, handle as Socket & PassedHandle, undefined, sent);
}

function outOfOrder(): GatehouseError {
  return new GatehouseError("GATEHOUSE_WORKER_FAILED", {
    message: "A worker was told to serve before it was told what.",
    hint: "This is a bug in Gatehouse; a restart helps.",
  });
}
