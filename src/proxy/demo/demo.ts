/**
 * What does a target see of a request? The built-in sample target (`to: demo`).
 * Owns: a small HTTP server that never listens on a port: a page, /api/echo, /sse and a WebSocket echo.
 * Never: knows anything of the proxy around it: it sees what any machine inside would see.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type Duplex, duplexPair } from "node:stream";
import { demoPage } from "./page.ts";
import { echoWebSocket } from "./websocket.ts";

export interface Demo {
  /** A new in-process connection to it. */
  connect(): Duplex;
  close(): void;
}

/** What /api/echo reads of a body to show; the rest is counted. */
const MAX_SHOWN_BODY = 4_096;
const SSE_EVERY_MS = 1_000;

export function createDemo(): Demo {
  const open = new Set<Duplex>();
  const server = createServer({ requestTimeout: 0, keepAliveTimeout: 1_000 }, (req, res) => {
    req.on("error", () => {});
    res.on("error", () => {});
    const path = (req.url ?? "/").split("?", 1)[0];
    if (path === "/api/echo") echo(req, res);
    else if (path === "/sse") clock(res);
    else if (path === "/") page(req, res);
    else {
      req.resume();
      res.writeHead(404, { "content-type": "text/plain; charset=utf-8" }).end("Not found on the sample target.\n");
    }
  });
  server.on("clientError", (_, socket) => socket.destroy());
  server.on("upgrade", (req, socket, firstBytes) => {
    const key = req.headers["sec-websocket-key"];
    if (req.headers.upgrade?.toLowerCase() !== "websocket" || key === undefined) {
      socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
      return;
    }
    echoWebSocket(socket, key, firstBytes);
  });

  return {
    connect() {
      const [client, inside] = duplexPair({ highWaterMark: 65_536 });
      for (const side of [client, inside]) {
        side.on("error", () => {});
        open.add(side);
        side.once("close", () => open.delete(side));
      }
      // Each side hears of the other's end at the latest when it is gone.
      client.once("close", () => inside.destroy());
      inside.once("close", () => setImmediate(() => client.destroy()));
      server.emit("connection", inside);
      return asSocket(client);
    },
    close() {
      for (const side of open) side.destroy();
      server.close(() => {});
    },
  };
}

/** node:http's client calls these on whatever an agent gives it; a pipe in memory has nothing to set. */
function asSocket(side: Duplex): Duplex {
  const same = () => side;
  return Object.assign(side, { setTimeout: same, setNoDelay: same, setKeepAlive: same, ref: same, unref: same });
}

interface Seen {
  method: string;
  path: string;
  httpVersion: string;
  clientAddress: string;
  headers: [string, string][];
}

function seenIn(req: IncomingMessage): Seen {
  const headers: [string, string][] = [];
  for (let at = 0; at < req.rawHeaders.length; at += 2) {
    headers.push([(req.rawHeaders[at] ?? "").toLowerCase(), req.rawHeaders[at + 1] ?? ""]);
  }
  const forwardedFor = headers.find(([name]) => name === "x-forwarded-for")?.[1];
  return {
    method: req.method ?? "",
    path: req.url ?? "",
    httpVersion: req.httpVersion,
    clientAddress: forwardedFor ?? "not sent",
    headers,
  };
}

function page(req: IncomingMessage, res: ServerResponse): void {
  req.resume();
  const seen = seenIn(req);
  const body = demoPage(seen);
  res.writeHead(200, {
    "content-type": "text/html; charset=utf-8",
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    "content-security-policy":
      "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:",
  });
  res.end(body);
}

function echo(req: IncomingMessage, res: ServerResponse): void {
  let bodyBytes = 0;
  let shown = Buffer.alloc(0);
  req.on("data", (chunk: Buffer) => {
    bodyBytes += chunk.length;
    if (shown.length < MAX_SHOWN_BODY) shown = Buffer.concat([shown, chunk.subarray(0, MAX_SHOWN_BODY - shown.length)]);
  });
  req.on("end", () => {
    const body = `${JSON.stringify({ ...seenIn(req), bodyBytes, body: shown.toString() }, undefined, 2)}\n`;
    res.writeHead(200, {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
      "cache-control": "no-store",
    });
    res.end(body);
  });
}

/** One event a second, at once: shows that nothing on the way gathers them. */
function clock(res: ServerResponse): void {
  res.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  const tick = () => res.write(`event: clock\ndata: ${new Date().toISOString()}\n\n`);
  tick();
  const timer = setInterval(tick, SSE_EVERY_MS);
  res.once("close", () => clearInterval(timer));
}
