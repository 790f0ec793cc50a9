/**
 * Many at once: handshakes that never end, places that are all taken, names that nobody has.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { eventually } from "../support/eventually.ts";
import { type Attacker, assertServed, knock, NAME, startSiege } from "../support/siege.ts";
import { startTarget } from "../support/target.ts";

const HALF_HELLO = Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1]);
/** What the heap may grow to by work alone, and what the buffers of all attackers may hold. */
const MEMORY = 150_000_000;

/** What has to be closed, the visitor's own apart. */
async function emptied(openConnections: () => Promise<number>, within = 60_000): Promise<void> {
  const until = performance.now() + within;
  while ((await openConnections()) > 1) {
    assert.ok(performance.now() < until, "connections stay");
    await wait(100);
  }
}

test("S5 ten thousand half-open handshakes keep nobody out", { timeout: 120_000 }, async (t) => {
  const { port } = await startTarget(t, (_, res) => res.end("ok"));
  const siege = await startSiege(
    t,
    `limits: { handshakes: 64, handshakeTime: 10s, connectionsPerNeighbour: 1024 }\nsites: { ${NAME}: "127.0.0.1:${port}" }\n`,
  );
  const { gatehouse, visits, limit } = siege;
  const [since, before] = [visits.length, await gatehouse.rss()];
  const open: Attacker[] = [];
  for (let count = 0; count < 10_000; count++) {
    const attacker = await knock(t, { port: gatehouse.httpsPort, from: `127.0.1.${1 + (count % 20)}` });
    attacker.send(HALF_HELLO);
    open.push(attacker);
    // No more of them than this machine may have open; those sent away are closed already.
    if (open.length > 500) open.shift()?.raw.destroy();
  }
  const served = visits.length;
  for (const { raw } of open) raw.destroy();
  assert.ok(served - since >= 3, `${served - since} visits meanwhile`);
  assertServed(siege, since);
  assert.ok((await limit("handshakes")) > 0);
  await emptied(siege.openConnections);
  const grown = (await gatehouse.rss()) - before;
  assert.ok(grown < MEMORY, `${grown} bytes more than before`);
  const said = gatehouse.lines.filter(({ event, level }) => event !== "access" && level >= 30);
  assert.ok(said.length < 20, `${said.length} lines`);
});

test(
  "S8 when kept connections take every place, the next visitor is served and a tunnel lives",
  { timeout: 120_000 },
  async (t) => {
    const { port, server } = await startTarget(t, (_, res) => res.end("ok"));
    server.on("upgrade", (_, socket) => {
      socket.on("error", () => {});
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
      socket.pipe(socket);
    });
    const siege = await startSiege(
      t,
      `limits: { connections: 48, connectionsPerNeighbour: 48, idleTime: 1m, tunnels: 2 }\nsites: { ${NAME}: "127.0.0.1:${port}" }\n`,
    );
    const { gatehouse, visits } = siege;
    const dig = async (): Promise<Attacker> => {
      const tunnel = await knock(t, { port: gatehouse.httpsPort, isTls: true, from: "127.0.2.1" });
      tunnel.send(
        `GET /ws HTTP/1.1\r\nHost: ${NAME}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
          "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
      );
      while (!tunnel.received().includes("\r\n\r\n")) await wait(20);
      return tunnel;
    };
    const tunnels = [await dig(), await dig()];
    assert.match((await dig()).received(), /^HTTP\/1\.1 503 [^]*retry-after/i);
    assert.equal(await siege.limit("tunnels"), 1);
    const [since, memory] = [visits.length, await gatehouse.rss()];
    for (let count = 0; count < 120; count++) {
      const kept = await knock(t, { port: gatehouse.httpsPort, isTls: true, from: `127.0.3.${1 + (count % 4)}` });
      kept.send(`GET /ok HTTP/1.1\r\nHost: ${NAME}\r\n\r\n`);
    }
    while (visits.length < since + 5) await wait(50);
    assertServed(siege, since);
    assert.ok((await siege.metric("gatehouse_connections_rejected_total", { reason: "shed" })) > 0);
    for (const tunnel of tunnels) {
      const before = tunnel.bytes();
      tunnel.send("still here");
      while (tunnel.bytes() === before) await wait(20);
      assert.ok(!tunnel.isClosed());
    }
    const grown = (await gatehouse.rss()) - memory;
    assert.ok(grown < MEMORY, `${grown} bytes more than before`);
    const said = gatehouse.lines.filter(({ event, level }) => event !== "access" && level >= 30);
    assert.ok(said.length < 20, said.map((line) => JSON.stringify(line)).join("\n"));
  },
);

test("S28 S29 names that nobody has leave no series and no memory behind", { timeout: 120_000 }, async (t) => {
  const { port } = await startTarget(t, (_, res) => res.end("ok"));
  const siege = await startSiege(t, `sites: { ${NAME}: "127.0.0.1:${port}" }\n`);
  const { gatehouse } = siege;
  const series = async (): Promise<number> => {
    const answer = await fetch(`http://127.0.0.1:${gatehouse.metricsPort}/metrics`);
    return (await answer.text()).split("\n").filter((line) => line.startsWith("gatehouse_http_requests_total")).length;
  };
  const ask = async (count: number): Promise<void> => {
    const client = await knock(t, { port: gatehouse.httpPort });
    const one = (at: number) =>
      `${at % 2 === 0 ? "GET" : "PROPFIND"} /${at} HTTP/1.1\r\nHost: ${at}-${Math.random()}.test\r\nUser-Agent: \x1b[2J${"x".repeat(2_000)}\r\n`;
    for (let at = 0; at < count; at++) {
      const before = client.bytes();
      client.send(`${one(at)}\r\n`);
      while (client.bytes() === before && !client.isClosed()) await wait(1);
      if (client.isClosed()) break;
    }
    client.raw.destroy();
  };
  await ask(20);
  const [since, memory, before] = [siege.visits.length, await gatehouse.rss(), await series()];
  for (let round = 0; round < 10; round++) await ask(90);
  assert.ok((await series()) <= before, "a label came from a stranger");
  await eventually("somebody came meanwhile", () => siege.visits.length > since, 60_000);
  assertServed(siege, since);
  const grown = (await gatehouse.rss()) - memory;
  assert.ok(grown < MEMORY, `${grown} bytes more than before`);
  await emptied(siege.openConnections);
  const said = gatehouse.lines.filter(({ event, level }) => event !== "access" && level >= 30);
  assert.ok(said.length < 20, said.map((line) => JSON.stringify(line)).join("\n"));
  const lines = gatehouse.lines.filter(({ event }) => event === "access");
  for (const line of lines) assert.ok(JSON.stringify(line).length < 2_000, "a long line");
});

test("S32 handshakes for names that nobody has order no certificate", { timeout: 120_000 }, async (t) => {
  const { port } = await startTarget(t, (_, res) => res.end("ok"));
  // The star is served, but not by whatever name a stranger makes up below it.
  const guests = `"*.guests.localhost": { to: demo, onDemand: { match: ["known-*"], perHour: 5 } }`;
  const siege = await startSiege(t, `sites: { ${NAME}: "127.0.0.1:${port}", ${guests} }\n`);
  const { gatehouse } = siege;
  // Below a star a certificate might have been on its way.
  const refused = async (): Promise<number> => {
    let all = 0;
    for (const outcome of ["refused", "pending"])
      all += await siege.metric("gatehouse_tls_handshakes_total", { outcome });
    return all;
  };
  const [since, memory, before] = [siege.visits.length, await gatehouse.rss(), await refused()];
  const issued = () => gatehouse.lines.filter(({ event }) => event === "certificate.issued").length;
  const certificates = issued();
  const NAMES = 300;
  for (let count = 0; count < NAMES; count++) {
    const name = `n${count}.${count % 2 === 0 ? "guests.localhost" : "example.org"}`;
    const attacker = await knock(t, { port: gatehouse.httpsPort, isTls: true, name });
    assert.ok(attacker.isClosed() || !attacker.socket.writable, `${name} was served`);
    attacker.raw.destroy();
  }
  assert.ok((await refused()) - before >= NAMES, `${await refused()} were refused`);
  await eventually("somebody came meanwhile", () => siege.visits.length > since, 60_000);
  assertServed(siege, since);
  assert.equal(issued(), certificates);
  const grown = (await gatehouse.rss()) - memory;
  assert.ok(grown < MEMORY, `${grown} bytes more than before`);
  await emptied(siege.openConnections);
  const said = gatehouse.lines.filter(({ event, level }) => event !== "access" && level >= 30);
  assert.ok(said.length < 20, said.map((line) => JSON.stringify(line)).join("\n"));
});
