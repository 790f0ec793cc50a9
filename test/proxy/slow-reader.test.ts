/**
 * Bytes for a TLS client that reads slowly: the memory a target's bytes are read into is used again, and none may change
 * on the way.
 */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { createServer, type AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { startFront } from "../support/front-home.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { startTarget } from "../support/target.ts";
import { secureClient } from "../support/tls-client.ts";

const BODY = randomBytes(50_000_000);
/** What the client reads before it rests; no divisor of a TLS record or of a read from the target. */
const BURST = 1_234_567;
const REST_MS = 2;
/** Without room for so long, the client's silence has reached the target. */
const STALLED_MS = 300;

const hash = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

type Framing = "length" | "chunked" | "close";

/** A target that sends BODY in pieces of uneven size; `stalled` resolves when it has to wait. */
async function target(t: TestContext, framing: Framing): Promise<{ port: number; stalled: Promise<number> }> {
  let sent = 0;
  let tell: (sent: number) => void = () => {};
  const stalled = new Promise<number>((resolve) => (tell = resolve));
  const send = async (to: Pick<ServerResponse, "write" | "end" | "once">): Promise<void> => {
    for (let size = 1; sent < BODY.length; size = (size * 3 + 1) % 200_003) {
      const piece = BODY.subarray(sent, sent + size + 1);
      sent += piece.length;
      if (to.write(piece)) continue;
      const timer = setTimeout(() => tell(sent), STALLED_MS);
      await once(to as ServerResponse, "drain");
      clearTimeout(timer);
    }
    to.end();
  };
  if (framing !== "close") {
    const { port } = await startTarget(t, (_, res) => {
      res.writeHead(200, framing === "length" ? { "content-length": String(BODY.length) } : {});
      void send(res);
    });
    return { port, stalled };
  }
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      void send(socket as unknown as ServerResponse);
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => void server.close());
  return { port: (server.address() as AddressInfo).port, stalled };
}

function unchunked(bytes: Buffer): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; ;) {
    const lineEnd = bytes.indexOf("\r\n", at);
    const size = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
    assert.ok(size >= 0, "a chunk has a size");
    if (size === 0) return Buffer.concat(pieces);
    pieces.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size));
    at = lineEnd + 2 + size + 2;
  }
}

for (const framing of ["length", "chunked", "close"] as const) {
  test(`50 MB (${framing}) reach a TLS client that reads in bursts unbroken`, async (t) => {
    const { port, stalled } = await target(t, framing);
    const home = await startFront(t, [siteConfig("a.test", targetConfig(port))]);
    const client = await secureClient(t, { port: home.httpsPort, servername: "a.test", ca: home.ca.caPem });
    client.pause();
    client.write("GET /big HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    assert.ok((await stalled) < BODY.length, "the target waits while the client does not read");
    const pieces: Buffer[] = [];
    let burst = 0;
    client.on("data", (piece: Buffer) => {
      pieces.push(piece);
      burst += piece.length;
      if (burst < BURST) return;
      burst = 0;
      client.pause();
      setTimeout(() => client.resume(), REST_MS);
    });
    client.resume();
    await once(client, "end");
    const all = Buffer.concat(pieces);
    const headEnd = all.indexOf("\r\n\r\n") + 4;
    const body = all.subarray(headEnd);
    assert.equal(hash(framing === "length" ? body : unchunked(body)), hash(BODY));
  });
}
