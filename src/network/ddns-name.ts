/**
 * Does this one name lead to this home, and if not, when is its service told?
 * Owns: for one name: look at the zone, push only what is different, look again until it is shown; patience after failures.
 * Never: finds out the home's address; pushes what the zone shows already (services block clients that do).
 */
import { setTimeout as sleep } from "node:timers/promises";
import { errorText, GatehouseError, isGatehouseError } from "../core/errors.ts";
import type { Clock } from "../core/time.ts";
import type { Addresses, AddressWriter } from "../dns/contract.ts";
import { plainAddress, type Shown } from "../dns/shown.ts";
import type { DdnsMetrics } from "../observe/ddns-tally.ts";
import type { Logger } from "../observe/log.ts";
import type { Notifier } from "../observe/notify.ts";
import type { NameState } from "./ddns-state.ts";

/** The zone is looked at so often though nothing has changed: somebody may have edited it. */
const LOOK_EVERY_MS = 3_600_000;
/** The same addresses are not pushed again before, but on request: the zone may only be slow. */
const SAME_AGAIN_MS = 3_600_000;
/** A WAN address that flaps: so many pushes in ten minutes and no more. */
const MAX_PUSHES = 5;
const PUSHES_WINDOW_MS = 600_000;
/** After failures that may pass: a minute, doubling, to a quarter of an hour: a home that cannot be reached waits for it. */
const FIRST_WAIT_MS = 60_000;
const MAX_WAIT_MS = 900_000;
/** After a no (DuckDNS says KO in some of its bad hours, too): an hour, doubling, to a day. */
const FIRST_REFUSED_MS = 3_600_000;
const MAX_REFUSED_MS = 86_400_000;
/** From here on it is an error in the log: for a person now. */
const ALERT_FAILURES = 3;
/** Between two looks, while a push is waited for. */
const LOOK_FIRST_MS = 250;
const LOOK_MAX_MS = 5_000;
/** So many without an answer: a network that lets no DNS out. */
const SILENT_LOOKS = 2;

export interface NameKeeperOptions {
  name: string;
  writer: AddressWriter;
  /** Digest of the writer's settings. */
  settings: string;
  state: NameState | undefined;
  save(state: NameState): Promise<void>;
  /** @throws GATEHOUSE_DNS_FAILED; none: no server answers */
  shown(name: string, signal: AbortSignal): Promise<readonly Shown[]>;
  /** How long the zone may take to show a push. */
  withinMs: number;
  log: Logger;
  metrics: DdnsMetrics;
  clock: Clock;
  alerts: Pick<Notifier, "raise" | "settle">;
}

export const alertKey = (name: string): string => `ddns:${name}`;

export interface NameKeeper {
  /**
   * Brings the zone in line, if it is time. `isAsked`: a person wants it now, whatever was refused before.
   * Rejects with the signal's reason alone.
   */
  keep(wanted: Addresses, options: { isAsked: boolean; signal: AbortSignal }): Promise<void>;
  state(): NameState;
  /** What the name servers showed at the last look. */
  lastShown(): readonly Shown[];
  /** When it has to be called again at the latest; undefined while a person is wanted. */
  nextAt(): number | undefined;
}

export function createNameKeeper(options: NameKeeperOptions): NameKeeper {
  const { name, writer, settings, log, metrics, clock } = options;
  const fresh: NameState = { settings, failures: 0, notBefore: 0, isStopped: false, pushes: [] };
  let state: NameState =
    options.state === undefined || options.state.settings === settings
      ? (options.state ?? fresh)
      : // Another token or service: what the zone showed is as true as before.
        { ...fresh, good: options.state.good, goodAt: options.state.goodAt, pushes: options.state.pushes };
  const told = (): void => metrics.ddnsName(name, { goodAt: state.goodAt, failures: state.failures });
  told();
  let shown: readonly Shown[] = [];
  let lookedAt: number | undefined;

  async function change(next: Partial<NameState>): Promise<void> {
    state = { ...state, ...next };
    told();
    await options.save(state).catch((error: unknown) => {
      log.warn({ event: "ddns.not_kept", name, reason: errorText(error) }, "the state of a name could not be written");
    });
  }

  /** `unknown`: no name server answers from here. */
  async function look(wanted: Addresses, signal: AbortSignal): Promise<"right" | "wrong" | "unknown"> {
    try {
      shown = await options.shown(name, signal);
    } catch (error) {
      signal.throwIfAborted();
      log.debug({ event: "ddns.unseen", name, reason: errorText(error) }, "the zone could not be looked at");
      shown = [];
    }
    lookedAt = clock.now();
    if (shown.length === 0) return "unknown";
    return shown.every((one) => shows(one, wanted)) ? "right" : "wrong";
  }

  /** @returns whether it was pushed. @throws GATEHOUSE_DNS_* */
  async function bring(wanted: Addresses, isAsked: boolean, signal: AbortSignal): Promise<boolean> {
    const before = await look(wanted, signal);
    if (before === "right") return false;
    const wasPushed = covers(state.pushed, wanted);
    if (before === "unknown" && wasPushed && !isAsked) return false;
    const isRecent = wasPushed && clock.now() - (state.pushedAt ?? 0) < SAME_AGAIN_MS;
    if (!isRecent || isAsked) {
      const recent = state.pushes.filter((at) => clock.now() - at < PUSHES_WINDOW_MS);
      const [oldest] = recent;
      if (recent.length >= MAX_PUSHES && oldest !== undefined) throw tooMany(name, oldest + PUSHES_WINDOW_MS);
      await change({ pushes: [...recent, clock.now()] });
      const written = await writer.setAddresses(name, wanted, signal);
      metrics.ddnsUpdate(writer.kind, "taken");
      await change({ pushed: { ...state.pushed, ...wanted }, pushedAt: clock.now() });
      if (written === "hidden") return true;
    }
    await awaitShown(wanted, signal);
    return true;
  }

  async function awaitShown(wanted: Addresses, signal: AbortSignal): Promise<void> {
    const deadline = performance.now() + options.withinMs;
    let silentLooks = 0;
    for (let pause = LOOK_FIRST_MS; ; pause = Math.min(pause * 2, LOOK_MAX_MS)) {
      const now = await look(wanted, signal);
      if (now === "right") return;
      silentLooks = now === "unknown" ? silentLooks + 1 : 0;
      if (silentLooks === SILENT_LOOKS || performance.now() + pause > deadline) {
        if (now === "wrong") throw notShown(name, writer.kind, wanted, shown);
        log.warn(
          { event: "ddns.unchecked", name },
          "no name server of the zone answers; whether it is right is not known",
        );
        return;
      }
      await sleep(pause, undefined, { signal });
    }
  }

  async function failed(error: GatehouseError): Promise<void> {
    const failures = state.failures + 1;
    const isRefused = error.code === "GATEHOUSE_DNS_REFUSED";
    // The protocol demands it: after a no, dyndns2 clients are silent until a person has acted.
    const isStopped = isRefused && writer.kind === "dyndns2";
    const [first, most] = isRefused ? [FIRST_REFUSED_MS, MAX_REFUSED_MS] : [FIRST_WAIT_MS, MAX_WAIT_MS];
    const waitMs = Math.min(first * 2 ** Math.min(failures - 1, 16), most);
    const notBefore = Math.max(clock.now() + waitMs, error.notBefore ?? 0);
    const { code, message, hint } = error;
    metrics.ddnsUpdate(writer.kind, isRefused ? "refused" : "failed");
    await change({ failures, error: { code, message, hint }, notBefore, isStopped });
    const fields = { event: "ddns.failed", name, service: writer.kind, code, reason: message, hint, failures };
    if (isRefused || failures >= ALERT_FAILURES) {
      log.error({ ...fields, notBefore, isStopped }, "the address of a name could not be kept");
      options.alerts.raise({
        key: alertKey(name),
        severity: isRefused ? "critical" : "warning",
        title: `${name}: ${isRefused ? "its service refuses our address" : `${failures} failures to keep its address`}`,
        message: `Visitors may be led to an address that this home no longer has. ${message}`,
        nextStep: hint,
      });
    } else {
      log.warn({ ...fields, notBefore }, "the address of a name could not be kept; it is tried again");
    }
  }

  async function isRight(wanted: Addresses, wasPushed: boolean): Promise<void> {
    const wasFailing = state.failures > 0;
    if (wasPushed || !covers(state.good, wanted) || wasFailing) {
      log.info(
        { event: "ddns.right", name, service: writer.kind, ...wanted, pushed: wasPushed },
        "the name leads here",
      );
    }
    if (wasFailing) options.alerts.settle(alertKey(name), "The name leads to this home again.");
    const now = clock.now();
    await change({ good: wanted, goodAt: now, failures: 0, error: undefined, notBefore: 0, isStopped: false });
  }

  return {
    state: () => state,
    lastShown: () => shown,
    nextAt: () =>
      state.isStopped ? undefined : state.failures > 0 ? state.notBefore : (lookedAt ?? 0) + LOOK_EVERY_MS,
    async keep(wanted, { isAsked, signal }) {
      if (wanted.ipv4 === undefined && wanted.ipv6 === undefined) return;
      const now = clock.now();
      if (!isAsked && (state.isStopped || now < state.notBefore)) return;
      const isDue = lookedAt === undefined || now - lookedAt >= LOOK_EVERY_MS || state.failures > 0;
      if (!isAsked && !isDue && covers(state.good, wanted)) return;
      try {
        await isRight(wanted, await bring(wanted, isAsked, signal));
      } catch (error) {
        signal.throwIfAborted();
        await failed(isGatehouseError(error) ? error : unexpected(name, error));
      }
    },
  };
}

const asList = (address: string | undefined): readonly string[] =>
  address === undefined ? [] : [plainAddress(address)];

/** Exactly the wanted ones, of each kind that is wanted. */
const shows = (shown: Shown, { ipv4, ipv6 }: Addresses): boolean =>
  (ipv4 === undefined || isSame(shown.ipv4, asList(ipv4))) && (ipv6 === undefined || isSame(shown.ipv6, asList(ipv6)));

const isSame = (a: readonly string[], b: readonly string[]): boolean => a.join() === b.join();

export function covers(known: Addresses | undefined, wanted: Addresses): boolean {
  if (known === undefined) return false;
  const has = (kind: "ipv4" | "ipv6"): boolean => wanted[kind] === undefined || known[kind] === wanted[kind];
  return has("ipv4") && has("ipv6");
}

const HINT = "It is tried again by itself. gatehouse ddns status has the whole story.";

function notShown(name: string, service: string, wanted: Addresses, shown: readonly Shown[]): GatehouseError {
  const other = shown.find((one) => !shows(one, wanted));
  const seen = [...(other?.ipv4 ?? []), ...(other?.ipv6 ?? [])].join(", ");
  return new GatehouseError("GATEHOUSE_DNS_FAILED", {
    message: `${service} took the address of ${name}, and the zone's name server ${other?.server ?? ""} shows ${seen === "" ? "none" : seen}.`,
    hint: HINT,
  });
}

const tooMany = (name: string, notBefore: number): GatehouseError =>
  new GatehouseError("GATEHOUSE_DNS_FAILED", {
    message: `${name} was pushed ${MAX_PUSHES} times in ${PUSHES_WINDOW_MS / 60_000} minutes; no service likes more.`,
    hint: "Does the address of this home change all the time? Look at the router.",
    notBefore,
  });

const unexpected = (name: string, cause: unknown): GatehouseError =>
  new GatehouseError("GATEHOUSE_DNS_FAILED", {
    message: `The address of ${name} could not be kept: ${errorText(cause)}`,
    hint: HINT,
    cause,
  });
