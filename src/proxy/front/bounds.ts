/**
 * Is there a place for one more connection, and who gives one up when there is none?
 * Owns: the seats, in all and per network of clients: who sits, since when idle, who is sent away first.
 * Never: touches a socket.
 */
import type { LimitsConfig } from "../../config/model.ts";
import type { LimitName } from "../../observe/limit-names.ts";
import { createNetworkSet, isNeighbour, networkOf, plainAddress, type NetworkSet } from "../../core/networks.ts";
import { type DenseSetMember, DenseSet } from "../../core/dense-set.ts";
import { createArrivals } from "./arrivals.ts";

/** The place of one connection. All methods are cheap: they are called per request. */
export interface Seat {
  /** A request or a tunnel begins; from here to its end the seat is not taken away. */
  began(): void;
  ended(): void;
  /** The TLS handshake is done. */
  secured(): void;
  /** The connection is closed. Idempotent. */
  leave(): void;
}

export interface Bounds {
  /**
   * @param giveUp  closes this connection now, because somebody else needs the place
   * @returns the seat, or the limit that leaves no room for one
   */
  admit(peerAddress: string, arrival: { isHandshake: boolean; giveUp(limit: LimitName): void }): Seat | LimitName;
  open(): number;
}

/** Milliseconds in which nobody is sent away: what a handshake and the first request need over a slow line. */
const GRACE_MS = 1_000;
/** So many places are freed in one go, as a share of all: under a flood one look at everybody pays for many newcomers. */
const BATCH_SHARE = 64;
/** Nobody could be sent away for one of this network: do not look at everybody again before this (milliseconds). */
const LOOK_AGAIN_MS = 50;

/** What a place asks of the one who keeps them all. */
interface Keeper {
  now(): number;
  shaken(one: Sitting): void;
  rise(one: Sitting): void;
}

/** Of a class and not of closures: an open connection has one of these for as long as it stays. */
class Sitting implements Seat, DenseSetMember {
  place = -1;
  readonly network: string;
  readonly isExempt: boolean;
  readonly isNeighbour: boolean;
  isHandshake: boolean;
  /** Requests and tunnels under way. */
  busy = 0;
  idleSince: number;
  readonly giveUp: (limit: LimitName) => void;
  readonly #keeper: Keeper;

  constructor(keeper: Keeper, who: Pick<Sitting, "network" | "isExempt" | "isNeighbour" | "isHandshake" | "giveUp">) {
    this.#keeper = keeper;
    this.network = who.network;
    this.isExempt = who.isExempt;
    this.isNeighbour = who.isNeighbour;
    this.isHandshake = who.isHandshake;
    this.giveUp = who.giveUp;
    this.idleSince = keeper.now();
  }

  began(): void {
    this.busy++;
  }

  ended(): void {
    this.busy--;
    this.idleSince = this.#keeper.now();
  }

  secured(): void {
    if (!this.isHandshake) return;
    this.#keeper.shaken(this);
    this.isHandshake = false;
    this.idleSince = this.#keeper.now();
  }

  leave(): void {
    this.#keeper.rise(this);
  }
}

/** @param now  milliseconds that only grow */
export function createConnectionBounds(limits: () => LimitsConfig, now = () => performance.now()): Bounds {
  const sitting = new DenseSet<Sitting>();
  /** Never more entries than open connections. */
  const networks = new Map<string, number>();
  const arrivals = createArrivals(now);
  let handshakes = 0;
  /** For whom nobody could be sent away a moment ago. */
  let vain = { network: "", until: 0 };
  let exempt: { cidrs: readonly string[]; set: NetworkSet } | undefined;

  function isExempt(address: string): boolean {
    const { exempt: cidrs } = limits();
    if (cidrs.length === 0) return false;
    if (exempt?.cidrs !== cidrs) exempt = { cidrs, set: createNetworkSet(cidrs) };
    return exempt.set.has(address);
  }

  /** The limit that is reached; for `connections` and `handshakes` somebody else may have to go. */
  function fullFor(newcomer: Sitting): LimitName | undefined {
    const most = limits();
    const here = networks.get(newcomer.network) ?? 0;
    const places = most.connections - (newcomer.isExempt || newcomer.isNeighbour ? 0 : most.connectionsReserved);
    if (!newcomer.isExempt) {
      if (newcomer.isNeighbour && here >= most.connectionsPerNeighbour) return "connections_per_neighbour";
      if (!newcomer.isNeighbour && here >= most.connectionsPerAddress) return "connections_per_address";
      if (!newcomer.isNeighbour && !arrivals.mayCome(newcomer.network, most.newConnectionsPerAddress))
        return "new_connections_per_address";
    }
    if (sitting.size >= places && !makeRoom("connections", newcomer)) return "connections";
    if (
      newcomer.isHandshake &&
      !newcomer.isExempt &&
      handshakes >= most.handshakes &&
      !makeRoom("handshakes", newcomer)
    )
      return "handshakes";
    return undefined;
  }

  /**
   * Sends away who has nothing under way, the newest first, of the network that has most of them; strangers before
   * neighbours. The oldest first lost: then a flood of newcomers takes the place of every kept connection there is.
   */
  function makeRoom(limit: "connections" | "handshakes", newcomer: Sitting): boolean {
    const at = now();
    if (at < vain.until && newcomer.network === vain.network) return false;
    const crowds = new Map<string, number>();
    const crowdOf = ({ network }: Sitting): number => crowds.get(network) ?? 0;
    const idle: Sitting[] = [];
    sitting.forEach((one) => {
      if (one.busy > 0 || one.isExempt || (limit === "handshakes" && !one.isHandshake)) return;
      // A stranger does not take the place of a neighbour.
      if (one.isNeighbour && !newcomer.isNeighbour && !newcomer.isExempt) return;
      idle.push(one);
      crowds.set(one.network, crowdOf(one) + 1);
    });
    // A crowd has no grace against the newcomer of a smaller one, or a fast flood would keep everybody else out.
    const fair = crowdOf(newcomer) + 1;
    const leaving = idle
      .filter((one) => at - one.idleSince >= GRACE_MS || crowdOf(one) > fair)
      .sort(
        (one, other) =>
          Number(one.isNeighbour) - Number(other.isNeighbour) ||
          crowdOf(other) - crowdOf(one) ||
          other.idleSince - one.idleSince,
      )
      .slice(0, Math.max(1, Math.floor(limits()[limit] / BATCH_SHARE)));
    if (leaving.length === 0) vain = { network: newcomer.network, until: at + LOOK_AGAIN_MS };
    for (const one of leaving) {
      // The place is free at once; the socket's own end comes later.
      rise(one);
      one.giveUp(limit);
    }
    return leaving.length > 0;
  }

  function rise(one: Sitting): void {
    if (!sitting.delete(one)) return;
    if (one.isHandshake) handshakes--;
    const left = (networks.get(one.network) ?? 1) - 1;
    if (left === 0) networks.delete(one.network);
    else networks.set(one.network, left);
  }

  const keeper: Keeper = {
    now,
    shaken(one) {
      if (sitting.has(one)) handshakes--;
    },
    rise,
  };

  return {
    admit(peerAddress, { isHandshake, giveUp }) {
      const address = plainAddress(peerAddress);
      const newcomer = new Sitting(keeper, {
        network: networkOf(address),
        isExempt: isExempt(address),
        isNeighbour: isNeighbour(address),
        isHandshake,
        giveUp,
      });
      const limit = fullFor(newcomer);
      if (limit !== undefined) return limit;
      sitting.add(newcomer);
      networks.set(newcomer.network, (networks.get(newcomer.network) ?? 0) + 1);
      if (isHandshake) handshakes++;
      return newcomer;
    },
    open: () => sitting.size,
  };
}
