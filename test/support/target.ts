/**
 * Machines inside, for tests: plain HTTP servers on loopback ports that the kernel chose.
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";

export async function startTarget(
  t: TestContext,
  listener: RequestListener,
): Promise<{ port: number; server: Server }> {
  const server = createServer(listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, server };
}

export { freePort } from "./ports.ts";

/** Writes `total` bytes with backpressure; stops when the client leaves. */
export function sendBytes(res: ServerResponse, total: number, chunk = Buffer.alloc(65_536, "x")): void {
  let sent = 0;
  const more = () => {
    while (sent < total) {
      const piece = total - sent < chunk.length ? chunk.subarray(0, total - sent) : chunk;
      sent += piece.length;
      if (!res.write(piece)) {
        res.once("drain", more);
        return;
      }
    }
    res.end();
  };
  res.writeHead(200, { "content-type": "application/octet-stream", "content-length": String(total) });
  more();
}

export async function countBytes(req: IncomingMessage): Promise<number> {
  let total = 0;
  for await (const piece of req) total += (piece as Buffer).length;
  return total;
}
