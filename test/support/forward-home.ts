/**
 * A table of forwarded ports with a target behind it, all on loopback.
 */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import type { TestContext } from "node:test";
import type { PortConfig } from "../../src/config/model.ts";
import { createForwards, type Forwards } from "../../src/forward/forwards.ts";
import type { PortOptions } from "../../src/forward/port.ts";
import { type KeptLog, keptLog } from "./log-lines.ts";

export function portConfig(target: number, changes: Partial<PortConfig> = {}): PortConfig {
  const protocol = changes.protocol ?? "tcp";
  return {
    key: `${protocol}/127.0.0.1:0`,
    protocol,
    host: "127.0.0.1",
    port: 0,
    target: { host: "127.0.0.1", port: target, text: `127.0.0.1:${target}` },
    description: undefined,
    allow: [],
    tls: undefined,
    proxyProtocol: undefined,
    isPublic: false,
    idleMs: 60_000,
    sessions: 64,
    ...changes,
  };
}

export interface ForwardHome {
  forwards: Forwards;
  log: KeptLog;
  /** The port that the first forward listens on. */
  port(key?: string): number;
}

export async function startForwards(
  t: TestContext,
  ports: readonly PortConfig[],
  options: Partial<PortOptions> = {},
): Promise<ForwardHome> {
  const log = keptLog({ level: "debug" });
  const forwards = createForwards({
    log: log.log,
    isLogged: () => true,
    contextFor: () => undefined,
    now: () => Date.now(),
    ...options,
  });
  t.after(() => forwards.close());
  await forwards.apply(ports);
  return {
    forwards,
    log,
    port(key) {
      const found = forwards.report().find((one) => key === undefined || one.key === key);
      if (found?.bound === undefined) throw new Error(`not open: ${found?.error ?? key ?? "none"}`);
      return found.bound.port;
    },
  };
}

/** A TCP target; sockets are half-open and have their error listener. */
export async function startTcpTarget(t: TestContext, serve: (socket: Socket) => void): Promise<number> {
  const open = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    open.add(socket);
    socket.once("close", () => open.delete(socket));
    serve(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    for (const socket of open) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

/** A client that stays half-open when told the end. */
export async function connectTo(t: TestContext, port: number, host = "127.0.0.1"): Promise<Socket> {
  const socket = connect({ port, host, allowHalfOpen: true });
  socket.on("error", () => {});
  t.after(() => socket.destroy());
  await once(socket, "connect");
  return socket;
}

/** However it came about. */
export const closeOf = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once("close", () => resolve());
  });

/** Everything until the end. */
export async function readAll(socket: Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of socket) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}
