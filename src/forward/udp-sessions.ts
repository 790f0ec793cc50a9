/**
 * Which client does an answer from the target belong to?
 * Owns: the table of UDP sessions, its bound, who has to go when it is full, and how much an unproven client may get.
 * Never: opens a socket.
 */

/**
 * What a client that has not shown that it gets our answers may receive, as a multiple of what it sent (RFC 9000 §8.1
 * has three as well). The source of a datagram is easily forged; without this a forward to a talkative service is a
 * weapon against whoever the forger names.
 */
const AMPLIFICATION = 3;

/** Milliseconds: a client that never came back after the first answer. */
const UNPROVEN_IDLE_MS = 30_000;

export interface UdpSession<Outlet> {
  readonly key: string;
  readonly address: string;
  readonly port: number;
  readonly outlet: Outlet;
  /** It has answered an answer: its address is its own. */
  isProven: boolean;
  hasAnswer: boolean;
  touchedAt: number;
  bytesIn: number;
  bytesOut: number;
  readonly startedAt: number;
}

export interface UdpSessions<Outlet> {
  readonly size: number;
  find(key: string): UdpSession<Outlet> | undefined;
  /**
   * A new one. When the table is full, the unproven session that has been silent longest goes; when all are proven,
   * the newcomer does: a flood of forged sources cannot push out those who really talk.
   */
  admit(client: { key: string; address: string; port: number }, open: () => Outlet): UdpSession<Outlet> | undefined;
  /** A datagram from the client. */
  received(session: UdpSession<Outlet>, bytes: number): void;
  /** May this answer go out? Counts it when it may. */
  mayAnswer(session: UdpSession<Outlet>, bytes: number): boolean;
  remove(session: UdpSession<Outlet>): void;
  /** Removes what has been silent too long. */
  sweep(): void;
  all(): Iterable<UdpSession<Outlet>>;
}

export function createUdpSessions<Outlet>(options: {
  /** Asked each time. */
  limit(): number;
  idleMs(): number;
  now(): number;
  /** Is the address certainly the sender's own? Then it counts as proven from the first answer on. */
  isKnown(address: string): boolean;
  /** Told of each session that ends, however it does. */
  ended(session: UdpSession<Outlet>): void;
}): UdpSessions<Outlet> {
  /** In the order of the last datagram: the first is the one silent longest. */
  const unproven = new Map<string, UdpSession<Outlet>>();
  const proven = new Map<string, UdpSession<Outlet>>();

  const homeOf = (session: UdpSession<Outlet>) => (session.isProven ? proven : unproven);

  function touch(session: UdpSession<Outlet>): void {
    session.touchedAt = options.now();
    const home = homeOf(session);
    home.delete(session.key);
    home.set(session.key, session);
  }

  function prove(session: UdpSession<Outlet>): void {
    unproven.delete(session.key);
    session.isProven = true;
    proven.set(session.key, session);
  }

  function remove(session: UdpSession<Outlet>): void {
    if (homeOf(session).delete(session.key)) options.ended(session);
  }

  return {
    get size() {
      return proven.size + unproven.size;
    },
    find: (key) => proven.get(key) ?? unproven.get(key),
    admit({ key, address, port }, open) {
      if (proven.size + unproven.size >= options.limit()) {
        const [silentest] = unproven.values();
        if (silentest === undefined) return undefined;
        remove(silentest);
      }
      const now = options.now();
      const session: UdpSession<Outlet> = {
        key,
        address,
        port,
        outlet: open(),
        isProven: false,
        hasAnswer: false,
        touchedAt: now,
        bytesIn: 0,
        bytesOut: 0,
        startedAt: now,
      };
      unproven.set(key, session);
      return session;
    },
    received(session, bytes) {
      session.bytesIn += bytes;
      if (session.hasAnswer && !session.isProven) prove(session);
      touch(session);
    },
    mayAnswer(session, bytes) {
      if (!session.isProven && options.isKnown(session.address)) prove(session);
      if (!session.isProven && session.bytesOut + bytes > session.bytesIn * AMPLIFICATION) return false;
      session.bytesOut += bytes;
      session.hasAnswer = true;
      // Of a proven session an answer alone keeps it open: a video goes one way for long.
      if (session.isProven) touch(session);
      return true;
    },
    remove,
    sweep() {
      const now = options.now();
      for (const [table, idleMs] of [
        [unproven, Math.min(UNPROVEN_IDLE_MS, options.idleMs())],
        [proven, options.idleMs()],
      ] as const) {
        for (const session of table.values()) {
          if (now - session.touchedAt < idleMs) break;
          remove(session);
        }
      }
    },
    *all() {
      yield* proven.values();
      yield* unproven.values();
    },
  };
}
