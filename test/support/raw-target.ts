/**
 * A machine inside that may say anything at any byte: plain, TLS or on a unix socket.
 */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { createServer as createTlsServer, type TlsOptions, type TLSSocket } from "node:tls";

export interface RawTarget {
  port: number;
  /** Everything each connection was sent, in the order of their coming. */
  heard: string[];
  sockets: Socket[];
  openConnections(): number;
}

export interface RawTargetOptions {
  /** Called with each connection, before a byte of it. */
  connected?(socket: Socket, at: number): void;
  tls?: TlsOptions;
  /** A unix socket in place of a port. */
  path?: string;
  host?: string;
  port?: number;
}

/** `say` is called after each piece with all that its connection was sent so far, and the connection's number. */
export async function startRawTarget(
  t: TestContext,
  say: (heard: string, socket: Socket, at: number) => void,
  options: RawTargetOptions = {},
): Promise<RawTarget> {
  const open = new Set<Socket>();
  const heard: string[] = [];
  const sockets: Socket[] = [];
  const take = (socket: Socket): void => {
    open.add(socket);
    const at = heard.push("") - 1;
    sockets.push(socket);
    socket.on("error", () => {});
    socket.on("close", () => open.delete(socket));
    options.connected?.(socket, at);
    socket.on("data", (chunk: Buffer) => {
      heard[at] += chunk.toString("latin1");
      say(heard[at] ?? "", socket, at);
    });
  };
  const server =
    options.tls === undefined
      ? createServer(take)
      : createTlsServer(options.tls, (socket: TLSSocket) => take(socket)).on("tlsClientError", () => {});
  if (options.path === undefined) server.listen(options.port ?? 0, options.host ?? "127.0.0.1");
  else server.listen(options.path);
  await once(server, "listening");
  t.after(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  const port = options.path === undefined ? (server.address() as AddressInfo).port : 0;
  return { port, heard, sockets, openConnections: () => open.size };
}
