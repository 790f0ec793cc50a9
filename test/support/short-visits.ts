/**
 * A process that makes TLS connections and ends each after its handshake: node short-visits.ts PORT SERVERNAME COUNT
 * Owns: eight at a time. In a process of its own, because what sockets leave behind is what the test measures.
 */
import { connect } from "node:tls";

const [port = "", servername = "", count = ""] = process.argv.slice(2);
let left = Number(count);
let failed = 0;

function visit(): void {
  if (left-- <= 0) return;
  const socket = connect({ host: "127.0.0.1", port: Number(port), servername, rejectUnauthorized: false }, () =>
    socket.end(),
  );
  socket.on("error", () => failed++);
  socket.on("close", visit);
  socket.resume();
}

for (let at = 0; at < 8; at++) visit();
process.on("exit", () => {
  if (failed > 0) process.exitCode = 1;
});
