/**
 * What people write with http-proxy on a Sunday: an https server, a kept-alive agent, a line per request.
 * Owns: nothing but itself; started as a process by http-proxy.ts.
 * Never: more than that. It checks nothing and bounds nothing, which is part of what it costs less.
 */
import { createWriteStream, readFileSync } from "node:fs";
import { Agent, type IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import httpProxy from "http-proxy";

const [port = "", targetPort = "", keyFile = "", chainFile = "", logFile = ""] = process.argv.slice(2);
const log = createWriteStream(logFile, { flags: "a" });
const proxy = httpProxy.createProxyServer({
  target: `http://127.0.0.1:${targetPort}`,
  agent: new Agent({ keepAlive: true, maxFreeSockets: 1024 }),
  xfwd: true,
});
proxy.on("error", (_error, _request, answer) => {
  if (answer instanceof ServerResponse && !answer.headersSent) answer.writeHead(502).end();
  else answer.destroy();
});

const server = createServer({ key: readFileSync(keyFile), cert: readFileSync(chainFile) }, (request, answer) => {
  const begun = performance.now();
  answer.on("close", () => log.write(lineOf(request, answer.statusCode, performance.now() - begun)));
  proxy.web(request, answer);
});
server.on("upgrade", (request: IncomingMessage, socket, head: Buffer) => {
  socket.on("error", () => {});
  proxy.ws(request, socket, head);
});
server.keepAliveTimeout = 300_000;
server.listen(Number(port), "127.0.0.1");

const lineOf = (request: IncomingMessage, status: number, ms: number): string =>
  `${JSON.stringify({
    time: Date.now(),
    ip: request.socket.remoteAddress,
    method: request.method,
    url: request.url,
    status,
    ms,
    userAgent: request.headers["user-agent"],
  })}\n`;
