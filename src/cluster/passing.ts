/**
 * Who takes a connection that one worker has and another should have?
 * Owns: such connections in the primary, from one channel to the other, and the tally by which workers know. The one that
 *   is to take it is asked first whether it is awake: none shall wait for a worker that hangs.
 * Never: reads from one.
 */
import type { Member } from "./member.ts";
import type { Beginning, PassedHandle } from "./messages.ts";
import { Tally } from "./tally.ts";

/**
 * Milliseconds. A worker answers within one turn of its loop, but the first of a crowd find it cold, with a hundred of them
 * in one turn: 100 were too few here, and there are slower machines. One that hangs is left out after its next pulse.
 */
const AWAKE_WITHIN_MS = 1_000;
/** Between two channels at once; what comes beyond goes back to where it came from. */
const MAX_UNDER_WAY = 256;
/** The tally in a worker: behind its standard streams and its channel. */
const TALLY_FD = 4;

interface Source {
  place: number;
  member: Member;
}

export interface Passing {
  /** What each worker inherits; for `cluster.setupPrimary`. */
  readonly stdio: ("inherit" | "ipc" | number)[];
  /** Of the worker in this place. */
  beginning(common: Beginning, place: number): Beginning;
  pass(handle: PassedHandle, from: Source): void;
  /** Nothing is passed on to this place until its worker counts again. */
  leaveOut(place: number): void;
  close(): void;
}

/** @param memberAt  who serves in this place */
export function createPassing(memberAt: (place: number) => Member | undefined): Passing {
  const tally = Tally.create();
  /** Of each place: connections given to its worker, and of those that it passed on how many have found somebody. */
  const given: number[] = [];
  const taken: number[] = [];
  let underWay = 0;

  function note(place: number, more: { given?: number; taken?: number }): void {
    given[place] = Math.max(0, (given[place] ?? 0) + (more.given ?? 0));
    taken[place] = (taken[place] ?? 0) + (more.taken ?? 0);
    tally?.note(place, given[place], taken[place]);
  }

  async function taker(from: Source): Promise<Member> {
    const least = underWay < MAX_UNDER_WAY ? tally?.least(from.place) : undefined;
    const member = least && memberAt(least.place);
    if (least === undefined || member === undefined) {
      note(from.place, { given: 1, taken: 1 });
      return from.member;
    }
    // Both in one turn: between them the next one would seem to be needed.
    note(least.place, { given: 1 });
    note(from.place, { taken: 1 });
    return member.link.ask("isAwake", [], AWAKE_WITHIN_MS).then(
      () => member,
      () => {
        note(least.place, { given: -1 });
        note(from.place, { given: 1 });
        return from.member;
      },
    );
  }

  return {
    stdio: ["inherit", "inherit", "inherit", "ipc", ...(tally === undefined ? [] : [tally.fd])],
    beginning(common, index) {
      if (tally === undefined) return common;
      note(index, { given: -(given[index] ?? 0), taken: -(taken[index] ?? 0) });
      tally.count(index, undefined, 0);
      return { ...common, place: { index, fd: TALLY_FD } };
    },
    pass(handle, from) {
      underWay++;
      void taker(from).then((member) => {
        underWay--;
        member.take(handle);
      });
    },
    leaveOut: (place) => tally?.leaveOut(place),
    close: () => tally?.close(),
  };
}
