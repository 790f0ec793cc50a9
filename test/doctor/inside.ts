/**
 * A program on the target's host: Home Assistant as it may be, and a web server on port 80 that is nobody's.
 * Owns: the ways in which a machine inside answers, or does not. Switched over process.send.
 *
 * @see facts of home-assistant: a bare 400 to forwarding headers from a proxy that it was not told of
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer as createPlain, type RequestListener, type Server } from "node:http";
import { createServer as createTls } from "node:https";
import { createServer as createTcp, type Server as TcpServer } from "node:net";
import type { Duplex } from "node:stream";

export type Manner = "well" | "distrusts" | "fails" | "without WebSocket" | "silent" | "TLS" | "off";

const [, , keyFile = "", chainFile = ""] = process.argv;
const PAGE = "<!doctype html><html><head><title>Home Assistant</title></head></html>";

function answerAs(manner: Manner): RequestListener {
  return (request, response) => {
    response.on("error", () => {});
    if (manner === "distrusts" && "x-forwarded-for" in request.headers) {
      response.statusCode = 400;
      response.end("400: Bad Request");
      return;
    }
    if (manner === "fails") response.statusCode = 503;
    response.end(PAGE);
  };
}

function upgrade(request: { headers: NodeJS.Dict<string | string[]>; url?: string | undefined }, socket: Duplex): void {
  socket.on("error", () => {});
  if (request.url !== "/api/websocket") {
    socket.end("HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    return;
  }
  // RFC 6455 §4.2.2.
  const key = String(request.headers["sec-websocket-key"]);
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
  );
}

const opened = new Set<Duplex>();
let server: Server | TcpServer | undefined;

function make(manner: Manner): Server | TcpServer | undefined {
  if (manner === "off") return undefined;
  if (manner === "silent") return createTcp((socket) => socket.on("error", () => {}).resume());
  if (manner === "TLS") {
    return createTls({ key: readFileSync(keyFile), cert: readFileSync(chainFile) }, answerAs(manner));
  }
  const made = createPlain(answerAs(manner));
  if (manner !== "without WebSocket") made.on("upgrade", upgrade);
  return made;
}

async function become(manner: Manner): Promise<void> {
  const last = server;
  server = undefined;
  for (const socket of opened) socket.destroy();
  if (last !== undefined) await new Promise((resolve) => last.close(resolve));
  const next = make(manner);
  if (next === undefined) return;
  next.on("connection", (socket: Duplex) => {
    opened.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => opened.delete(socket));
  });
  await new Promise<void>((resolve) => next.listen(8123, resolve));
  server = next;
}

process.on("message", ({ manner }: { manner: Manner }) => {
  void become(manner).then(() => process.send?.({ manner }));
});
process.on("disconnect", () => process.exit());

createPlain((_, response) => response.end("<h1>It works!</h1>")).listen(80, () => {
  void become("well").then(() => process.stdout.write("ready\n"));
});
