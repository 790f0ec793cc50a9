/**
 * Who keeps the workers up?
 * Owns: how many there are, filling a place that fell empty (with back-off), noticing one that hangs, and carrying each
 *   change to all of them: to the rest of Gatehouse they are one `Serving`.
 * Never: serves a client, or listens: the sockets are opened here by node:cluster and shared.
 *
 * Each worker accepts from the shared socket by itself (SCHED_NONE): whoever is free takes the next one. Chance spreads them,
 * so what is one worker's beyond its share it passes on (spread). Node's other way, round robin, lost: the primary accepts and
 * passes each connection on. That makes a full handshake 1.4 times as dear (a fifth to a quarter of a handshake in the primary,
 * as much again in the worker), and was not even either. SO_REUSEPORT lost too: the kernel deals connections to a socket that
 * nobody reads any more (a worker that hangs or leaves) and resets what waits there when it closes, and a port that another
 * program has would no longer be refused.
 */
import cluster from "node:cluster";
import { addVisitors } from "../core/visitors.ts";
import type { Config } from "../config/model.ts";
import { errorText, GatehouseError } from "../core/errors.ts";
import type { Clock } from "../core/time.ts";
import type { Logger } from "../observe/log.ts";
import { type Families, keptNumbers } from "../observe/families.ts";
import type { Addresses, Keeper, Serving } from "./contract.ts";
import { type Exit, forkMember, type Member } from "./member.ts";
import type { Beginning } from "./messages.ts";
import { probePorts } from "./probe.ts";
import { createPassing } from "./passing.ts";
import { shareOf } from "./share.ts";

export interface WorkersOptions {
  /** The module that a worker runs. */
  program: string;
  /** How many; a change at a reload is followed. */
  count(config: Config): number;
  keeper: Keeper;
  beginning: Beginning;
  log: Logger;
  metrics: { workers(serving: number): void; workerLost(reason: "ended" | "hung" | "failed"): void };
  clock: Clock;
  /** For tests. Default one second. */
  pulseMs?: number;
}

interface Place {
  member: Member | undefined;
  /** It has taken its configuration. */
  isServing: boolean;
  restarts: number;
  /** Failures in a row without a quiet minute between. */
  failures: number;
  isHung: boolean;
  timer: NodeJS.Timeout | undefined;
}

const PULSE_MS = 1_000;
/**
 * Pulses in a row without an answer. Nothing that a worker does takes a second; ten are a loop that never ends. They are
 * counted and not timed, so that a machine that slept is not a worker that hangs.
 */
const HUNG_AFTER_PULSES = 10;
/** The first time at once; then 1, 2, 4 … seconds. */
const BACK_OFF_MS = 1_000;
const MAX_BACK_OFF_MS = 30_000;
/**
 * A worker that a reload sends away has time: the others accept meanwhile. Downloads and WebSockets go on as over any
 * other reload, for a day; whoever keeps a connection is told by its next answer, and most ask again within ten seconds.
 */
const RETIREMENT = { withinMs: 24 * 3_600_000, idleMs: 10_000 };
/** A worker that lived this long did not die of its start. */
const QUIET_MS = 60_000;

export function createWorkers(options: WorkersOptions): Serving {
  const { log, metrics, clock, count, pulseMs = PULSE_MS } = options;
  let { beginning } = options;
  let places: Place[] = [];
  let current: Config | undefined;
  let bound: Addresses = { https: [], http: [] };
  let departed: Families = [];
  /** Out of their places, with clients still to finish. */
  const leaving = new Set<Member>();
  let isStopping = false;

  cluster.schedulingPolicy = cluster.SCHED_NONE;
  const passing = createPassing((place) => (places[place]?.isServing ? places[place].member : undefined));
  cluster.setupPrimary({ exec: options.program, args: [], serialization: "advanced", stdio: passing.stdio });

  /** Configurations and new workers one after another: a worker never begins with half of a change. */
  let turn: Promise<unknown> = Promise.resolve();
  function inTurn<T>(act: () => Promise<T>): Promise<T> {
    const next = turn.then(act);
    turn = next.catch(() => {});
    return next;
  }

  const pulsing = setInterval(() => {
    for (const member of leaving) if (member.pulse() === HUNG_AFTER_PULSES) member.kill();
    for (const [index, place] of places.entries()) {
      const { member } = place;
      if (member === undefined || place.isHung) continue;
      const unanswered = member.pulse();
      if (unanswered > 0) passing.leaveOut(index);
      if (unanswered < HUNG_AFTER_PULSES) continue;
      place.isHung = true;
      log.error({ event: "worker.hung", worker: member.pid }, "a worker does not answer and is replaced");
      member.kill();
    }
  }, pulseMs);
  pulsing.unref();

  /** Counts what one told before it went. */
  function remember(member: Member): void {
    const sites = new Set(current?.sites.map(({ name }) => name));
    departed = keptNumbers([departed, member.families()], (name) => sites.has(name));
  }

  const counting = (): Member[] => [...living(), ...leaving];
  const living = (): Member[] => places.flatMap(({ member }) => member ?? []);

  /** @throws and then the place is empty as before */
  async function fill(place: Place, config: Config): Promise<void> {
    const index = places.indexOf(place);
    const member = forkMember({
      keeper: options.keeper,
      now: () => clock.now(),
      passed: (handle, from) => passing.pass(handle, { place: index, member: from }),
    });
    try {
      await member.begin(passing.beginning(beginning, index));
      place.member = member; // from here it hears of new certificates
      bound = await member.apply(shareOf(config, count(config)));
    } catch (error) {
      place.member = undefined;
      member.kill();
      await member.exited;
      throw error;
    }
    place.isServing = true;
    void member.exited.then((exit) => lost(place, member, exit));
    metrics.workers(places.filter(({ isServing }) => isServing).length);
    log.info({ event: "worker.serving", worker: member.pid }, "a worker serves");
  }

  function lost(place: Place, member: Member, exit: Exit): void {
    if (place.member !== member) return;
    const wasHung = place.isHung;
    place.member = undefined;
    place.isServing = false;
    place.isHung = false;
    passing.leaveOut(places.indexOf(place));
    remember(member);
    metrics.workers(places.filter(({ isServing }) => isServing).length);
    if (isStopping || !places.includes(place)) return;
    metrics.workerLost(wasHung ? "hung" : "ended");
    log.error({ event: "worker.ended", worker: member.pid, ...exit }, "a worker ended and is replaced");
    if (clock.now() - member.startedAt > QUIET_MS) place.failures = 0;
    refill(place);
  }

  function refill(place: Place): void {
    const wait = place.failures === 0 ? 0 : Math.min(BACK_OFF_MS * 2 ** (place.failures - 1), MAX_BACK_OFF_MS);
    place.failures++;
    place.timer = setTimeout(() => {
      place.timer = undefined;
      void inTurn(async () => {
        if (isStopping || current === undefined || !places.includes(place)) return;
        try {
          place.restarts++;
          await fill(place, current);
        } catch (error) {
          metrics.workerLost("failed");
          log.error({ event: "worker.failed", reason: errorText(error), failures: place.failures }, "no new worker");
          if (!isStopping) refill(place);
        }
      });
    }, wait);
  }

  const emptyPlace = (): Place => ({
    member: undefined,
    isServing: false,
    restarts: 0,
    failures: 0,
    isHung: false,
    timer: undefined,
  });

  /** The first alone: what cannot be opened, it cannot open, and nothing else was begun. */
  async function start(config: Config): Promise<void> {
    places = Array.from({ length: count(config) }, emptyPlace);
    const [first, ...rest] = places;
    if (first === undefined) return;
    try {
      await fill(first, config);
      await Promise.all(rest.map((place) => fill(place, config)));
    } catch (error) {
      const begun = living();
      places = [];
      for (const member of begun) member.kill();
      throw error;
    }
  }

  async function change(config: Config, last: Config): Promise<void> {
    const done: Member[] = [];
    for (const { member } of places) {
      if (member === undefined) continue;
      try {
        bound = await member.apply(shareOf(config, count(config)));
        done.push(member);
      } catch (error) {
        // Gone in the middle: its successor begins with whatever comes of this.
        if (!living().includes(member)) continue;
        for (const one of done) bound = await one.apply(shareOf(last, count(last))).catch(() => bound);
        throw error;
      }
    }
    if (done.length > 0) return;
    throw new GatehouseError("GATEHOUSE_WORKER_FAILED", {
      message: "No worker is there to take the configuration.",
      hint: "The log says under worker.* why they end.",
    });
  }

  /** More or fewer, as the configuration says. */
  async function resize(config: Config): Promise<void> {
    const wanted = count(config);
    for (const place of places.splice(wanted)) {
      clearTimeout(place.timer);
      const { member } = place;
      if (member === undefined) continue;
      leaving.add(member);
      void member.drain(RETIREMENT).then(() => leaving.delete(member));
    }
    const added = Array.from({ length: Math.max(0, wanted - places.length) }, emptyPlace);
    places.push(...added);
    for (const place of added) {
      await fill(place, config).catch((error: unknown) => {
        log.error({ event: "worker.failed", reason: errorText(error), failures: 0 }, "no new worker");
        refill(place);
      });
    }
    metrics.workers(places.filter(({ isServing }) => isServing).length);
  }

  return {
    apply: (config) =>
      inTurn(async () => {
        await probePorts(config.listen, current?.listen);
        if (current === undefined) await start(config);
        else await change(config, current);
        const isFirst = current === undefined;
        current = config;
        if (isFirst) return;
        const sites = new Set(config.sites.map(({ name }) => name));
        departed = keptNumbers([departed], (name) => sites.has(name));
        await resize(config);
      }),
    setBundle(bundle) {
      for (const { link } of living()) link.ask("setBundle", [bundle], PULSE_MS * HUNG_AFTER_PULSES).catch(() => {});
    },
    setTicketKeys(keys) {
      beginning = { ...beginning, ticketKeys: keys };
      for (const { link } of living()) link.ask("setTicketKeys", [keys], PULSE_MS * HUNG_AFTER_PULSES).catch(() => {});
    },
    setDevices(devices) {
      beginning = { ...beginning, devices };
      for (const { link } of living()) link.ask("setDevices", [devices], PULSE_MS * HUNG_AFTER_PULSES).catch(() => {});
    },
    addresses: () => bound,
    visitors: () => addVisitors(living().map((member) => member.visitors())),
    openConnections: () => living().reduce((sum, member) => sum + member.openConnections(), 0),
    workers: () =>
      places.map(({ member, isServing, restarts, timer }) => ({
        pid: member?.pid ?? 0,
        startedAt: member?.startedAt ?? 0,
        openConnections: member?.openConnections() ?? 0,
        restarts,
        state: isServing ? "serving" : timer === undefined ? "starting" : "waiting",
      })),
    problems: () => (places.some(({ isServing }) => isServing) ? [] : ["no worker serves; the log says why"]),
    async numbers() {
      await Promise.all(counting().map((member) => member.numbers()));
      // Whoever went meanwhile is among the departed.
      return [...counting().map((member) => member.families()), departed];
    },
    async drain(options) {
      isStopping = true;
      await Promise.all(counting().map((member) => member.drain(options)));
    },
    destroy() {
      isStopping = true;
      for (const member of counting()) member.kill();
    },
    close() {
      isStopping = true;
      clearInterval(pulsing);
      for (const place of places) clearTimeout(place.timer);
      for (const member of counting()) member.kill();
      passing.close();
    },
  };
}
