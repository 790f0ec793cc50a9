/**
 * How is a port opened, and what does it mean when it cannot be?
 * Owns: the listening sockets of both kinds, which are kept over a reload, and the words for a failed bind.
 * Never: looks at a connection.
 */
import { createServer, type Server, type Socket } from "node:net";
import type { ListenAddress } from "../config/model.ts";
import { errorText, GatehouseError, isGatehouseError } from "../core/errors.ts";

export type ListenerKind = "https" | "http";
export type Wanted = Record<ListenerKind, readonly ListenAddress[]>;

export interface Listeners {
  listen(kind: ListenerKind, address: ListenAddress): Promise<void>;
  relisten(wanted: Wanted): Promise<void>;
  addresses(): Record<ListenerKind, { host: string; port: number }[]>;
  /** Stop accepting everywhere; open connections go on. */
  stop(): void;
}

interface Listener {
  kind: ListenerKind;
  key: string;
  address: ListenAddress;
  server: Server;
}

export function createListeners(options: {
  accept(kind: ListenerKind, socket: Socket): void;
  /** A listener that failed later, such as one out of file descriptors. */
  failed(kind: ListenerKind, error: Error): void;
}): Listeners {
  const open: Listener[] = [];

  async function start(kind: ListenerKind, address: ListenAddress): Promise<Listener> {
    // allowHalfOpen: the lanes decide what a FIN means; a tunnel has to pass it on (RFC 9293 §3.6).
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => options.accept(kind, socket));
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) => reject(listenFailure(error, address)));
      server.listen("fd" in address ? { fd: address.fd } : bindOptions(address), () => resolve());
    });
    server.removeAllListeners("error");
    server.on("error", (error) => options.failed(kind, error));
    return { kind, key: keyOf(kind, address), address, server };
  }

  /** The port is free at once; open connections go on. */
  function stop(listener: Listener): void {
    const at = open.indexOf(listener);
    if (at >= 0) open.splice(at, 1);
    listener.server.close();
  }

  return {
    async listen(kind, address) {
      open.push(await start(kind, address));
    },
    async relisten(wanted) {
      const targets = (["https", "http"] as const).flatMap((kind) =>
        wanted[kind].map((address) => ({ kind, address, key: keyOf(kind, address) })),
      );
      const keys = new Set(targets.map(({ key }) => key));
      const leaving = open.filter(({ key }) => !keys.has(key));
      const kept = new Set(open.map(({ key }) => key));
      const added: Listener[] = [];
      const stopped: Listener[] = [];
      try {
        for (const { kind, address, key } of targets) {
          if (kept.has(key)) continue;
          kept.add(key);
          added.push(
            await start(kind, address).catch((error: unknown) => {
              // A wider address that leaves may be what blocks a new one (`:443` → `127.0.0.1:443`).
              const blocking = leaving.filter((listener) => portOf(listener.address) === portOf(address));
              if (!isGatehouseError(error, "GATEHOUSE_PORT_IN_USE") || blocking.length === 0) throw error;
              for (const listener of blocking) stop(listener);
              stopped.push(...blocking);
              return start(kind, address);
            }),
          );
        }
      } catch (error) {
        for (const listener of added) stop(listener);
        for (const { kind, address } of stopped) open.push(await start(kind, address));
        throw error;
      }
      open.push(...added);
      for (const listener of leaving) stop(listener);
    },
    addresses() {
      const result: Record<ListenerKind, { host: string; port: number }[]> = { https: [], http: [] };
      for (const { kind, server } of open) {
        const address = server.address();
        if (address !== null && typeof address === "object") {
          result[kind].push({ host: address.address, port: address.port });
        }
      }
      return result;
    },
    stop() {
      for (const listener of open.slice()) stop(listener);
    },
  };
}

/** Without a host Node takes `::` for both families, and `0.0.0.0` where the machine has no IPv6. */
function bindOptions(address: { host: string | undefined; port: number }): { host?: string; port: number } {
  return address.host === undefined ? { port: address.port } : { host: address.host, port: address.port };
}

const keyOf = (kind: ListenerKind, address: ListenAddress): string =>
  "fd" in address ? `${kind} fd:${address.fd}` : `${kind} ${address.host ?? "*"}:${address.port}`;

const portOf = (address: ListenAddress): number | undefined => ("fd" in address ? undefined : address.port);

/** What a failed bind means, for a person with a terminal. */
export function listenFailure(error: NodeJS.ErrnoException, address: ListenAddress): GatehouseError {
  const where = "fd" in address ? `file descriptor ${address.fd}` : `port ${address.port}`;
  const port = portOf(address) ?? 0;
  const cause = error;
  if (error.code === "EADDRINUSE") {
    return new GatehouseError("GATEHOUSE_PORT_IN_USE", {
      message: `The ${where} is already in use by another program.`,
      hint: `Ask who has it: ss -ltnp 'sport = :${port}' (as root it names the program). Stop that program, or choose another port under listen.`,
      cause,
    });
  }
  if (error.code === "EACCES" || error.code === "EPERM") {
    return new GatehouseError("GATEHOUSE_PORT_FORBIDDEN", {
      message: `This user may not listen on ${where}.`,
      hint:
        `Ports below 1024 need a right. Give it once with: sudo setcap cap_net_bind_service=+ep "$(readlink -f ${shellWord(process.execPath)})"; ` +
        `or under systemd with AmbientCapabilities=CAP_NET_BIND_SERVICE; ` +
        `or for the whole machine with: sysctl net.ipv4.ip_unprivileged_port_start=${port}; ` +
        `or listen on a higher port and let the router forward ${port} to it.`,
      cause,
    });
  }
  if (error.code === "EADDRNOTAVAIL") {
    return new GatehouseError("GATEHOUSE_LISTEN_FAILED", {
      message: `This machine has no address ${"fd" in address ? where : (address.host ?? "")} to listen on.`,
      hint: 'Its addresses: ip -brief address. Leave the address out (":443") to listen on all of them.',
      cause,
    });
  }
  return new GatehouseError("GATEHOUSE_LISTEN_FAILED", {
    message: `Cannot listen on ${where}: ${errorText(error)}`,
    hint: "fd" in address ? "Was the socket handed over (systemd: a .socket unit, LISTEN_FDS)?" : "See the cause.",
    cause,
  });
}

const shellWord = (text: string): string => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
