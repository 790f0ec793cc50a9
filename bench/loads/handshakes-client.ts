/**
 * One TLS 1.3 handshake after the other, full or resumed; a program of its own.
 * Owns: X25519 and one suite for all rivals: not every one of them has the post-quantum group that Gatehouse prefers.
 * Never: counts a full handshake as a resumed one.
 *
 * After its last message the client says goodbye and waits until the server has closed: then the server has done all of
 * its part, too. The first ticket serves for all resumptions, since not every server sends a new one with each.
 */
import { createSecureContext, connect } from "node:tls";
import type { HandshakeOptions } from "./handshakes.ts";
import type { ClientReport, ClientTask } from "./own-client.ts";

const { port, host, amount, options } = JSON.parse(process.argv[2] ?? "") as ClientTask<HandshakeOptions>;
const SLOW_MS = 10_000;

const secureContext = createSecureContext({
  minVersion: "TLSv1.3",
  ciphers: "TLS_AES_128_GCM_SHA256",
  ecdhCurve: "X25519",
});

let session: Buffer | undefined;

/** Resolves to the milliseconds it took the client, or to what went wrong. */
function shake(wantsResumed: boolean, staysForTicket = false): Promise<number | string> {
  return new Promise((resolve) => {
    const begun = performance.now();
    let result: number | string = "closed in the handshake";
    const socket = connect({
      host: "127.0.0.1",
      port,
      servername: host,
      ALPNProtocols: ["http/1.1"],
      secureContext,
      // The certificate is the bench's own and checking it is the client's cost, not the proxy's.
      rejectUnauthorized: false,
      ...(wantsResumed && session !== undefined ? { session } : {}),
    });
    socket.setTimeout(SLOW_MS, () => socket.destroy(new Error("slow")));
    socket.on("secureConnect", () => {
      if (socket.isSessionReused() === wantsResumed) result = performance.now() - begun;
      else result = wantsResumed ? "was not resumed" : "was resumed";
      if (!staysForTicket) socket.end();
    });
    socket.on("session", (ticket: Buffer) => {
      session ??= ticket;
      if (staysForTicket) socket.end();
    });
    socket.on("data", () => {});
    socket.on("error", (error) => (result = error.message));
    socket.on("close", () => resolve(result));
  });
}

const report: ClientReport = { done: 0, failed: 0, seconds: 0, bodyBytes: 0, times: [] };
if (options.isResumed) await shake(false, true);
const begun = performance.now();
const isOver = (): boolean =>
  "count" in amount ? report.done + report.failed >= amount.count : performance.now() - begun >= amount.seconds * 1000;

async function one(): Promise<void> {
  while (!isOver()) {
    const result = await shake(options.isResumed);
    if (typeof result === "number") {
      report.done++;
      report.times.push(result);
    } else if (report.failed++ === 0) {
      process.stderr.write(`${result}\n`);
    }
  }
}

await Promise.all(Array.from({ length: options.connections }, one));
report.seconds = (performance.now() - begun) / 1000;
process.stdout.write(JSON.stringify(report));
