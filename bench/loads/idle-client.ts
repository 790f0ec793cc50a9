/**
 * Opens connections, does one request on each, then holds them; a program of its own.
 * Owns: a line with their number when all are open, and one with how many still are when its input ends.
 * Never: opens more than a few at a time; no bound on handshakes is what is measured here.
 */
import { connect, createSecureContext, type TLSSocket } from "node:tls";
import type { IdleTask } from "../idle.ts";

const { port, host, connections } = JSON.parse(process.argv[2] ?? "") as IdleTask;
const AT_ONCE = 16;
const SLOW_MS = 10_000;

const secureContext = createSecureContext({ minVersion: "TLSv1.3", ecdhCurve: "X25519" });
const open: TLSSocket[] = [];

function one(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: "127.0.0.1",
      port,
      servername: host,
      ALPNProtocols: ["http/1.1"],
      secureContext,
      rejectUnauthorized: false,
    });
    const timer = setTimeout(() => socket.destroy(new Error("slow")), SLOW_MS);
    let missing = -1;
    socket.on("error", reject);
    socket.on("data", (bytes: Buffer) => {
      const end = bytes.indexOf("\r\n\r\n");
      missing = missing === -1 && end !== -1 ? 1024 - (bytes.length - end - 4) : missing - bytes.length;
      if (missing !== 0) return;
      clearTimeout(timer);
      open.push(socket);
      resolve();
    });
    socket.write(`GET /bytes/1024 HTTP/1.1\r\nHost: ${host}\r\nAccept: */*\r\n\r\n`);
  });
}

let begun = 0;
async function openSome(): Promise<void> {
  while (begun++ < connections) await one();
}
await Promise.all(Array.from({ length: AT_ONCE }, openSome));
process.stdout.write(`${open.length}\n`);

process.stdin.resume();
process.stdin.on("end", () => {
  process.stdout.write(`${open.filter((socket) => !socket.destroyed && !socket.readableEnded).length}\n`, () =>
    process.exit(0),
  );
});
