/**
 * Do visitors come with addresses of their own, or does something in between give them all one?
 * Owns: counting connections from strangers together, and from neighbours by address; adding such counts up.
 * Never: remembers a stranger's address.
 */
import { isNeighbour } from "./networks.ts";

/** Connections since the start; times in ms since 1970. */
export interface VisitorsReport {
  fromWorld: { connections: number; lastAt: number | undefined };
  /** Private addresses: machines at home, a proxy, or a router that hides who comes. At most 16. */
  fromInside: readonly { address: string; connections: number; lastAt: number }[];
}

export interface VisitorTally {
  /** @param address  plain (see networks) */
  arrived(address: string): void;
  report(): VisitorsReport;
}

/** A home has more machines, but whoever hides visitors is one of the first few, as all come from there. */
const MAX_INSIDE = 16;

export function createVisitorTally(now: () => number = Date.now): VisitorTally {
  const world: { connections: number; lastAt: number | undefined } = { connections: 0, lastAt: undefined };
  const inside = new Map<string, { connections: number; lastAt: number }>();
  return {
    arrived(address) {
      if (!isNeighbour(address)) {
        world.connections++;
        world.lastAt = now();
        return;
      }
      const one = inside.get(address);
      if (one !== undefined) {
        one.connections++;
        one.lastAt = now();
      } else if (inside.size < MAX_INSIDE) inside.set(address, { connections: 1, lastAt: now() });
    },
    report: () => ({
      fromWorld: { ...world },
      fromInside: [...inside].map(([address, counted]) => ({ address, ...counted })),
    }),
  };
}

const NOBODY: VisitorsReport = { fromWorld: { connections: 0, lastAt: undefined }, fromInside: [] };

const later = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? (a ?? b) : Math.max(a, b);

/** Of several processes. */
export function addVisitors(reports: readonly VisitorsReport[]): VisitorsReport {
  return reports.reduce(({ fromWorld, fromInside }, one) => {
    const inside = new Map(fromInside.map((each) => [each.address, each]));
    for (const each of one.fromInside) {
      const known = inside.get(each.address);
      const connections = each.connections + (known?.connections ?? 0);
      const lastAt = Math.max(each.lastAt, known?.lastAt ?? 0);
      inside.set(each.address, { address: each.address, connections, lastAt });
    }
    return {
      fromWorld: {
        connections: fromWorld.connections + one.fromWorld.connections,
        lastAt: later(fromWorld.lastAt, one.fromWorld.lastAt),
      },
      fromInside: [...inside.values()].slice(0, MAX_INSIDE),
    };
  }, NOBODY);
}
