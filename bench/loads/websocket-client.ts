/**
 * Sends a message on each WebSocket, waits for its echo, sends the next; a program of its own.
 * Owns: the connections, the clock from message to echo.
 * Never: has more than one message under way per connection.
 */
import { connect, createSecureContext, type TLSSocket } from "node:tls";
import { echoBytes, maskedFrame } from "../websocket-frames.ts";
import type { ClientReport, ClientTask } from "./own-client.ts";
import type { WebSocketOptions } from "./websocket.ts";

const { port, host, amount, options } = JSON.parse(process.argv[2] ?? "") as ClientTask<WebSocketOptions>;
const SLOW_MS = 10_000;
const ENOUGH_TIMES = 1_000_000;

// As for the other loads: what every rival has.
const secureContext = createSecureContext({
  minVersion: "TLSv1.3",
  ciphers: "TLS_AES_128_GCM_SHA256",
  ecdhCurve: "X25519",
});
const payload = Buffer.alloc(options.bytes, "Home is where the front door is. ");
const report: ClientReport = { done: 0, failed: 0, seconds: 0, bodyBytes: 0, times: [] };
const frame = maskedFrame(payload);
const answerBytes = echoBytes(payload.length);

/** Resolves when the connection speaks WebSocket, with what came behind the answer's head left unread: nothing does. */
function open(): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: "127.0.0.1",
      port,
      servername: host,
      ALPNProtocols: ["http/1.1"],
      secureContext,
      rejectUnauthorized: false,
    });
    socket.setNoDelay(true);
    socket.on("error", reject);
    socket.setTimeout(SLOW_MS, () => socket.destroy(new Error("slow")));
    socket.write(
      `GET /echo HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://${host}\r\n\r\n`,
    );
    let head = "";
    const onData = (bytes: Buffer): void => {
      head += bytes.toString("latin1");
      if (!head.includes("\r\n\r\n")) return;
      socket.off("data", onData);
      if (head.startsWith("HTTP/1.1 101 ") && head.endsWith("\r\n\r\n")) resolve(socket);
      else reject(new Error(`no upgrade: ${head.slice(0, 200)}`));
    };
    socket.on("data", onData);
  });
}

const sockets = await Promise.all(Array.from({ length: options.connections }, open));
const begun = performance.now();
const endsAt = "seconds" in amount ? begun + amount.seconds * 1000 : Infinity;
const isOver = (now: number): boolean => ("count" in amount ? report.done >= amount.count : now >= endsAt);

function converse(socket: TLSSocket): Promise<void> {
  return new Promise((resolve) => {
    let missing = answerBytes;
    let sentAt = performance.now();
    socket.removeAllListeners("error");
    socket.on("error", (error) => process.stderr.write(`${error.message}\n`));
    socket.on("close", () => {
      if (missing > 0 && !isOver(performance.now())) report.failed++;
      resolve();
    });
    socket.on("data", (bytes: Buffer) => {
      missing -= bytes.length;
      if (missing > 0) return;
      const now = performance.now();
      report.done++;
      if (report.times.length < ENOUGH_TIMES) report.times.push(now - sentAt);
      if (missing < 0 || isOver(now)) {
        if (missing < 0) report.failed++;
        socket.destroy();
        return;
      }
      missing = answerBytes;
      sentAt = now;
      socket.write(frame);
    });
    socket.write(frame);
  });
}

await Promise.all(sockets.map(converse));
report.seconds = (performance.now() - begun) / 1000;
report.bodyBytes = report.done * options.bytes * 2;
process.stdout.write(JSON.stringify(report));
