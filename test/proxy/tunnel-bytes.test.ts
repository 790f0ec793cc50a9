/**
 * Many tunnels at once, both ways, slow and fast ends: all their sockets are read into one buffer, and nothing is mixed up.
 */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { connect, createServer as createTlsServer } from "node:tls";
import { makeCa } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { startFront } from "../support/front-home.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";

const ASK = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: anything\r\n\r\n";
const SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: anything\r\n\r\n";
const PATIENT_MS = 60_000;

/** Bytes between two rests of a slow end, and the milliseconds of one: the kernel's buffers before it fill up. */
const BURST_BYTES = 400_000;
const REST_MS = 25;

/** Calls `take`, and lets `socket` rest after each burst when it is slow. */
function read(socket: Socket, isSlow: boolean, take: (bytes: Buffer) => void): void {
  let burst = 0;
  socket.on("data", (bytes: Buffer) => {
    take(bytes);
    burst += bytes.length;
    if (!isSlow || burst < BURST_BYTES) return;
    burst = 0;
    socket.pause();
    setTimeout(() => socket.resume(), REST_MS);
  });
}

/** Switches, and sends back what has come when it has all of it. */
function hold(socket: Socket, isSlow: boolean): void {
  socket.on("error", () => {});
  socket.once("data", () => {
    const all: Buffer[] = [];
    socket.write(SWITCH);
    read(socket, isSlow, (bytes) => void all.push(Buffer.from(bytes)));
    socket.on("end", () => socket.end(Buffer.concat(all)));
  });
}

async function listen(t: TestContext, server: Server, event: string, isSlow: boolean): Promise<number> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
  });
  server.on(event, (socket: Socket) => hold(socket, isSlow));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const TUNNELS: readonly {
  what: string;
  target: "http" | "https";
  isTargetSlow: boolean;
  isClientSlow: boolean;
  tunnels: number;
  bytes: number;
  /** Of one message; they are of odd sizes up to this. */
  most: number;
}[] = [
  {
    what: "megabytes to a plain target that is slow",
    target: "http",
    isTargetSlow: true,
    isClientSlow: false,
    tunnels: 3,
    bytes: 12_000_000,
    most: 100_003,
  },
  {
    what: "megabytes to slow clients",
    target: "http",
    isTargetSlow: false,
    isClientSlow: true,
    tunnels: 3,
    bytes: 12_000_000,
    most: 100_003,
  },
  {
    what: "small messages, many in each packet, to a target that speaks TLS",
    target: "https",
    isTargetSlow: false,
    isClientSlow: false,
    tunnels: 8,
    bytes: 100_000,
    most: 301,
  },
];

for (const { what, target, isTargetSlow, isClientSlow, tunnels, bytes, most } of TUNNELS) {
  test(`${tunnels} tunnels at once bring back what was sent: ${what}`, async (t) => {
    const { keyPem, certificatePem } = await (await makeCa()).issue({ names: ["target.test"] });
    const port =
      target === "http"
        ? await listen(t, createServer({ allowHalfOpen: true }), "connection", isTargetSlow)
        : await listen(
            t,
            createTlsServer({ allowHalfOpen: true, key: keyPem, cert: certificatePem }),
            "secureConnection",
            isTargetSlow,
          );
    const tls = { verify: false, roots: undefined, serverName: undefined };
    const timeouts = {
      connectMs: PATIENT_MS,
      firstByteMs: PATIENT_MS,
      idleMs: PATIENT_MS,
      tunnelIdleMs: PATIENT_MS,
    };
    const home = await startFront(t, [siteConfig("a.test", targetConfig(port, { kind: target, tls }), { timeouts })]);

    const converse = async (at: number): Promise<void> => {
      // Node passes it on to the connection; its types do not list it.
      const options = { port: home.httpsPort, host: "127.0.0.1", servername: "a.test", allowHalfOpen: true };
      const client = connect({ ...options, ca: home.ca.caPem, ALPNProtocols: ["http/1.1"] });
      client.on("error", () => {});
      t.after(() => client.destroy());
      client.write(ASK);
      let head = "";
      while (!head.includes("\r\n\r\n")) head += ((await once(client, "data")) as [Buffer])[0].toString("latin1");
      assert.equal(head.slice(head.indexOf("\r\n\r\n") + 4), "");
      const body = randomBytes(bytes);
      const back = createHash("sha256");
      read(client, isClientSlow, (piece) => void back.update(piece));
      const ended = once(client, "end");
      for (let from = 0, size = 1; from < body.length; from += size, size = (size * 7 + at) % most || 1) {
        if (!client.write(body.subarray(from, from + size))) await once(client, "drain");
      }
      client.end();
      await ended;
      assert.equal(back.digest("hex"), createHash("sha256").update(body).digest("hex"), `tunnel ${at}`);
    };
    await Promise.all(Array.from({ length: tunnels }, (_, at) => converse(at)));
    await eventually("nothing is open", () => home.front.openConnections() === 0, PATIENT_MS);
  });
}
