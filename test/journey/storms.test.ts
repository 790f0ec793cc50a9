/**
 * People close tabs: whatever is aborted leaves nothing open.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { request as httpsRequest } from "node:https";
import { connect as connectH2 } from "node:http2";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { connect } from "node:tls";
import { configText, startGatehouse, temporaryFolder, type RunningGatehouse } from "../support/gatehouse.ts";
import { sendBytes, startTarget } from "../support/target.ts";

const NAME = "home.localhost";

/** Polls until the count is back at the baseline: closing is the kernel's and the peer's business, there is no event for it. */
async function settles(count: () => Promise<number>, baseline: number): Promise<number> {
  let now = await count();
  for (let tries = 0; now > baseline && tries < 300; tries++) {
    await wait(100);
    now = await count();
  }
  return now;
}

async function inParallel(total: number, width: number, work: () => Promise<void>): Promise<void> {
  let left = total;
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (left-- > 0) await work();
    }),
  );
}

async function started(
  t: import("node:test").TestContext,
): Promise<{ gatehouse: RunningGatehouse; ca: Buffer; sockets: () => Promise<number> }> {
  const folder = await temporaryFolder(t);
  // Most stop in the middle; one in five fills every buffer on the way, which costs gigabytes of TLS if all of them do.
  let asked = 0;
  const target = await startTarget(t, (_, res) => {
    if (asked++ % 5 === 0) sendBytes(res, 50_000_000);
    else res.writeHead(200, { "content-length": "50000000" }).write(Buffer.alloc(100_000));
  });
  // Accepts the upgrade only after a moment, so that aborts fall on both sides of the answer.
  target.server.on("upgrade", (_, socket) => {
    socket.on("error", () => {});
    // As a WebSocket server does: whoever is left alone leaves.
    socket.on("end", () => socket.end());
    socket.resume();
    setImmediate(() =>
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    );
  });
  const gatehouse = await startGatehouse(t, {
    folder,
    config: configText(folder, `log: { access: false }\nsites: { ${NAME}: "127.0.0.1:${target.port}" }`),
  });
  await gatehouse.line("certificate.issued");
  const connections = () =>
    new Promise<number>((resolve, reject) =>
      target.server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
    );
  return {
    gatehouse,
    ca: await readFile(join(folder, "state/ca/local/root.pem")),
    sockets: async () => (await gatehouse.openFiles()) + (await connections()),
  };
}

test("10,000 aborted downloads leave the count of open sockets where it was", { timeout: 240_000 }, async (t) => {
  const { gatehouse, ca, sockets } = await started(t);
  const baseline = await sockets();
  // Half over h2 streams, half over h1 connections of their own.
  await inParallel(200, 1, async () => {
    const one = connectH2(`https://127.0.0.1:${gatehouse.httpsPort}`, { servername: NAME, ca });
    one.on("error", () => {});
    await inParallel(25, 5, async () => {
      const stream = one.request({ ":path": "/", ":authority": NAME });
      stream.on("error", () => {});
      await once(stream, "response");
      stream.close(8);
      await once(stream, "close");
    });
    one.destroy();
  });
  await inParallel(5_000, 16, async () => {
    const req = httpsRequest({
      port: gatehouse.httpsPort,
      host: "127.0.0.1",
      servername: NAME,
      headers: { host: NAME },
      ca,
      agent: false,
    });
    req.on("error", () => {});
    req.end();
    await once(req, "response");
    req.destroy();
  });
  assert.ok((await settles(sockets, baseline)) <= baseline, `open: ${await sockets()}, before: ${baseline}`);
});

test("2,000 aborted upgrades leave the count of open sockets where it was", { timeout: 120_000 }, async (t) => {
  const { gatehouse, ca, sockets } = await started(t);
  const baseline = await sockets();
  let round = 0;
  await inParallel(2_000, 16, async () => {
    const mine = round++;
    // The TCP socket in hand, because only it can go without a close_notify.
    const raw = connectTcp(gatehouse.httpsPort, "127.0.0.1");
    raw.on("error", () => {});
    const socket = connect({ socket: raw, servername: NAME, ca, ALPNProtocols: ["http/1.1"] });
    socket.on("error", () => {});
    await once(socket, "secureConnect");
    socket.write(
      `GET /ws HTTP/1.1\r\nHost: ${NAME}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    );
    // A third leaves before the answer, a third at it, a third without a word of TLS (a reset, when an answer is unread).
    if (mine % 3 === 1) await once(socket, "data");
    if (mine % 3 === 2) raw.destroy();
    else socket.destroy();
  });
  assert.ok((await settles(sockets, baseline)) <= baseline, `open: ${await sockets()}, before: ${baseline}`);
});
