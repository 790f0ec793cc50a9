/**
 * How is a port opened, and what does it mean when it cannot be?
 * Owns: the listening sockets of both kinds, which are kept over a reload, and the words for a failed bind.
 * Never: looks at a connection.
 */
import { createServer, type Server, type Socket } from "node:net";
import type { ListenAddress } from "../../config/model.ts";
import { isGatehouseError } from "../../core/errors.ts";
import { listenFailure } from "../../core/listen-failure.ts";

export type ListenerKind = "https" | "http";
export type Wanted = Record<ListenerKind, readonly ListenAddress[]>;

export interface Listeners {
  listen(kind: ListenerKind, address: ListenAddress): Promise<void>;
  relisten(wanted: Wanted): Promise<void>;
  addresses(): Record<ListenerKind, { host: string; port: number }[]>;
  /** Accepts those whom the kernel has let in already: closing the listener would reset them. */
  takeArrived(): Promise<void>;
  /** Stop accepting everywhere; open connections go on. */
  stop(): void;
}

interface Listener {
  kind: ListenerKind;
  key: string;
  address: ListenAddress;
  server: Server;
}

/**
 * allowHalfOpen: the lanes decide what a FIN means; a tunnel has to pass it on (RFC 9293 §3.6). TCP keep-alive (after a
 * minute, in milliseconds) finds clients that lost power or network without a word.
 */
const CONNECTIONS = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 } as const;
/** Milliseconds without a new connection: the way of the packet that ends a TCP handshake, and libuv takes one a turn. */
const QUIET_MS = 50;
/** Under a storm of new connections there is always one more: past Node's backlog, none of them waited at the beginning. */
const MAX_ARRIVING = 511;
/** A busy small machine needs some milliseconds for each of them. */
const MAX_ARRIVING_MS = 2_000;

export function createListeners(options: {
  /** True: an HTTPS connection is somebody else's; all of them come paused then. Default: all are ours. */
  passOn?: ((socket: Socket) => boolean) | undefined;
  accept(kind: ListenerKind, socket: Socket): void;
  /** A listener that failed later, such as one out of file descriptors. */
  failed(kind: ListenerKind, error: Error): void;
}): Listeners {
  const open: Listener[] = [];
  let accepted = 0;

  async function start(kind: ListenerKind, address: ListenAddress): Promise<Listener> {
    const passOn = kind === "https" ? options.passOn : undefined;
    const server = createServer({ ...CONNECTIONS, pauseOnConnect: passOn !== undefined }, (socket) => {
      accepted++;
      if (passOn?.(socket) !== true) options.accept(kind, socket);
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) => reject(listenFailure(error, address, "listen")));
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
    async takeArrived() {
      const until = performance.now() + MAX_ARRIVING_MS;
      const last = accepted + MAX_ARRIVING;
      const isStorm = (): boolean => accepted >= last || performance.now() >= until;
      let seen: number;
      do {
        seen = accepted;
        await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
        // On a busy machine the timer can be due before the loop has looked at its sockets again.
        await new Promise(setImmediate);
      } while (accepted !== seen && !isStorm());
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
