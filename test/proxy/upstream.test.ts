/**
 * Reaching targets: plain, TLS with each choice of trust, unix socket, the demo; and giving connections back.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { TLSSocket } from "node:tls";
import type { TargetConfig } from "../../src/config/model.ts";
import { isGatehouseError } from "../../src/core/errors.ts";
import { makeCa } from "../support/certificates.ts";
import { temporaryFolder } from "../support/gatehouse.ts";
import { eventually } from "../support/eventually.ts";
import { laneContext, proxyConfig, siteConfig, startLane, targetConfig } from "../support/proxy-lane.ts";
import { ask } from "../support/raw-client.ts";
import { startTarget } from "../support/target.ts";

interface TlsTarget {
  port: number;
  caPem: string;
  /** Per connection: the name the client asked for, and whether its session was resumed. */
  seen: { serverName: string | false; isReused: boolean }[];
}

async function startTlsTarget(t: TestContext, names: readonly string[], keepAlive = true): Promise<TlsTarget> {
  const ca = await makeCa();
  const { keyPem, chainPem } = await ca.issue({ names });
  const seen: TlsTarget["seen"] = [];
  const server = createHttpsServer({ key: keyPem, cert: chainPem }, (_, res) => {
    if (!keepAlive) res.setHeader("connection", "close");
    res.end("inside");
  });
  server.on("secureConnection", (socket: TLSSocket) => {
    seen.push({ serverName: socket.servername ?? false, isReused: socket.isSessionReused() });
  });
  server.on("tlsClientError", () => {});
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, caPem: ca.caPem, seen };
}

const https = (port: number, tls: Partial<TargetConfig["tls"]>): TargetConfig =>
  targetConfig(port, { kind: "https", tls: { verify: true, roots: undefined, serverName: undefined, ...tls } });

for (const [name, names, tls, status] of [
  ["a certificate of an unknown CA is refused", ["127.0.0.1"], () => ({}), 502],
  ["verify: false takes any certificate", ["other.test"], () => ({ verify: false }), 200],
  ["its own roots make an address's certificate good", ["127.0.0.1"], (roots: string) => ({ roots }), 200],
  ["a certificate for another name is refused", ["other.test"], (roots: string) => ({ roots }), 502],
  [
    "serverName is what is asked for and verified",
    ["other.test"],
    (roots: string) => ({ roots, serverName: "other.test" }),
    200,
  ],
] as [string, string[], (roots: string) => Partial<TargetConfig["tls"]>, number][]) {
  test(`TLS to a target: ${name}`, async (t) => {
    const target = await startTlsTarget(t, names);
    const choice = tls(target.caPem);
    const { port, recorded, upstream } = await startLane(
      t,
      proxyConfig([siteConfig("a.test", https(target.port, choice))]),
    );
    const answer = await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test");
    assert.equal(answer.status, status);
    assert.equal(recorded.access[0]?.error, status === 200 ? undefined : "GATEHOUSE_UPSTREAM_TLS");
    assert.deepEqual(recorded.upstreamErrors, status === 200 ? [] : ["tls"]);
    if (status === 200) assert.equal(target.seen[0]?.serverName, choice.serverName ?? false);
    else assert.equal(upstream.openSockets(), 0);
  });
}

test("a second connection to a TLS target resumes the first one's session", async (t) => {
  const target = await startTlsTarget(t, ["127.0.0.1"], false);
  const { port } = await startLane(t, proxyConfig([siteConfig("a.test", https(target.port, { roots: target.caPem }))]));
  for (let at = 0; at < 3; at++) assert.equal((await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test")).status, 200);
  assert.deepEqual(target.seen.map(({ isReused }) => isReused).slice(1), [true, true]);
});

test("HTTPS spoken to a plain port is a TLS failure, not a mystery", async (t) => {
  const target = await startTarget(t, (_, res) => res.end());
  const { port, recorded } = await startLane(
    t,
    proxyConfig([siteConfig("a.test", https(target.port, { verify: false }))]),
  );
  assert.equal((await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test")).status, 502);
  assert.equal(recorded.access[0]?.error, "GATEHOUSE_UPSTREAM_TLS");
});

test("a target can be a unix socket", async (t) => {
  const path = join(await temporaryFolder(t), "target.sock");
  const server = createHttpServer((req, res) => res.end(`unix ${req.headers.host}`));
  server.listen(path);
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const target = targetConfig(0, { kind: "unix", host: "", path });
  const { port } = await startLane(t, proxyConfig([siteConfig("a.test", target)]));
  for (let at = 0; at < 2; at++)
    assert.equal((await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test")).body, "unix a.test");
});

test("a connection for a tunnel says why it could not be made", async (t) => {
  const { upstream } = laneContext(t, proxyConfig([]));
  const options = (withinMs: number, signal = new AbortController().signal) => ({ withinMs, signal });
  const mute = createServer((socket) => void socket.on("error", () => {}));
  mute.listen(0, "127.0.0.1");
  await once(mute, "listening");
  t.after(() => mute.close());
  const { port } = mute.address() as AddressInfo;

  const socket = await upstream.connect(targetConfig(port), options(1_000));
  assert.equal(upstream.openSockets(), 1);
  socket.destroy();
  await once(socket, "close");
  const isCode = (code: Parameters<typeof isGatehouseError>[1]) => (error: unknown) => isGatehouseError(error, code);
  await assert.rejects(upstream.connect(targetConfig(9), options(1_000)), isCode("GATEHOUSE_UPSTREAM_REFUSED"));
  await assert.rejects(upstream.connect(https(port, {}), options(100)), isCode("GATEHOUSE_UPSTREAM_SLOW"));
  const leaving = new AbortController();
  const pending = upstream.connect(https(port, {}), options(5_000, leaving.signal));
  leaving.abort();
  await assert.rejects(pending, isCode("GATEHOUSE_CLIENT_GONE"));
  const tls = await startTlsTarget(t, ["other.test"]);
  await assert.rejects(upstream.connect(https(tls.port, {}), options(1_000)), isCode("GATEHOUSE_UPSTREAM_TLS"));
  const demo = await upstream.connect(targetConfig(0, { kind: "demo" }), options(1_000));
  demo.write("GET /api/echo HTTP/1.1\r\nHost: a.test\r\n\r\n");
  const [first] = (await once(demo, "data")) as [Buffer];
  assert.match(first.toString(), /^HTTP\/1\.1 200 /);
  demo.destroy();
  await eventually("closed", () => upstream.openSockets() <= 0);
});

test("close ends idle connections at once and busy ones with their answer", async (t) => {
  let finish: (() => void) | undefined;
  const target = await startTarget(t, (req, res) => {
    if (req.url === "/slow") finish = () => res.end("done");
    else res.end("quick");
  });
  const { port, upstream } = await startLane(t, proxyConfig([siteConfig("a.test", targetConfig(target.port))]));
  const slow = ask(t, port, "GET /slow HTTP/1.1\r\nHost: a.test");
  await eventually("asked", () => finish !== undefined);
  await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test");
  assert.equal(upstream.openSockets(), 2);
  upstream.close();
  await eventually("closed", () => upstream.openSockets() <= 1);
  finish?.();
  assert.equal((await slow).body, "done");
  await eventually("closed", () => upstream.openSockets() <= 0);
});

test("two trust choices for one address never share a connection", async (t) => {
  const target = await startTlsTarget(t, ["other.test"]);
  const sites = [
    siteConfig("a.test", https(target.port, { verify: false })),
    siteConfig("b.test", https(target.port, {})),
  ];
  const { port } = await startLane(t, proxyConfig(sites));
  assert.equal((await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test")).status, 200);
  assert.equal((await ask(t, port, "GET / HTTP/1.1\r\nHost: b.test")).status, 502);
});
