/**
 * Who knocks, on which port, speaking what?
 * Owns: TLS and plain listeners, their bounds, ALPN to lane, drain.
 * Never: reads a request.
 */
import type { Socket } from "node:net";
import type { LimitsConfig, ListenAddress } from "../../config/model.ts";
import type { ProxyEndpoints } from "../../core/proxy-protocol.ts";
import { letGo } from "../../core/let-go.ts";
import { type DenseSetMember, DenseSet } from "../../core/dense-set.ts";
import type { Spread } from "../../core/spread.ts";
import type { LaneContext } from "../exchange.ts";
import { createConnectionBounds, type Seat } from "./bounds.ts";
import { createDevices } from "./devices.ts";
import { endpointsOf, factsOf } from "./facts.ts";
import { checkOpenFiles } from "./files.ts";
import { createListeners, type ListenerKind } from "./listen.ts";
import { readProxiedClient } from "./peek.ts";
import { type ContextChoice, createTlsFront, type TlsFrontOptions } from "./tls.ts";
import { createCompatLane } from "../lanes/compat/lane.ts";
import { createFastLane } from "../lanes/fast/lane.ts";
import { createH2Lane } from "../lanes/h2/lane.ts";
import { createUpgradeLane } from "../lanes/upgrade/upgrade.ts";
import { createPlainLane } from "../plain.ts";
import { plainAddress } from "../../core/networks.ts";
import type { PassthroughSite } from "../rules/policy.ts";

export interface FrontOptions extends Pick<TlsFrontOptions, "addressCertificate"> {
  context: LaneContext;
  /** A prepared context, or why there is none. A promise only where it has to be read first; never for a CA. */
  chooseContext(serverName: string, hasTicket: boolean): ContextChoice | Promise<ContextChoice>;
  /** What proves a name to a CA on this port, for handshakes that ask for nothing else. Default: nothing does. */
  challengeCertificate?: (serverName: string) => Promise<{ keyPem: string; certificatePem: string } | undefined>;
  /** The neutral certificate for clients without SNI. */
  fallback: { keyPem: string; certificatePem: string };
  /** 48 bytes, shared by all workers. */
  ticketKeys: Buffer;
  /** Somebody has a place; the client's own address where a proxy tells it. */
  arrived(address: string): void;
  /** Where several processes share the listeners. */
  spread?: Spread | undefined;
  /** Key authorization for a token on port 80, or undefined. */
  answerChallenge(host: string, token: string): Promise<string | undefined>;
  /** Whose is a client certificate (SHA-256, hex, lower case) as of now? Default: nobody's. */
  deviceOwner?: (sha256: string) => string | undefined;
  /** Takes over a connection for a site whose TLS goes through; its first message is back on the socket. */
  passthrough(raw: Socket, client: ProxyEndpoints, site: PassthroughSite): void;
  /** Port of `https://` in redirects. Default: the first HTTPS listener's, or 443 when there is none. */
  publicHttpsPort?: number;
}

export interface Front {
  /** @throws GATEHOUSE_PORT_IN_USE, GATEHOUSE_PORT_FORBIDDEN, GATEHOUSE_LISTEN_FAILED, with hints */
  listen(kind: ListenerKind, address: ListenAddress): Promise<void>;
  /** Open listeners not in the list, close listeners that are gone; kept ones never stop accepting. */
  relisten(wanted: { https: readonly ListenAddress[]; http: readonly ListenAddress[] }): Promise<void>;
  /** What is really listened on (port 0 resolved). */
  addresses(): { https: { host: string; port: number }[]; http: { host: string; port: number }[] };
  setTicketKeys(keys: Buffer): void;
  /** Who is accepted has changed: connections of those who no longer are end now. */
  dismissDevices(): void;
  openConnections(): number;
  /** Stop accepting, say GOAWAY / Connection: close, wait for exchanges; at the deadline destroy what is left. */
  drain(options: DrainOptions): Promise<void>;
  /** Destroy everything now. */
  destroy(): void;
}

export interface DrainOptions {
  /** Milliseconds for all of it. A second call may set an earlier end. */
  withinMs: number;
  /** Milliseconds in which a kept connection may ask once more and is told that it ends; at most half. Default a second. */
  idleMs?: number | undefined;
  /** Called when they are over: what comes now is refused. */
  refuse?(): void;
}

const LAST_QUESTION_MS = 1_000;

interface Guest extends DenseSetMember {
  readonly socket: Socket;
}

export function createFront(options: FrontOptions): Front {
  const { context, spread } = options;
  const { log, metrics } = context;
  const bounds = createConnectionBounds(() => context.limits());
  const guests = new DenseSet<Guest>();
  /** Called when the last connection closes. */
  const whenEmpty = new Set<() => void>();
  /** The open files were enough for these, or it was said that they are not. */
  let checked: LimitsConfig | undefined;

  const upgrade = createUpgradeLane(context);
  const compat = createCompatLane(context, { onUpgrade: upgrade });
  const fast = createFastLane(context, { handOver: (socket, facts) => compat.accept(socket, facts) });
  const h2 = createH2Lane(context);
  const plain = createPlainLane({
    context,
    answerChallenge: options.answerChallenge,
    httpsPort: () => options.publicHttpsPort ?? listeners.addresses().https[0]?.port ?? 443,
  });
  const tls = createTlsFront({
    chooseContext: options.chooseContext,
    challengeCertificate: options.challengeCertificate ?? (async () => undefined),
    fallback: options.fallback,
    addressCertificate: options.addressCertificate,
    ticketKeys: options.ticketKeys,
    handshakeMs: () => context.limits().handshakeMs,
    late: (raw) => context.limitReached("handshake_time", plainAddress(raw.remoteAddress ?? "")),
    log,
    metrics,
  });
  const devices = createDevices(options.deviceOwner);

  const listeners = createListeners({
    accept,
    passOn: spread && ((socket) => spread.passOn(socket)),
    failed: (kind, error) =>
      log.error({ event: "listen.failed", listener: kind, reason: error.message }, "a listener has a problem"),
  });

  spread?.arrive((socket) => accept("https", socket));

  function accept(kind: ListenerKind, socket: Socket): void {
    socket.on("error", ignore);
    const peer = endpointsOf(socket);
    if (context.rules().proxyPeers?.has(peer.sourceAddress) === true) awaitHeader(kind, socket, peer);
    else enter(kind, socket, peer);
  }

  /** The peer is a proxy that speaks for its clients. Its own connections wait here, bounded like any others. */
  function awaitHeader(kind: ListenerKind, socket: Socket, peer: ProxyEndpoints): void {
    const seat = takeSeat(kind, socket, peer.sourceAddress, true);
    if (seat === undefined) return;
    socket.on("close", () => seat.leave());
    readProxiedClient(socket, peer, {
      withinMs: context.limits().firstByteMs,
      done(client) {
        seat.leave();
        enter(kind, socket, client);
        // What came behind the header waits in the stream; Node's server reads the socket below it and would not look.
        if (kind === "http") socket.resume();
      },
      failed(why) {
        metrics.connectionRejected(kind, "proxy_header");
        log.debug({ event: "proxy_header.refused", peer: peer.sourceAddress, why }, "no PROXY header from this peer");
        socket.resetAndDestroy();
      },
    });
  }

  /** Whoever takes it also gives it back, when the connection closes. */
  function takeSeat(kind: ListenerKind, socket: Socket, client: string, isHandshake: boolean): Seat | undefined {
    const seat = bounds.admit(client, {
      isHandshake,
      giveUp(limit) {
        context.limitReached(limit, client);
        metrics.connectionRejected(kind, "shed");
        socket.destroy();
      },
    });
    if (typeof seat === "string") {
      context.limitReached(seat, client);
      metrics.connectionRejected(kind, "limit");
      socket.resetAndDestroy();
      return undefined;
    }
    return seat;
  }

  function enter(kind: ListenerKind, socket: Socket, client: ProxyEndpoints): void {
    const address = client.sourceAddress;
    const seat = takeSeat(kind, socket, address, kind === "https");
    if (seat === undefined) return;
    let firstByte: NodeJS.Timeout | undefined;
    const guest: Guest = { socket, place: -1 };
    guests.add(guest);
    spread?.count(guests.size);
    options.arrived(address);
    metrics.connectionOpened(kind);
    // One listener for all of it: each more is paid for by every connection.
    socket.on("close", () => {
      clearTimeout(firstByte);
      seat.leave();
      guests.delete(guest);
      spread?.count(guests.size);
      metrics.connectionClosed(kind);
      letGo(socket);
      if (guests.size > 0) return;
      for (const tell of whenEmpty) tell();
    });
    if (kind === "http") {
      firstByte = awaitFirstByte(socket, socket, address);
      plain.accept(socket, factsOf(client, "http", seat, undefined));
      return;
    }
    tls.accept(socket, {
      localAddress: client.destinationAddress,
      divert(serverName) {
        const rules = context.rules();
        const site = rules.hasPassthrough ? rules.passthrough(serverName) : undefined;
        if (site === undefined) return false;
        seat.secured();
        // Never sent away while it is open: nothing tells whether it is idle inside.
        seat.began();
        options.passthrough(socket, client, site);
        return true;
      },
      asksDevice: (serverName) => context.rules().asksDevice(serverName),
      secured(secure, wasAsked) {
        seat.secured();
        firstByte = awaitFirstByte(secure, socket, address);
        const facts = factsOf(client, "https", seat, secure);
        if (wasAsked) facts.device = devices.deviceOf(secure, socket);
        if (secure.alpnProtocol === "h2") h2.accept(secure, facts);
        else fast.accept(secure, facts);
      },
    });
  }

  /** Whatever the lane: `bytesRead` grows although node:http and node:http2 read past the stream. */
  function awaitFirstByte(socket: Socket, raw: Socket, client: string): NodeJS.Timeout {
    return setTimeout(() => {
      if (socket.bytesRead > 0) return;
      context.limitReached("first_byte_time", client);
      raw.destroy();
    }, context.limits().firstByteMs);
  }

  function destroy(): void {
    listeners.stop();
    h2.destroy();
    fast.destroy();
    compat.destroy();
    plain.destroy();
    guests.forEach(({ socket }) => socket.destroy());
  }

  return {
    listen: (kind, address) => listeners.listen(kind, address),
    async relisten(wanted) {
      await listeners.relisten(wanted);
      spread?.count(guests.size);
      const limits = context.limits();
      if (limits === checked) return;
      checked = limits;
      await checkOpenFiles(limits, log);
    },
    addresses: () => listeners.addresses(),
    dismissDevices: () => devices.dismiss(),
    setTicketKeys: (keys) => tls.setTicketKeys(keys),
    openConnections: () => guests.size,
    async drain({ withinMs, idleMs = LAST_QUESTION_MS, refuse }) {
      spread?.leave();
      const askMs = Math.min(idleMs, withinMs / 2);
      if (withinMs > 0) await listeners.takeArrived();
      listeners.stop();
      h2.drain();
      fast.drain(askMs);
      compat.drain(askMs);
      plain.drain(askMs);
      const asking = setTimeout(() => {
        refuse?.();
        // Those whose handshake was under way.
        h2.drain();
      }, askMs);
      if (guests.size > 0 && withinMs > 0) {
        await new Promise<void>((resolve) => {
          const tell = (): void => {
            clearTimeout(timer);
            whenEmpty.delete(tell);
            resolve();
          };
          const timer = setTimeout(tell, withinMs);
          whenEmpty.add(tell);
        });
      }
      clearTimeout(asking);
      destroy();
    },
    destroy,
  };
}

const ignore = (): void => {};
