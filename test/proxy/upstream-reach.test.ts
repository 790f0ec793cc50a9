/**
 * How the upstream engine comes to a target: names that move, several addresses, TLS, unix sockets, and what each failure
 * is called.
 */
import assert from "node:assert/strict";
import dns from "node:dns";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { createServer } from "node:net";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import type { TargetConfig } from "../../src/config/model.ts";
import { ask, startPool } from "../support/asking.ts";
import { makeCa } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { temporaryFolder } from "../support/gatehouse.ts";
import { targetConfig } from "../support/proxy-lane.ts";
import { startRawTarget } from "../support/raw-target.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LAST = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
const answers =
  (text: string) =>
  (heard: string, socket: { write(text: string): unknown }): void => {
    if (heard.endsWith("\r\n\r\n")) socket.write(text);
  };

/** What the resolver says from now on; counts how often it was asked. */
function resolveTo(t: TestContext, book: { addresses: string[] }): { asked(): number } {
  let asked = 0;
  const lookup = (_name: string, options: { all?: boolean }, done: (...given: unknown[]) => void): void => {
    asked++;
    const found = book.addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
    setImmediate(() => {
      const [first] = found;
      if (first === undefined) done(Object.assign(new Error("getaddrinfo ENOTFOUND"), { code: "ENOTFOUND" }));
      else if (options.all === true) done(null, found);
      else done(null, first.address, first.family);
    });
  };
  t.mock.method(dns, "lookup", lookup as unknown as typeof dns.lookup);
  return { asked: () => asked };
}

const named = (port: number, changes: Partial<TargetConfig> = {}): TargetConfig =>
  targetConfig(port, { host: "moving.test", ...changes });

test("a name is looked up for each new connection, so a target that moves is found without a restart", async (t) => {
  const before = await startRawTarget(t, answers(LAST), { host: "127.0.0.1" });
  const after = await startRawTarget(t, answers(LAST), { host: "127.0.0.2", port: before.port });
  const book = { addresses: ["127.0.0.1"] };
  const resolver = resolveTo(t, book);
  const pool = startPool(t);
  assert.equal(await ask(pool, named(before.port)).outcome(), "end");
  book.addresses = ["127.0.0.2"];
  assert.equal(await ask(pool, named(before.port)).outcome(), "end");
  assert.deepEqual([before.heard.length, after.heard.length], [1, 1]);
  assert.equal(resolver.asked(), 2);
  book.addresses = [];
  assert.equal(await ask(pool, named(before.port)).outcome(), "GATEHOUSE_UPSTREAM_REFUSED");
});

test("a kept connection to the old address serves on, and needs no resolver", async (t) => {
  const target = await startRawTarget(t, answers(OK));
  const book = { addresses: ["127.0.0.1"] };
  const resolver = resolveTo(t, book);
  const pool = startPool(t);
  for (let count = 0; count < 5; count++) assert.equal(await ask(pool, named(target.port)).outcome(), "end");
  assert.equal(resolver.asked(), 1);
  assert.equal(target.heard.length, 1);
});

test("of several addresses the one that answers is used, wherever in the list it stands (RFC 8305)", async (t) => {
  const target = await startRawTarget(t, answers(LAST), { host: "127.0.0.3" });
  const book = { addresses: [] as string[] };
  resolveTo(t, book);
  for (const addresses of [
    ["127.0.0.3", "127.0.0.4"],
    ["127.0.0.4", "127.0.0.3"],
    ["::1", "127.0.0.4", "127.0.0.3"],
  ]) {
    book.addresses = addresses;
    assert.equal(await ask(startPool(t), named(target.port)).outcome(), "end", addresses.join());
  }
  book.addresses = ["::1", "127.0.0.4"];
  assert.equal(await ask(startPool(t), named(target.port)).outcome(), "GATEHOUSE_UPSTREAM_REFUSED");
});

test("a resolver that never answers costs its own requests their time to connect, and nobody else's", async (t) => {
  const target = await startRawTarget(t, answers(OK));
  t.mock.method(dns, "lookup", (() => {}) as unknown as typeof dns.lookup);
  const pool = startPool(t);
  const stuck = ask(pool, named(target.port), { timeouts: { connectMs: 50 } });
  assert.equal(await ask(pool, targetConfig(target.port)).outcome(), "end");
  assert.equal(await stuck.outcome(), "GATEHOUSE_UPSTREAM_SLOW");
  assert.deepEqual(stuck.error?.detail, { phase: "connect" });
});

async function closedPort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

const https = (port: number, tls: Partial<TargetConfig["tls"]>): TargetConfig =>
  targetConfig(port, { kind: "https", tls: { verify: true, roots: undefined, serverName: undefined, ...tls } });

test("who cannot be reached is told apart: refused, gone, silent in TLS, no TLS, not trusted", async (t) => {
  const folder = await temporaryFolder(t);
  const mute = await startRawTarget(t, () => {});
  const plain = await startRawTarget(t, (_, socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
  const ca = await makeCa();
  const { keyPem, chainPem } = await ca.issue({ names: ["other.test"] });
  const other = await startRawTarget(t, answers(OK), { tls: { key: keyPem, cert: chainPem } });
  const hangsUp = await startRawTarget(t, (_, socket) => socket.destroy());
  const pool = startPool(t);
  for (const [what, target, code] of [
    ["a closed port", targetConfig(await closedPort()), "GATEHOUSE_UPSTREAM_REFUSED"],
    [
      "no unix socket",
      targetConfig(0, { kind: "unix", host: "", path: join(folder, "none") }),
      "GATEHOUSE_UPSTREAM_REFUSED",
    ],
    ["silence in the handshake", https(mute.port, {}), "GATEHOUSE_UPSTREAM_SLOW"],
    ["no TLS there", https(plain.port, {}), "GATEHOUSE_UPSTREAM_TLS"],
    ["hung up in the handshake", https(hangsUp.port, {}), "GATEHOUSE_UPSTREAM_TLS"],
    ["a CA nobody knows", https(other.port, {}), "GATEHOUSE_UPSTREAM_TLS"],
    ["another name", https(other.port, { roots: ca.caPem }), "GATEHOUSE_UPSTREAM_TLS"],
  ] as const) {
    const timeouts = what === "silence in the handshake" ? { connectMs: 50 } : {};
    const asked = ask(pool, target, { timeouts });
    assert.equal(await asked.outcome(), code, what);
    assert.ok(!asked.events.includes("connected"), what);
  }
  await eventually("nothing stays open", () => pool.openSockets() === 0);
  assert.equal(await ask(pool, https(other.port, { roots: ca.caPem, serverName: "other.test" })).outcome(), "end");
  assert.equal(await ask(pool, https(other.port, { verify: false })).outcome(), "end");
});

test("TLS sessions are taken up again, until the target has another key; that costs a handshake and no request", async (t) => {
  const ca = await makeCa();
  const names = ["127.0.0.1"];
  const [first, second] = [await ca.issue({ names }), await ca.issue({ names })];
  const reused: boolean[] = [];
  const start = (issued: typeof first, port = 0) =>
    startRawTarget(t, answers(LAST), {
      port,
      tls: { key: issued.keyPem, cert: issued.chainPem },
      connected: (socket) => reused.push((socket as import("node:tls").TLSSocket).isSessionReused()),
    });
  const before = await start(first);
  const pool = startPool(t);
  const to = https(before.port, { roots: ca.caPem });
  for (let count = 0; count < 3; count++) assert.equal(await ask(pool, to).outcome(), "end");
  assert.deepEqual(reused, [false, true, true]);
  // The same machine with another key, on another port: another target, so no session of the first one.
  const after = await start(second);
  assert.equal(await ask(pool, https(after.port, { roots: ca.caPem })).outcome(), "end");
  assert.equal(reused.at(-1), false);
});

test("a unix socket is a target like any other, and one that comes back is found", async (t) => {
  const path = join(await temporaryFolder(t), "target.sock");
  const to = targetConfig(0, { kind: "unix", host: "", path });
  const pool = startPool(t);
  assert.equal(await ask(pool, to).outcome(), "GATEHOUSE_UPSTREAM_REFUSED");
  const target = await startRawTarget(t, answers(OK), { path });
  for (let count = 0; count < 3; count++) assert.equal(await ask(pool, to).outcome(), "end");
  assert.equal(target.heard.length, 1, "one connection");
  await rm(path);
  target.sockets[0]?.destroy();
  await eventually("it is gone", () => pool.openSockets() === 0);
  assert.equal(await ask(pool, to).outcome(), "GATEHOUSE_UPSTREAM_REFUSED");
});

test("the sample page inside is asked like a machine", async (t) => {
  const asked = ask(startPool(t), targetConfig(0, { kind: "demo" }), { path: "/api/echo" });
  assert.equal(await asked.outcome(), "end");
  assert.equal(asked.status, 200);
});
