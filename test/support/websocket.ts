/**
 * A WebSocket client (`ws`) that comes to 127.0.0.1 under a name of the test's choice.
 */
import { once } from "node:events";
import type { TestContext } from "node:test";
import { WebSocket } from "ws";

export async function openWebSocket(
  t: TestContext,
  where: { port: number; name: string; ca: Buffer | string; path?: string },
): Promise<WebSocket> {
  // `servername` reaches tls.connect; ws's type does not list it.
  const options: import("ws").ClientOptions & { servername: string } = {
    servername: where.name,
    headers: { host: where.name },
    ca: where.ca,
  };
  const socket = new WebSocket(`wss://127.0.0.1:${where.port}${where.path ?? "/"}`, options);
  t.after(() => socket.terminate());
  await once(socket, "open");
  return socket;
}
