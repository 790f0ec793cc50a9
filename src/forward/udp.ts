/**
 * How is one UDP port carried to a machine inside?
 * Owns: the socket clients talk to, one socket per session towards the target, and what is dropped.
 * Never: decides who is in the table (udp-sessions does).
 */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { once } from "node:events";
import { isIPv6 } from "node:net";
import type { PortConfig } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import { listenFailure } from "../core/listen-failure.ts";
import { createNetworkSet, plainAddress } from "../core/networks.ts";
import { createComplaints, type ForwardedPort, newTraffic, type PortOptions } from "./port.ts";
import { resolveTarget } from "./target.ts";
import { createUdpSessions, type UdpSession } from "./udp-sessions.ts";

/** Bytes the kernel keeps for us while the loop is busy: 200 datagrams of full size. It may give less (rmem_max). */
const RECEIVE_BUFFER = 4_194_304;
/** Milliseconds between looks for silent sessions. */
const SWEEP_MS = 5_000;
/**
 * Datagrams of one session that wait while the target's name is looked up. More is a sender that does not care: UDP
 * may lose them.
 */
const MAX_WAITING = 16;

/** One session's socket towards the target. Until it is connected, datagrams wait. */
interface Outlet {
  socket: Socket | undefined;
  isConnected: boolean;
  isEnded: boolean;
  waiting: Buffer[];
}

/** @throws GATEHOUSE_PORT_IN_USE, GATEHOUSE_PORT_FORBIDDEN, GATEHOUSE_LISTEN_FAILED */
export async function openUdpPort(first: PortConfig, options: PortOptions): Promise<ForwardedPort> {
  const { log } = options;
  const traffic = newTraffic();
  const complain = createComplaints(log);
  let config = first;
  let allowed = createNetworkSet(first.allow);

  const sessions = createUdpSessions<Outlet>({
    limit: () => config.sessions,
    idleMs: () => config.idleMs,
    now: () => performance.now(),
    isKnown: (peer) => options.known.has(plainAddress(peer)),
    ended,
  });
  const listener = await listen(first);
  listener.on("error", (error) => {
    log.error({ event: "forward.listen_failed", port: config.key, reason: error.message }, "a port has a problem");
  });
  listener.on("message", fromClient);
  const sweeper = setInterval(() => sessions.sweep(), SWEEP_MS).unref();
  let isClosed = false;

  function fromClient(datagram: Buffer, { address: peer, port }: RemoteInfo): void {
    const key = `${peer} ${port}`;
    let session = sessions.find(key);
    if (session === undefined) {
      const address = plainAddress(peer);
      session = isAllowed(address) ? sessions.admit({ key, address: peer, port }, newOutlet) : undefined;
      // Silence, not an ICMP error: an answer to a forged source is one more packet for the one it names.
      if (session === undefined) {
        traffic.refused++;
        return;
      }
      traffic.active++;
      traffic.total++;
      connectOutlet(session);
    }
    sessions.received(session, datagram.length);
    traffic.bytesIn += datagram.length;
    const { outlet } = session;
    if (outlet.isConnected) outlet.socket?.send(datagram);
    else if (outlet.waiting.length < MAX_WAITING) outlet.waiting.push(datagram);
  }

  function isAllowed(address: string): boolean {
    return config.allow.length === 0 || allowed.has(address);
  }

  function connectOutlet(session: UdpSession<Outlet>): void {
    const { outlet } = session;
    resolveTarget(config, (error, address) => {
      if (outlet.isEnded) return;
      if (error !== undefined) {
        failed(session, error);
        return;
      }
      const socket = createSocket({ type: isIPv6(address) ? "udp6" : "udp4", recvBufferSize: RECEIVE_BUFFER });
      outlet.socket = socket;
      // An ICMP error of the target (port closed) comes as ECONNREFUSED of a later send: the session may live on.
      socket.on("error", (problem) => failed(session, problem));
      socket.on("message", (datagram) => toClient(session, datagram));
      socket.once("connect", () => {
        outlet.isConnected = true;
        for (const datagram of outlet.waiting) socket.send(datagram);
        outlet.waiting = [];
      });
      socket.connect(config.target.port, address);
    });
  }

  function failed(session: UdpSession<Outlet>, error: Error): void {
    traffic.target = { ok: false, at: Date.now(), error: errorText(error) };
    complain(
      { event: "forward.target_failed", port: config.key, target: config.target.text, reason: errorText(error) },
      "the target of a port cannot be reached",
    );
    if (!session.outlet.isConnected) sessions.remove(session);
  }

  function toClient(session: UdpSession<Outlet>, datagram: Buffer): void {
    if (!sessions.mayAnswer(session, datagram.length)) {
      traffic.refused++;
      return;
    }
    traffic.bytesOut += datagram.length;
    if (traffic.target?.ok !== true) traffic.target = { ok: true, at: Date.now(), error: undefined };
    // From the port the client wrote to: a NAT on its side lets nothing else in.
    if (!isClosed) listener.send(datagram, session.port, session.address);
  }

  function ended(session: UdpSession<Outlet>): void {
    traffic.active--;
    session.outlet.isEnded = true;
    session.outlet.socket?.close();
    // A flood of forged sources would be a flood of lines: only a client that really talked gets one.
    if (!session.isProven || !options.isLogged()) return;
    log.info(
      {
        event: "forward.session",
        port: config.key,
        client: plainAddress(session.address),
        target: config.target.text,
        outcome: "closed",
        bytesIn: session.bytesIn,
        bytesOut: session.bytesOut,
        durationMs: Math.round(performance.now() - session.startedAt),
      },
      "forwarded session ended",
    );
  }

  function endAll(matches: (session: UdpSession<Outlet>) => boolean): void {
    for (const session of sessions.all()) if (matches(session)) sessions.remove(session);
  }

  return {
    traffic,
    bound() {
      if (isClosed) return undefined;
      const { address, port } = listener.address();
      return { host: address, port };
    },
    reconfigure(next) {
      const isElsewhere = next.target.host !== config.target.host || next.target.port !== config.target.port;
      config = next;
      allowed = createNetworkSet(next.allow);
      // A datagram has no connection that could stay with the old target: its session begins anew.
      endAll((session) => isElsewhere || !isAllowed(plainAddress(session.address)));
    },
    stopListening() {
      // Sessions need the same socket for their answers; newcomers are turned away by an empty table size.
      config = { ...config, sessions: 0 };
    },
    async close() {
      if (isClosed) return;
      isClosed = true;
      clearInterval(sweeper);
      endAll(() => true);
      const closed = once(listener, "close");
      listener.close();
      await closed;
    },
  };
}

const newOutlet = (): Outlet => ({ socket: undefined, isConnected: false, isEnded: false, waiting: [] });

async function listen(config: PortConfig): Promise<Socket> {
  const { host, port } = config;
  // `::` takes both families where the machine has IPv6 at all.
  const attempts = host === undefined ? (["udp6", "udp4"] as const) : ([isIPv6(host) ? "udp6" : "udp4"] as const);
  for (const type of attempts) {
    const socket = createSocket({ type, recvBufferSize: RECEIVE_BUFFER });
    try {
      const listening = once(socket, "listening");
      socket.bind({ port, ...(host === undefined ? {} : { address: host }) });
      await listening;
      return socket;
    } catch (error) {
      socket.close();
      const { code } = error as NodeJS.ErrnoException;
      if (type === "udp6" && host === undefined && (code === "EAFNOSUPPORT" || code === "EADDRNOTAVAIL")) continue;
      throw listenFailure(error as NodeJS.ErrnoException, config, "ports", "udp");
    }
  }
  throw new TypeError("unreachable: the last attempt returns or throws");
}
