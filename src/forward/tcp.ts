/**
 * How is one TCP port carried to a machine inside?
 * Owns: the listener, who may come in, TLS ending, and which sessions are open.
 * Never: knows of other ports.
 */
import { once } from "node:events";
import { createServer, isIP, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { PortConfig } from "../config/model.ts";
import { listenFailure } from "../core/listen-failure.ts";
import { createNetworkSet, plainAddress } from "../core/networks.ts";
import type { ProxyEndpoints } from "../core/proxy-protocol.ts";
import { tlsSettings } from "../core/tls-settings.ts";
import { createComplaints, type ForwardedPort, newTraffic, type PortOptions } from "./port.ts";
import { beginSession, KEEP_ALIVE_MS, WAITING_BYTES } from "./session.ts";
import { createSessionBounds } from "./session-bounds.ts";

/** Milliseconds for the client's handshake, where this port ends TLS. */
const HANDSHAKE_MS = 10_000;
interface Entry {
  address: string;
  cut(): void;
}

/** @throws GATEHOUSE_PORT_IN_USE, GATEHOUSE_PORT_FORBIDDEN, GATEHOUSE_LISTEN_FAILED */
export async function openTcpPort(first: PortConfig, options: PortOptions): Promise<ForwardedPort> {
  const { log } = options;
  const traffic = newTraffic();
  const entries = new Set<Entry>();
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
    const session = beginSession(raw, endpointsOf(raw), config, { ...options, traffic, complain });
    const entry: Entry = { address, cut: () => session.cut("stopped") };
    entries.add(entry);
    const forget = options.known.add(address);
    raw.once("close", () => {
      leave();
      forget();
      entries.delete(entry);
    });
    if (config.tls === undefined) session.carry(raw);
    else secure(raw, config.tls, (client) => session.carry(client));
  }

  /** The handshake with this port's own certificate, whatever name is asked for; one that names another is refused. */
  function secure(raw: Socket, name: string, ready: (client: TLSSocket) => void): void {
    const context = options.contextFor(name);
    if (context === undefined) {
      traffic.refused++;
      complain({ event: "forward.certificate_pending", port: config.key, name }, "no certificate yet for a port");
      raw.destroy();
      return;
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
    const late = setTimeout(() => raw.destroy(), HANDSHAKE_MS);
    raw.once("close", () => clearTimeout(late));
    socket.on("error", () => raw.destroy());
    socket.once("secure", () => {
      clearTimeout(late);
      ready(socket);
    });
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
      for (const entry of entries) if (!isAllowed(entry.address)) entry.cut();
    },
    stopListening() {
      server.close();
    },
    async close() {
      const closed = server.listening ? once(server, "close") : undefined;
      server.close();
      for (const entry of entries) entry.cut();
      await closed;
    },
  };
}

function endpointsOf(raw: Socket): ProxyEndpoints {
  return {
    sourceAddress: plainAddress(raw.remoteAddress ?? ""),
    sourcePort: raw.remotePort ?? 0,
    destinationAddress: plainAddress(raw.localAddress ?? ""),
    destinationPort: raw.localPort ?? 0,
  };
}
