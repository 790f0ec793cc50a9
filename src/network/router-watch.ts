/**
 * Which router is it, is it there, and does it still remember?
 * Owns: finding it and the protocol it speaks, its clock, its address outside, and what is said about them.
 * Never: asks for a port.
 */
import { errorText, GatehouseError, isGatehouseError } from "../core/errors.ts";
import type { Logger } from "../observe/log.ts";
import { kindOf } from "./addresses.ts";
import { findGateway, type Gateway } from "./gateway.ts";
import { hasForgotten, type Epoch } from "./mapped-port.ts";
import { linkToRouter, type Protocol, type RouterLink } from "./router-link.ts";

export interface RouterWatchOptions {
  map: "auto" | Protocol;
  /** See createPcp. */
  secret: Buffer;
  log: Logger;
  /** Does anybody answer? */
  onAnswers(answers: boolean): void;
  /** Another router, or another address of ours: what was mapped is worth nothing any more. */
  onMoved(): void;
  /** The router started anew and has an empty table. */
  onForgotten(): void;
}

export interface RouterWatch {
  gateway(): Gateway | undefined;
  link(): RouterLink | undefined;
  externalAddress(): string | undefined;
  lastAnswerAt(): number | undefined;
  error(): unknown;
  /** The link, made anew where need be. Undefined: nobody to ask, and `againMs()` says when to look again. */
  find(signal: AbortSignal): Promise<RouterLink | undefined>;
  againMs(): number;
  /** The cheapest question. Silence twice in a row ends the link. */
  check(signal: AbortSignal): Promise<void>;
  /** What an answer told beside what was asked for. */
  see(epochSeconds: number | undefined, address: string | undefined): void;
  /** It refuses everything in this language: try the others. False when they have been tried. */
  tryAnother(): boolean;
  forget(): void;
}

const ALL: readonly Protocol[] = ["pcp", "nat-pmp", "upnp"];
/** After this many unanswered checks the router is looked for anew. */
const MAX_SILENT_CHECKS = 2;
/** Looking anew: soon at first, as after a router's restart, then every quarter of an hour. */
const FIND_AGAIN_MS = [5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 900_000];

const isSameRouter = (a: Gateway | undefined, b: Gateway): boolean =>
  a?.address === b.address &&
  a.ownAddress === b.ownAddress &&
  a.ipv6?.address === b.ipv6?.address &&
  a.ipv6?.ownAddress === b.ipv6?.ownAddress;

export function createRouterWatch(options: RouterWatchOptions): RouterWatch {
  const { map, secret, log, onAnswers, onMoved, onForgotten } = options;
  let gateway: Gateway | undefined;
  let link: RouterLink | undefined;
  let avoided: Protocol | undefined;
  let isExhausted = false;
  let epoch: Epoch | undefined;
  let externalAddress: string | undefined;
  let lastAnswerAt: number | undefined;
  let error: unknown;
  let silentChecks = 0;
  let searches = 0;

  // Its clock stays: a router that was silent while it started anew is known by it.
  function forget(): void {
    link = undefined;
    silentChecks = 0;
    onAnswers(false);
  }

  function saySilent(cause: unknown): void {
    const hint = isGatehouseError(cause) ? cause.hint : undefined;
    const facts = { gateway: gateway?.address, reason: errorText(cause), hint };
    log.warn({ event: "router.silent", ...facts }, "the router cannot be asked for ports");
  }

  function moveTo(next: Gateway): void {
    const facts = { gateway: next.address, ownAddress: next.ownAddress };
    if (gateway !== undefined)
      log.info({ event: "router.changed", ...facts }, "another router, or another address here");
    forget();
    epoch = undefined;
    avoided = undefined;
    isExhausted = false;
    externalAddress = undefined;
    gateway = next;
    onMoved();
  }

  async function find(signal: AbortSignal): Promise<RouterLink | undefined> {
    const next = await findGateway();
    if (next === undefined) {
      if (gateway !== undefined || searches === 0) forget();
      gateway = undefined;
      searches++;
      error = new GatehouseError("GATEHOUSE_ROUTER_NONE", {
        message: "This machine has no default gateway by IPv4, so there is no router to ask.",
        hint: "Connect it, or in a container use the host's network.",
      });
      return undefined;
    }
    if (!isSameRouter(gateway, next)) moveTo(next);
    if (link !== undefined) return link;
    const protocols = map === "auto" ? ALL.filter((one) => one !== avoided) : [map];
    try {
      link = await linkToRouter({ gateway: next, protocols, secret, signal });
    } catch (cause) {
      if (signal.aborted) throw cause;
      error = cause;
      if (searches++ === 0 && avoided === undefined) saySilent(cause);
      if (avoided === undefined) return undefined;
      // With the others silent, the one that refused is the best there is.
      avoided = undefined;
      isExhausted = true;
      searches = 0;
      return find(signal);
    }
    searches = 0;
    error = undefined;
    onAnswers(true);
    const facts = { gateway: next.address, speaks: link.speaker.speaks, ipv6: link.ipv6?.speaks };
    log.info({ event: "router.found", ...facts }, "the router can be asked for ports");
    return link;
  }

  function see(seconds: number | undefined, address: string | undefined): void {
    lastAnswerAt = performance.timeOrigin + performance.now();
    silentChecks = 0;
    if (seconds !== undefined) {
      const next = { seconds, at: performance.now() };
      const isEmpty = hasForgotten(epoch, next);
      epoch = next;
      if (isEmpty) {
        log.warn({ event: "router.rebooted" }, "the router has forgotten its mappings, they are made again");
        onForgotten();
      }
    }
    if (address === undefined || address === externalAddress || address === "0.0.0.0") return;
    const kind = kindOf(address);
    log.info({ event: "router.address", address, kind, last: externalAddress }, "the router's address outside");
    externalAddress = address;
    if (kind === "public") return;
    const hint = "Ask the provider for a public IPv4 address, or put the box in front into bridge mode.";
    log.warn(
      { event: "router.behind_nat", address, kind, hint },
      "another NAT is in front of the router: mapped ports are not reached from outside",
    );
  }

  return {
    gateway: () => gateway,
    link: () => link,
    externalAddress: () => externalAddress,
    lastAnswerAt: () => lastAnswerAt,
    error: () => error,
    find,
    againMs: () => FIND_AGAIN_MS[Math.min(Math.max(searches, 1), FIND_AGAIN_MS.length) - 1] ?? 0,
    async check(signal) {
      if (link === undefined) return;
      try {
        const state = await link.speaker.state(signal);
        error = undefined;
        see(state.epochSeconds, state.externalAddress);
      } catch (cause) {
        if (!isGatehouseError(cause)) throw cause;
        error = cause;
        if (cause.code !== "GATEHOUSE_ROUTER_SILENT") {
          // A no is an answer: the question about the address may be all that it refuses.
          see(undefined, undefined);
        } else if (++silentChecks >= MAX_SILENT_CHECKS) {
          saySilent(cause);
          searches = 1;
          forget();
        }
      }
    },
    see,
    tryAnother() {
      if (map !== "auto" || isExhausted || avoided !== undefined || link === undefined) return false;
      avoided = link.protocol;
      forget();
      epoch = undefined;
      return true;
    },
    forget,
  };
}
