/**
 * The least that a Node program between TLS and a target has to do: bytes to and fro, unread.
 * Owns: nothing but itself; started as a process by bare-node.ts.
 * Never: reads a request, checks, bounds, counts or logs anything. What it costs is Node's own price.
 */
import { readFileSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { createServer } from "node:tls";
import { createYoungGarbage } from "../../src/core/young-garbage.ts";
import { SharedReading } from "../../src/proxy/lanes/fast/shared-reading.ts";

const [port = "", targetPort = "", keyFile = "", chainFile = ""] = process.argv.slice(2);
// Without it Node makes a buffer for each read, and a floor would be no floor.
const reading = new SharedReading(createYoungGarbage());

const server = createServer({
  key: readFileSync(keyFile),
  cert: readFileSync(chainFile),
  ALPNProtocols: ["http/1.1"],
  noDelay: true,
});
server.on("secureConnection", (client) => {
  let target: Socket | undefined;
  client.on("error", () => {});
  client.on("drain", () => target?.resume());
  client.on("close", () => target?.destroy());

  const dial = (): Socket => {
    const socket = createConnection({ port: Number(targetPort), host: "127.0.0.1", noDelay: true });
    socket.on("error", () => {});
    socket.on("drain", () => client.resume());
    socket.on("close", () => client.destroy());
    socket.once("connect", () => {
      reading.start(socket, (bytes) => {
        // With nothing before it, OpenSSL has taken it when `write` returns.
        if (!client.write(client.writableLength === 0 ? bytes : reading.keep(bytes, client))) socket.pause();
      });
    });
    return socket;
  };

  reading.start(client, (bytes) => {
    // Not before there is something to say: a handshake alone is not charged with a connection to the target.
    target ??= dial();
    if (!target.write(reading.keep(bytes, target))) client.pause();
  });
});
server.listen(Number(port), "127.0.0.1");
