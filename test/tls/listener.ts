/**
 * A bare TLS listener around the rooms under test, wired as the front wires them, and a client that tells what it got.
 */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import {
  type ConnectionOptions,
  type SecureContext,
  type Server,
  type TLSSocket,
  connect,
  createServer,
} from "node:tls";
import pino from "pino";
import { tlsSettings } from "../../src/core/tls-settings.ts";
import type { Contexts } from "../../src/tls/contexts.ts";
import { createFallback } from "../../src/tls/fallback.ts";
import { type SniChooser, createSniChooser } from "../../src/tls/sni.ts";

export interface Listener {
  port: number;
  server: Server;
}

const silent = pino({ level: "silent" });

/** A chooser over names, where some have a bundle and others are pending. */
export function chooserFor(names: readonly string[], contexts: Contexts): SniChooser {
  const set = new Set(names);
  return createSniChooser({ names: () => set, contexts, log: silent });
}

/** @param options.keepOpen after the greeting; default is to close, which is what `meet` waits for */
export async function listen(
  t: TestContext,
  chooser: SniChooser,
  options: { ticketKeys?: Buffer; keepOpen?: boolean } = {},
): Promise<Listener> {
  const fallback = await createFallback();
  const server = createServer({
    ...tlsSettings,
    key: fallback.keyPem,
    cert: fallback.certificatePem,
    ...(options.ticketKeys === undefined ? {} : { ticketKeys: options.ticketKeys }),
    SNICallback(name: string, done: (error: Error | null, context?: SecureContext) => void) {
      const choice = chooser.chooseContext(name);
      if ("context" in choice) done(null, choice.context);
      else done(new Error(choice.refused));
    },
  });
  const open = new Set<TLSSocket>();
  server.on("secureConnection", (socket) => {
    open.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => open.delete(socket));
    socket.write("hello\n");
    if (options.keepOpen !== true) socket.end();
  });
  server.on("tlsClientError", () => {});
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(async () => {
    for (const socket of open) socket.destroy();
    server.close();
    await once(server, "close");
  });
  return { port: (server.address() as AddressInfo).port, server };
}

export interface Met {
  authorized: boolean;
  serial: string;
  commonName: string;
  reused: boolean;
  protocol: string;
  cipher: string;
  session: Buffer | undefined;
}

/** One handshake, to the end of the connection. Rejects when it is refused. */
export async function meet(port: number, options: ConnectionOptions): Promise<Met> {
  const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false, ...options });
  let session: Buffer | undefined;
  let met: Met | undefined;
  socket.on("session", (bytes) => (session = bytes));
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.on("secureConnect", () => {
      const peer = socket.getPeerX509Certificate();
      met = {
        authorized: socket.authorized,
        serial: peer?.serialNumber ?? "",
        commonName: /CN=(.*)/.exec(peer?.subject ?? "")?.[1] ?? "",
        reused: socket.isSessionReused(),
        protocol: socket.getProtocol() ?? "",
        cipher: socket.getCipher().standardName,
        session: undefined,
      };
    });
    socket.on("data", () => {});
    socket.on("close", () => {
      if (met === undefined) reject(new Error("closed before the handshake"));
      else resolve({ ...met, session });
    });
  });
}
