/**
 * Which connection carries the next request to this target?
 * Owns: the connections of one target: kept, dialled and bounded; who waits for one; their deadlines.
 * Never: reads an answer (see `connection`) or chooses among targets.
 */
import { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { GatehouseError } from "../../core/errors.ts";
import { DenseSet } from "../../core/dense-set.ts";
import type { Call } from "./call.ts";
import type { LimitName } from "../../observe/limit-names.ts";
import type { CoarseClock } from "../clock.ts";
import { type ConnectionKeeper, UpstreamConnection } from "./connection.ts";
import { type Dialler, isConnecting } from "./dial.ts";

/** Home targets fall over long before this; more requests wait for a free connection. */
const MAX_SOCKETS = 256;
/** Idle connections cost the target memory too. */
const MAX_IDLE = 64;
/** As many again as can wait without each of them being hopeless. */
const MAX_WAITING = 1_024;
/** Shorter than what common targets allow a silent client (Apache 5 s and Node 5 s announce theirs, which wins). */
const IDLE_MS = 15_000;
/** Taken off what a target announces: its FIN and our request may meet on the way. */
const ANNOUNCED_MARGIN_MS = 1_000;
/** A name is looked up for each dial, so this is how long a target that moved keeps being asked under its old address. */
const MAX_AGE_MS = 300_000;

export class TargetLine implements ConnectionKeeper {
  readonly #dialler: Dialler;
  readonly #clock: CoarseClock;
  readonly #all = new DenseSet<UpstreamConnection>();
  /** The freshest is last, and the first to be used: the least likely to have been closed by the target. */
  readonly #idle: UpstreamConnection[] = [];
  readonly #waiting: Call[] = [];
  readonly #full: () => void;
  #isRetired = false;

  /** @param full  told of each request that has to wait, because all connections are in use */
  constructor(dialler: Dialler, clock: CoarseClock, full: () => void) {
    this.#dialler = dialler;
    this.#full = full;
    this.#clock = clock;
  }

  now(): number {
    return this.#clock.now;
  }

  get isQuiet(): boolean {
    return this.#all.size === 0 && this.#waiting.length === 0;
  }

  ask(call: Call): void {
    this.#clock.wake(this);
    for (let kept = this.#idle.pop(); kept !== undefined; kept = this.#idle.pop()) {
      if (kept.isClosed || kept.socket.destroyed || !kept.socket.writable) continue;
      kept.begin(call);
      return;
    }
    if (this.#all.size < MAX_SOCKETS) this.#dial(call);
    else this.#wait(call);
  }

  #wait(call: Call): void {
    this.#full();
    call.phase = "queue";
    call.dueAt = this.now() + call.limitMs();
    if (this.#waiting.length < MAX_WAITING) {
      this.#waiting.push(call);
      return;
    }
    const message = "Too many requests wait for a connection to the target.";
    const detail = { limit: "upstream_queue" satisfies LimitName };
    process.nextTick(() => call.fail(new GatehouseError("GATEHOUSE_UPSTREAM_NONE", { message, detail })));
  }

  #dial(call: Call): void {
    call.phase = "connect";
    call.dueAt = this.now() + call.limitMs();
    const socket = this.#dialler.dial((bytes) => connection.take(bytes));
    const connection = new UpstreamConnection(socket, this);
    connection.call = call;
    call.connection = connection;
    this.#all.add(connection);
    const stands = (): void => this.#stands(connection);
    if (isConnecting(socket)) socket.once(socket instanceof TLSSocket ? "secureConnect" : "connect", stands);
    // An in-process target stands at once; `ask` still returns first.
    else process.nextTick(stands);
  }

  #stands(connection: UpstreamConnection): void {
    connection.isConnected = true;
    const { call } = connection;
    if (connection.isClosed || call === undefined || call.isOver) {
      connection.destroy();
      return;
    }
    if (connection.socket instanceof Socket) connection.socket.setNoDelay(true);
    connection.begin(call);
  }

  free(connection: UpstreamConnection): void {
    const next = this.#nextWaiting();
    if (next !== undefined) {
      connection.begin(next);
      return;
    }
    const announcedMs = connection.keepAliveSeconds * 1_000 - ANNOUNCED_MARGIN_MS;
    const idleMs = connection.keepAliveSeconds < 0 ? IDLE_MS : Math.min(IDLE_MS, announcedMs);
    const isTooOld = this.now() - connection.bornAt > MAX_AGE_MS;
    if (this.#isRetired || this.#idle.length >= MAX_IDLE || idleMs <= 0 || isTooOld) {
      connection.destroy();
      return;
    }
    connection.idleUntil = this.now() + idleMs;
    this.#idle.push(connection);
  }

  #nextWaiting(): Call | undefined {
    for (let call = this.#waiting.shift(); call !== undefined; call = this.#waiting.shift()) {
      if (!call.isOver) return call;
    }
    return undefined;
  }

  closed(connection: UpstreamConnection): void {
    this.#all.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    if (this.#all.size >= MAX_SOCKETS) return;
    const next = this.#nextWaiting();
    if (next !== undefined) this.#dial(next);
  }

  retry(call: Call): void {
    call.isRetry = true;
    call.connection = undefined;
    this.#clock.wake(this);
    if (this.#all.size < MAX_SOCKETS) this.#dial(call);
    else this.#wait(call);
  }

  /** No connection is kept from now on; idle ones are closed, busy ones when they have answered. */
  retire(): void {
    this.#isRetired = true;
    for (const connection of this.#idle) connection.destroy();
  }

  /** Called by the clock. @param now  the true time in its milliseconds */
  sweep(now: number): void {
    this.#all.forEach((connection) => {
      const { call } = connection;
      if (call === undefined) {
        if (now >= connection.idleUntil) connection.destroy();
      } else if (now >= call.dueAt) {
        connection.expire();
      }
    });
    for (let at = this.#waiting.length - 1; at >= 0; at--) {
      const call = this.#waiting[at];
      if (call === undefined || (!call.isOver && now < call.dueAt)) continue;
      this.#waiting.splice(at, 1);
      call.fail(call.tooSlow());
    }
  }
}
