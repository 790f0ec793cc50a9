/**
 * How is one TCP port carried to a machine inside?
 * Owns: the listener, who may come in, TLS ending, the PROXY header, and every session of the port.
 * Never: knows of other ports.
 */
import { once } from "node:events";
import { connect, createServer, isIP, type Socket, type TcpNetConnectOpts } from "node:net";
import { TLSSocket } from "node:tls";
import type { PortConfig } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import { listenFailure } from "../core/listen-failure.ts";
import { createNetworkSet, plainAddress } from "../core/networks.ts";
import { proxyHeader } from "../core/proxy-protocol.ts";
import { tlsSettings } from "../core/tls-settings.ts";
import { createComplaints, type ForwardedPort, newTraffic, type PortOptions } from "./port.ts";
import { createSessionBounds } from "./session-bounds.ts";
import { cutOff, splice } from "./splice.ts";
import { literalRefusal, lookupFor } from "./target.ts";

/** Milliseconds for TCP to the target, name lookup included. */
const CONNECT_MS = 5_000;
/** Milliseconds for the client's handshake, where this port ends TLS. */
const HANDSHAKE_MS = 10_000;
/** TCP keep-alive (milliseconds): finds peers that lost power or network without a word, below every idle limit. */
const KEEP_ALIVE_MS = 60_000;
/**
 * Bytes that may wait for a slow reader, per direction. Four times the size of one read, so that a fast sender is not
 * paused for each piece; 512 sessions with both directions full hold 256 MB, which the kernel's buffers hold anyway.
 */
const WAITING_BYTES = 262_144;

interface Session {
  address: string;
  cut(): void;
}

/** @throws GATEHOUSE_PORT_IN_USE, GATEHOUSE_PORT_FORBIDDEN, GATEHOUSE_LISTEN_FAILED */
export async function openTcpPort(first: PortConfig, options: PortOptions): Promise<ForwardedPort> {
  const { log } = options;
  const traffic = newTraffic();
  const sessions = new Set<Session>();
  const complain = createComplaints(log);
  let config = first;
  let allowed = createNetworkSet(first.allow);
  const bounds = createSessionBounds(() => config.sessions);

  const server = createServer({
    allowHalfOpen: true,
    // Not a byte is read before the target has taken the connection: what waits, waits in the kernel.
    pauseOnConnect: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_MS,
    highWaterMark: WAITING_BYTES,
  });
  server.on("connection", (raw) => {
    raw.on("error", () => {});
    const address = plainAddress(raw.remoteAddress ?? "");
    const leave = isAllowed(address) ? bounds.admit(address) : undefined;
    if (leave === undefined) {
      traffic.refused++;
      raw.resetAndDestroy();
      return;
    }
    begin(raw, address, leave);
  });
  await listen();
  server.on("error", (error) => {
    log.error({ event: "forward.listen_failed", port: config.key, reason: error.message }, "a port has a problem");
  });

  function isAllowed(address: string): boolean {
    return config.allow.length === 0 || allowed.has(address);
  }

  async function listen(): Promise<void> {
    const { host, port } = config;
    server.listen({ port, ...(host === undefined ? {} : { host }) });
    try {
      await once(server, "listening");
    } catch (error) {
      throw listenFailure(error as NodeJS.ErrnoException, config, "ports");
    }
  }

  function begin(raw: Socket, address: string, leave: () => void): void {
    const settings = config;
    const startedAt = performance.now();
    let bytesIn = 0;
    let bytesOut = 0;
    let outcome = "refused";
    let target: Socket | undefined;
    const deadline = setTimeout(() => cut("slow"), settings.tls === undefined ? CONNECT_MS : HANDSHAKE_MS);
    const session: Session = { address, cut: () => cut("stopped") };
    sessions.add(session);
    traffic.active++;
    traffic.total++;

    function cut(how: string): void {
      outcome = how;
      if (target !== undefined) cutOff(target);
      if (settings.tls === undefined) cutOff(raw);
      else raw.destroy();
    }

    raw.once("close", () => {
      clearTimeout(deadline);
      target?.destroy();
      leave();
      sessions.delete(session);
      traffic.active--;
      if (!options.isLogged()) return;
      log.info(
        {
          event: "forward.session",
          port: settings.key,
          client: address,
          target: settings.target.text,
          outcome,
          bytesIn,
          bytesOut,
          durationMs: Math.round(performance.now() - startedAt),
        },
        "forwarded session ended",
      );
    });

    const client = settings.tls === undefined ? raw : secure(raw, settings.tls, () => dial());
    if (client === raw) dial();

    function dial(): void {
      if (client === undefined || raw.destroyed) return;
      clearTimeout(deadline);
      const refusal = literalRefusal(settings);
      if (refusal !== undefined) {
        failed(refusal);
        return;
      }
      const socket = connect(dialOptions(settings));
      target = socket;
      const slow = setTimeout(() => {
        socket.destroy(new Error(`no connection within ${CONNECT_MS / 1000} s`));
      }, CONNECT_MS);
      socket.on("error", (error) => {
        if (outcome === "refused") failed(error);
      });
      socket.once("close", () => clearTimeout(slow));
      socket.once("connect", () => {
        clearTimeout(slow);
        traffic.target = { ok: true, at: Date.now(), error: undefined };
        outcome = "open";
        if (settings.proxyProtocol !== undefined) {
          socket.write(proxyHeader(settings.proxyProtocol, endpointsOf(raw)));
        }
        const spliced = splice(client, socket, {
          idleMs: settings.idleMs,
          moved(direction, bytes) {
            if (direction === "in") {
              bytesIn += bytes;
              traffic.bytesIn += bytes;
            } else {
              bytesOut += bytes;
              traffic.bytesOut += bytes;
            }
          },
          ended(how) {
            outcome = how;
            // Under TLS the raw socket outlives what it carries unless it is told.
            if (client !== raw && how !== "closed") raw.destroy();
          },
        });
        session.cut = () => spliced.stop();
      });
    }

    function failed(error: Error): void {
      traffic.target = { ok: false, at: Date.now(), error: errorText(error) };
      complain(
        { event: "forward.target_failed", port: settings.key, target: settings.target.text, reason: errorText(error) },
        "the target of a port cannot be reached",
      );
      cut("unreachable");
    }
  }

  /** The handshake with this port's own certificate, whatever name is asked for; one that names another is refused. */
  function secure(raw: Socket, name: string, ready: () => void): TLSSocket | undefined {
    const context = options.contextFor(name);
    if (context === undefined) {
      traffic.refused++;
      complain({ event: "forward.certificate_pending", port: config.key, name }, "no certificate yet for a port");
      raw.destroy();
      return undefined;
    }
    const socket = new TLSSocket(raw, {
      isServer: true,
      secureContext: context,
      ...tlsSettings,
      SNICallback: (asked, done) => {
        // Some clients put the address there that they connect to (RFC 6066 §3 forbids it; mosquitto does).
        if (asked.toLowerCase() === name || isIP(asked) !== 0) done(null, context);
        else done(new Error("another name"));
      },
    });
    socket.on("error", () => raw.destroy());
    socket.once("secure", ready);
    return socket;
  }

  return {
    traffic,
    bound() {
      const address = server.address();
      return address !== null && typeof address === "object"
        ? { host: address.address, port: address.port }
        : undefined;
    },
    reconfigure(next) {
      config = next;
      allowed = createNetworkSet(next.allow);
      for (const session of sessions) if (!isAllowed(session.address)) session.cut();
    },
    stopListening() {
      server.close();
    },
    async close() {
      const closed = server.listening ? once(server, "close") : undefined;
      server.close();
      for (const session of sessions) session.cut();
      await closed;
    },
  };
}

/** `highWaterMark` goes through to the stream; the types of Node leave it out here. */
function dialOptions(config: PortConfig): TcpNetConnectOpts & { highWaterMark: number } {
  return {
    host: config.target.host,
    port: config.target.port,
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_MS,
    highWaterMark: WAITING_BYTES,
    autoSelectFamily: true,
    lookup: lookupFor(config),
  };
}

function endpointsOf(raw: Socket): Parameters<typeof proxyHeader>[1] {
  return {
    sourceAddress: plainAddress(raw.remoteAddress ?? ""),
    sourcePort: raw.remotePort ?? 0,
    destinationAddress: plainAddress(raw.localAddress ?? ""),
    destinationPort: raw.localPort ?? 0,
  };
}
