/**
 * Do the ports that we serve lead here from outside, and do they still?
 * Owns: the one loop that finds the router, asks for ports, renews, notices what was lost and gives back.
 * Never: speaks a protocol; keeps anything on a disk: after a restart the router is asked again, and says what it has.
 */
import { errorText, GatehouseError, isGatehouseError } from "../core/errors.ts";
import type { Logger } from "../observe/log.ts";
import type { RouterMetrics } from "../observe/router-tally.ts";
import { hearAnnouncements, type Announcements } from "./announcements.ts";
import {
  doubted,
  failed,
  granted,
  keyOf,
  lost,
  newPort,
  requestFor,
  type MappedPort,
  type WantedPort,
} from "./mapped-port.ts";
import type { Protocol, RouterLink } from "./router-link.ts";
import { reportOf, type RouterReport } from "./router-report.ts";
import { createRouterWatch } from "./router-watch.ts";
import type { RouterSpeaker } from "./speaker.ts";

export interface MapperOptions {
  map: "auto" | Protocol;
  leaseSeconds: number;
  /** How often the router is asked whether it is there and still knows. */
  checkMs: number;
  /** At least 16 bytes, the same after a restart. */
  secret: Buffer;
  log: Logger;
  metrics: RouterMetrics;
}

export interface RouterMapper {
  /** From now on these, and no others. */
  setWanted(ports: readonly WantedPort[]): void;
  report(): RouterReport;
  /** @param options.unmap give everything back first, within three seconds. Idempotent. */
  stop(options: { unmap: boolean }): Promise<void>;
}

const GIVE_BACK_WITHIN_MS = 3_000;
/**
 * Announcements come in tens (RFC 6886 §3.2.1), and anybody in the LAN can forge one. What is announced sooner after the
 * last time is owed, not dropped: a router may restart a moment after its address changed.
 */
const DOUBT_AGAIN_MS = 20_000;
/** One round asks for a handful of ports; a router that needs longer is broken. */
const ROUND_WITHIN_MS = 120_000;

type Outcome = Parameters<RouterMetrics["routerRequest"]>[0];

/** Ms since 1970 that never jump, whatever somebody sets the clock to: leases run by the router's time. */
const now = (): number => performance.timeOrigin + performance.now();

export function createMapper(options: MapperOptions): RouterMapper {
  const { map, leaseSeconds, checkMs, secret, log, metrics } = options;
  const stopping = new AbortController();
  const ports = new Map<string, MappedPort>();
  /** No longer wanted, and still mapped. */
  const leaving = new Map<string, MappedPort>();
  let wake: (() => void) | undefined;
  let isWoken = false;
  let hearing: Announcements | undefined;
  let doubtedAt = Number.NEGATIVE_INFINITY;
  let isDoubtOwed = false;

  const watch = createRouterWatch({
    map,
    secret,
    log,
    onAnswers: (answers) => metrics.routerAnswers(answers),
    onMoved: () => again((one) => newPort(one.port, one.family)),
    onForgotten() {
      metrics.routerRepair("reboot");
      again(lost);
    },
  });
  const speakerFor = ({ family }: MappedPort): RouterSpeaker | undefined =>
    family === "ipv4" ? watch.link()?.speaker : watch.link()?.ipv6;
  const labelsOf = ({ port, family }: MappedPort) => ({ protocol: port.protocol, port: port.externalPort, family });

  function put(one: MappedPort): void {
    const key = keyOf(one.port, one.family);
    if (!ports.has(key)) {
      // No longer wanted since it was asked for.
      if (one.state === "mapped") leaving.set(key, one);
      return;
    }
    ports.set(key, one);
    // Where the router cannot be asked about IPv6, there is nothing to be alarmed about.
    if (one.family === "ipv4" || watch.link()?.ipv6 !== undefined)
      metrics.routerPort(labelsOf(one), one.state === "mapped");
  }

  function again(step: (one: MappedPort) => MappedPort): void {
    for (const one of ports.values()) put(step(one));
  }

  const doubtDueAt = (): number => (isDoubtOwed ? doubtedAt + DOUBT_AGAIN_MS : Number.POSITIVE_INFINITY);

  function doubtWhenDue(): void {
    if (now() < doubtDueAt()) return;
    isDoubtOwed = false;
    doubtedAt = now();
    again(doubted);
  }

  /** Where the router can be asked who has a port, it is: somebody may have removed ours, or taken it over. */
  async function lookForDrift({ gateway, speaker }: RouterLink, signal: AbortSignal): Promise<void> {
    if (speaker.holder === undefined) return;
    for (const one of ports.values()) {
      if (one.family !== "ipv4" || one.state !== "mapped") continue;
      const held = await speaker.holder(requestFor(one, leaseSeconds), signal).catch(() => "untold" as const);
      if (held === "untold") continue;
      const isOurs = held?.address === gateway.ownAddress && held.port === one.port.internalPort;
      if (isOurs) continue;
      log.warn(
        { event: "router.drift", port: one.port.externalPort, protocol: one.port.protocol, held },
        "the router's mapping is gone or another one, it is made again",
      );
      metrics.routerRepair("drift");
      put(lost(one));
    }
  }

  async function mapOne(one: MappedPort, speaker: RouterSpeaker, signal: AbortSignal): Promise<Outcome> {
    const request = requestFor(one, leaseSeconds);
    const facts = { port: request.externalPort, protocol: request.protocol, family: one.family };
    try {
      const answer = await speaker.map(request, signal);
      watch.see(
        one.family === "ipv4" ? answer.epochSeconds : undefined,
        one.family === "ipv4" ? answer.externalAddress : undefined,
      );
      if (answer.externalPort !== request.externalPort) {
        await speaker.unmap(request, answer.externalPort, signal).catch(() => {});
        throw new GatehouseError("GATEHOUSE_ROUTER_CONFLICT", {
          message: `The router gave ${request.protocol} ${answer.externalPort} instead of ${request.externalPort}; it was given back.`,
          hint: `Somebody else has ${request.externalPort}: look for another forward or the router's own remote access.`,
        });
      }
      if (one.state !== "mapped") {
        log.info(
          { event: "router.mapped", ...facts, to: request.internalPort, leaseSeconds: answer.leaseSeconds },
          "the router leads a port here",
        );
      }
      metrics.routerRequest("ok");
      put(granted(one, answer, now(), Math.random()));
      return "ok";
    } catch (cause) {
      if (signal.aborted) throw cause;
      const outcome = outcomeOf(cause);
      metrics.routerRequest(outcome);
      const next = failed(one, cause, now());
      if (one.error?.message !== next.error?.message) {
        log.warn(
          { event: "router.refused", ...facts, reason: next.error?.message, hint: next.error?.hint },
          "the router does not lead a port here",
        );
      }
      put(next);
      return outcome;
    }
  }

  async function giveBack(list: Map<string, MappedPort>, signal: AbortSignal): Promise<void> {
    for (const [key, one] of list) {
      list.delete(key);
      if (one.state !== "mapped") continue;
      const request = requestFor(one, leaseSeconds);
      const facts = { port: request.externalPort, protocol: request.protocol, family: one.family };
      try {
        await speakerFor(one)?.unmap(request, request.externalPort, signal);
        log.info({ event: "router.unmapped", ...facts }, "a port was given back to the router");
      } catch (cause) {
        log.warn(
          { event: "router.unmap_failed", ...facts, reason: errorText(cause) },
          "a port could not be given back, its lease will run out",
        );
      }
    }
  }

  /** @returns how long to sleep, ms */
  async function round(signal: AbortSignal): Promise<number> {
    const isFoundAnew = watch.link() === undefined;
    if ((await watch.find(signal)) === undefined) return watch.againMs();
    if (isFoundAnew) again(doubted);
    doubtWhenDue();
    await watch.check(signal);
    const link = watch.link();
    if (link === undefined) return watch.againMs();
    await lookForDrift(link, signal);
    await giveBack(leaving, signal);
    // Those of now: what is wanted from here on may have to wait for what is given back first, in the next round.
    const turn = [...ports.values()];
    for (const one of turn) {
      const speaker = speakerFor(one);
      if (speaker === undefined || one.dueAt > now() || !ports.has(keyOf(one.port, one.family))) continue;
      // One question without an answer took most of a minute: the next round finds out whether it is gone.
      if ((await mapOne(one, speaker, signal)) === "silent") break;
    }
    const own = [...ports.values()].filter((one) => one.family === "ipv4");
    if (own.length > 0 && own.every((one) => one.state === "refused") && watch.tryAnother()) {
      for (const one of own) put(newPort(one.port, one.family));
      return 0;
    }
    const due = [...ports.values()].filter((one) => speakerFor(one) !== undefined).map((one) => one.dueAt - now());
    return Math.max(0, Math.min(checkMs, doubtDueAt() - now(), ...due));
  }

  async function loop(): Promise<void> {
    while (!stopping.signal.aborted) {
      isWoken = false;
      let sleepMs = checkMs;
      // Asked for below, so held: `any` alone lets it go as garbage, and then it never comes, when nobody listens for a moment.
      const late = AbortSignal.timeout(ROUND_WITHIN_MS);
      try {
        sleepMs = await round(AbortSignal.any([stopping.signal, late]));
      } catch (err) {
        const isLate = late.aborted;
        if (!stopping.signal.aborted) log.warn({ event: "router.failed", err, isLate }, "asking the router failed");
        watch.forget();
      }
      if (stopping.signal.aborted || isWoken) continue;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, sleepMs);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  const wakeUp = (): void => {
    isWoken = true;
    wake?.();
  };
  let running: Promise<void> | undefined;

  return {
    setWanted(wanted) {
      if (stopping.signal.aborted) return;
      const next = new Map(
        wanted.flatMap((port) => port.families.map((family) => [keyOf(port, family), newPort(port, family)] as const)),
      );
      for (const [key, one] of ports) {
        if (next.has(key)) continue;
        ports.delete(key);
        leaving.set(key, one);
        metrics.routerPort(labelsOf(one), undefined);
      }
      for (const [key, one] of next) {
        if (ports.has(key)) continue;
        ports.set(key, leaving.get(key) ?? one);
        leaving.delete(key);
      }
      hearing ??= hearAnnouncements({
        isGateway: (address) => address === watch.gateway()?.address,
        onAnnounced() {
          isDoubtOwed = true;
          wakeUp();
        },
      });
      if (running !== undefined) wakeUp();
      running ??= loop();
    },
    report: () =>
      reportOf({
        map,
        gateway: watch.gateway(),
        link: watch.link(),
        externalAddress: watch.externalAddress(),
        lastAnswerAt: watch.lastAnswerAt(),
        ports: [...ports.values()],
        error: watch.error(),
      }),
    async stop({ unmap }) {
      hearing?.stop();
      stopping.abort(new Error("Gatehouse stops"));
      wakeUp();
      await running;
      const late = AbortSignal.timeout(GIVE_BACK_WITHIN_MS);
      await giveBack(leaving, late);
      if (unmap) await giveBack(ports, late);
    },
  };
}

function outcomeOf(cause: unknown): Outcome {
  if (isGatehouseError(cause, "GATEHOUSE_ROUTER_CONFLICT")) return "conflict";
  if (isGatehouseError(cause, "GATEHOUSE_ROUTER_SILENT")) return "silent";
  return isGatehouseError(cause, "GATEHOUSE_ROUTER_REFUSED") ? "refused" : "garbage";
}
