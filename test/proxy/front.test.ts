/**
 * The front door itself: handshakes of every kind, names that are not there, ports that are taken, bounds, drain.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { spawn } from "node:child_process";
import { test, type TestContext } from "node:test";
import { connect, type ConnectionOptions, createSecureContext, type TLSSocket } from "node:tls";
import { isGatehouseError } from "../../src/core/errors.ts";
import type { ContextChoice } from "../../src/proxy/front/tls.ts";
import { listenFailure } from "../../src/core/listen-failure.ts";
import { abortDownloadsH1, abortDownloadsH2 } from "../support/abort-storm.ts";
import { makeCa } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { type FrontHome, startFront, type FrontHomeOptions } from "../support/front-home.ts";
import { needs, runProgram } from "../support/programs.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { sendBytes, startTarget } from "../support/target.ts";
import { closeOf } from "../support/closing.ts";

async function homeWith(t: TestContext, options: FrontHomeOptions = {}, body = "inside"): Promise<FrontHome> {
  const { port } = await startTarget(t, (req, res) => {
    if (req.url === "/big") sendBytes(res, 50_000_000);
    else res.end(body);
  });
  const to = targetConfig(port);
  const sites = ["a.test", "b.test", "*.lab.test"].map((name) => siteConfig(name, to));
  return startFront(t, [...sites, ...(options.pending ?? []).map((name) => siteConfig(name, to))], options);
}

const settled = (home: FrontHome): Promise<void> =>
  eventually("no connection is open", () => home.front.openConnections() === 0);

interface Knock {
  /** `secure`, or the error's code. */
  outcome: string;
  socket: TLSSocket;
  /** What came over the wire. */
  wire: Buffer;
}

async function knock(t: TestContext, home: FrontHome, options: ConnectionOptions): Promise<Knock> {
  const pieces: Buffer[] = [];
  // A relay of our own, because the bytes below TLS are what a leak would be in.
  const relay = createServer((client) => {
    const server = connectTcp(home.httpsPort, "127.0.0.1");
    for (const socket of [client, server]) socket.on("error", () => {});
    server.on("data", (chunk: Buffer) => pieces.push(chunk));
    client.pipe(server);
    server.pipe(client);
    server.once("close", () => client.destroy());
    client.once("close", () => server.destroy());
  });
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");
  const socket = connect({
    host: "127.0.0.1",
    port: (relay.address() as AddressInfo).port,
    rejectUnauthorized: false,
    ...options,
  });
  t.after(() => {
    socket.destroy();
    relay.close();
  });
  const outcome = await new Promise<string>((resolve) => {
    socket.once("secureConnect", () => resolve("secure"));
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.once("close", () => resolve("closed"));
  });
  return { outcome, socket, wire: Buffer.concat(pieces) };
}

/** The ClientHello of Node's own client. */
async function firstFlight(servername: string): Promise<Buffer> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connect({ port: (server.address() as AddressInfo).port, host: "127.0.0.1", servername });
  client.on("error", () => {});
  const [accepted] = (await once(server, "connection")) as [Socket];
  const [bytes] = (await once(accepted, "data")) as [Buffer];
  client.destroy();
  accepted.destroy();
  server.close();
  return bytes;
}

const NAMES_OF_OURS = /a\.test|b\.test|lab\.test|home\.localhost|secret|127\.0\.0\.1/;

test("an unknown name gets the alert unrecognized_name, and nothing that tells of the house", async (t) => {
  const home = await homeWith(t);
  for (const servername of ["unknown.test", "x.y.lab.test", "lab.test", "x".repeat(60) + ".test"]) {
    for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
      const { outcome, wire } = await knock(t, home, { servername, maxVersion });
      assert.equal(outcome, "ERR_SSL_TLSV1_UNRECOGNIZED_NAME");
      assert.equal(wire.toString("hex"), "15030300020270");
    }
  }
  await settled(home);
  const said = home.recorded.lines.filter(({ event }) => event === "tls.unknown_name");
  assert.equal(said[0]?.["name"], "unknown.test");
  assert.equal(said.length, 5, "the log is sampled");
  assert.equal(home.counted.filter((call) => call === "handshake(https,…,refused)").length, 8);
  assert.equal(home.counted.filter((call) => call.startsWith("connectionClosed")).length, 8);
});

test("a name whose certificate is not there yet is refused the same way", async (t) => {
  const home = await homeWith(t, { pending: ["secret.test"] });
  for (let count = 0; count < 3; count++) {
    const { outcome, wire } = await knock(t, home, { servername: "Secret.Test" });
    assert.equal(outcome, "ERR_SSL_TLSV1_UNRECOGNIZED_NAME");
    assert.equal(wire.toString("hex"), "15030300020270");
  }
  await settled(home);
  assert.deepEqual(
    home.recorded.lines.filter(({ event }) => event === "tls.unknown_name"),
    [],
  );
  assert.equal(home.counted.filter((call) => call === "handshake(https,…,pending)").length, 3);
});

test("a name whose certificate is read first is answered when it has come, and refused when there is none", async (t) => {
  const site = await (await makeCa()).issue({ names: ["a.test", "b.test"] });
  const context = createSecureContext({ key: site.keyPem, cert: site.chainPem });
  let isThere = true;
  const late = (): Promise<ContextChoice> =>
    new Promise((resolve) => setImmediate(() => resolve(isThere ? { context } : { refused: "pending" })));
  const home = await homeWith(t, { chooseContext: late });
  const met = await knock(t, home, { servername: "a.test", rejectUnauthorized: false });
  assert.equal(met.outcome, "secure");
  assert.match(met.socket.getPeerCertificate().subjectaltname ?? "", /a\.test/);
  isThere = false;
  const refused = await knock(t, home, { servername: "b.test", rejectUnauthorized: false });
  assert.equal(refused.outcome, "ERR_SSL_TLSV1_UNRECOGNIZED_NAME");
});

test("without SNI the neutral certificate is shown, in which no name of ours stands", async (t) => {
  const home = await homeWith(t);
  const { outcome, socket, wire } = await knock(t, home, { servername: "", maxVersion: "TLSv1.2" });
  assert.equal(outcome, "secure");
  assert.equal(socket.getPeerCertificate().subject.CN, "invalid");
  // In TLS 1.2 certificates travel in the clear.
  assert.match(wire.toString("latin1"), /invalid/);
  assert.doesNotMatch(wire.toString("latin1"), NAMES_OF_OURS);
});

test("a name of one connection does not open another site: 421", { skip: needs("curl") }, async (t) => {
  const home = await homeWith(t);
  for (const version of ["--http1.1", "--http2"]) {
    const ask = async (name: string, host: string) => {
      const resolve = ["--resolve", `${name}:${home.httpsPort}:127.0.0.1`, "-H", `Host: ${host}`];
      return (
        await runProgram("curl", [
          "-sSk",
          version,
          ...resolve,
          "-w",
          " %{http_code}",
          `https://${name}:${home.httpsPort}/`,
        ])
      ).stdout;
    };
    assert.equal(await ask("a.test", "a.test"), "inside 200");
    assert.equal(await ask("x.lab.test", "y.lab.test"), "inside 200");
    const other = await ask("a.test", "b.test");
    assert.match(other, / 421$/);
    assert.doesNotMatch(other, NAMES_OF_OURS);
    const unknown = await ask("a.test", "unknown.test");
    assert.equal(
      unknown.replaceAll(/[0-9a-f-]{36}/g, ""),
      other.replaceAll(/[0-9a-f-]{36}/g, ""),
      "the two can be told apart",
    );
  }
});

test("TLS 1.2 and 1.3 with h2, http/1.1 or no ALPN; older versions and other protocols are refused", async (t) => {
  const home = await homeWith(t);
  for (const [options, outcome, protocol] of [
    [{ maxVersion: "TLSv1.2", ALPNProtocols: ["h2", "http/1.1"] }, "secure", "h2"],
    [{ minVersion: "TLSv1.3", ALPNProtocols: ["http/1.1", "h2"] }, "secure", "h2"],
    [{ ALPNProtocols: ["http/1.1"] }, "secure", "http/1.1"],
    [{}, "secure", false],
    [{ ALPNProtocols: ["ftp"] }, "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL", null],
    [
      { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" },
      "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION",
      null,
    ],
  ] as [ConnectionOptions, string, string | false | null][]) {
    const knocked = await knock(t, home, { servername: "a.test", ...options });
    assert.equal(knocked.outcome, outcome);
    if (outcome === "secure") assert.equal(knocked.socket.alpnProtocol, protocol);
    if (outcome === "secure") assert.ok(knocked.socket.getPeerCertificate().subjectaltname?.includes("a.test"));
  }
});

test("a client cannot renegotiate", { skip: needs("openssl") }, async (t) => {
  const home = await homeWith(t);
  const { stdout, stderr } = await runProgram(
    "openssl",
    ["s_client", "-tls1_2", "-connect", `127.0.0.1:${home.httpsPort}`, "-servername", "a.test"],
    { input: "R\n", withinMs: 5_000 },
  );
  assert.match(stdout + stderr, /RENEGOTIATING[^]*no renegotiation/);
});

test("tickets resume a session, and after a change of keys cost a full handshake, no error", async (t) => {
  const home = await homeWith(t);
  const options = { servername: "a.test", maxVersion: "TLSv1.2" as const };
  const first = await knock(t, home, options);
  const session = first.socket.getSession();
  assert.ok(session !== undefined);
  assert.equal((await knock(t, home, { ...options, session })).socket.isSessionReused(), true);
  home.front.setTicketKeys(randomBytes(48));
  const after = await knock(t, home, { ...options, session });
  assert.deepEqual([after.outcome, after.socket.isSessionReused()], ["secure", false]);
});

for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
  test(`${maxVersion}: a client that takes each ticket for one handshake has one for the next, over changes of the key`, async (t) => {
    const home = await homeWith(t);
    let session: Buffer | undefined;
    const resumed: boolean[] = [];
    for (let round = 0; round < 9; round++) {
      if (round === 4) home.front.setTicketKeys(randomBytes(48));
      const { socket } = await knock(t, home, {
        servername: "a.test",
        maxVersion,
        ...(session === undefined ? {} : { session }),
      });
      resumed.push(socket.isSessionReused());
      // Under TLS 1.3 the ticket comes behind the handshake, before the answer; under 1.2 the old one may be used again.
      let fresh: Buffer | undefined = maxVersion === "TLSv1.2" ? socket.getSession() : undefined;
      socket.on("session", (ticket: Buffer) => (fresh = ticket));
      socket.write("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
      socket.resume();
      await once(socket, "close");
      assert.ok(fresh !== undefined, `a ticket in round ${round}`);
      session = fresh;
    }
    assert.deepEqual(resumed, [false, true, true, true, false, true, true, true, true]);
  });
}

test("a ClientHello in pieces of any size is one ClientHello", async (t) => {
  const home = await homeWith(t);
  let size = 0;
  const relay = createServer({ noDelay: true }, (client) => {
    const server = connectTcp({ host: "127.0.0.1", port: home.httpsPort, noDelay: true });
    for (const socket of [client, server]) socket.on("error", () => {});
    server.pipe(client);
    client.once("data", (hello: Buffer) => {
      client.pause();
      const write = (at: number): void => {
        server.write(hello.subarray(at, at + size), () => {
          if (at + size < hello.length) setImmediate(() => write(at + size));
          else client.pipe(server);
        });
      };
      write(0);
    });
  });
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");
  t.after(() => relay.close());
  for (size of [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 43, 44, 75, 76, 77, 100, 128, 255, 256, 500, 511, 517, 1_000, 1_400]) {
    const port = (relay.address() as AddressInfo).port;
    const socket = connect({ host: "127.0.0.1", port, servername: "a.test", ca: home.ca.caPem });
    await once(socket, "secureConnect");
    socket.write("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    let text = "";
    for await (const chunk of socket) text += String(chunk);
    assert.match(text, /^HTTP\/1\.1 200 [^]*inside/, `in pieces of ${size}`);
  }
  await settled(home);
});

test("what is no TLS on the TLS port is cut and counted; a dripped ClientHello is cut in time", async (t) => {
  const home = await homeWith(t, { limits: { handshakeMs: 400 } });
  const sslv2 = Buffer.from("802e0100020015000000100100800200800300800400800500800600400700c0", "hex");
  for (const bytes of [
    "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    sslv2,
    randomBytes(2_000),
    Buffer.from([0x16, 3, 1, 0xff, 0xff]),
  ]) {
    for (const ending of ["end", "resetAndDestroy", "wait"] as const) {
      const socket = connectTcp(home.httpsPort, "127.0.0.1");
      socket.on("error", () => {});
      const closed = closeOf(socket);
      let received = "";
      socket.on("data", (chunk: Buffer) => (received += chunk.toString("latin1")));
      // On a busy machine the front's deadline can be over before this side has looked.
      await once(socket, "connect").catch(() => {});
      socket.write(bytes);
      if (ending !== "wait") setImmediate(() => socket[ending]());
      await closed;
      assert.doesNotMatch(received, NAMES_OF_OURS);
    }
  }
  const since = performance.now();
  const drip = connectTcp(home.httpsPort, "127.0.0.1");
  drip.on("error", () => {});
  const silent = connectTcp(home.httpsPort, "127.0.0.1");
  silent.on("error", () => {});
  drip.write(Buffer.from([0x16, 3, 1, 2, 0]));
  const timer = setInterval(() => drip.write("x"), 20);
  t.after(() => clearInterval(timer));
  await Promise.all([closeOf(drip), closeOf(silent)]);
  clearInterval(timer);
  assert.ok(performance.now() - since < 30_000, "dripping kept it open");
  await settled(home);
  const failed = home.counted.filter((call) => call === "handshake(https,…,failed)").length;
  assert.equal(failed, 14);
  assert.equal((await knock(t, home, { servername: "a.test" })).outcome, "secure");
});

test("a client that leaves in the middle of its handshake is let go at once, however much of it has come", async (t) => {
  const home = await homeWith(t, { limits: { handshakeMs: 600_000 } });
  const whole = await firstFlight("a.test");
  for (const bytes of [Buffer.alloc(0), whole.subarray(0, 3), whole.subarray(0, -1), whole]) {
    const socket = connectTcp({ port: home.httpsPort, host: "127.0.0.1", allowHalfOpen: true });
    socket.on("error", () => {});
    socket.resume();
    // Our side stays open for reading: the end that closes it is the front's.
    socket.end(bytes);
    await once(socket, "end");
    socket.destroy();
  }
  await settled(home);
  assert.equal(home.counted.filter((call) => call === "handshake(https,…,failed)").length, 4);
});

test("more connections than there is room for are cut at once and counted; room comes back", async (t) => {
  const home = await homeWith(t, { limits: { connectionsPerNeighbour: 3 } });
  const inside = await Promise.all([0, 1, 2].map(() => knock(t, home, { servername: "a.test" })));
  assert.deepEqual(
    inside.map(({ outcome }) => outcome),
    ["secure", "secure", "secure"],
  );
  const fourth = await knock(t, home, { servername: "a.test" });
  assert.notEqual(fourth.outcome, "secure");
  assert.ok(home.counted.includes("connectionRejected(https,limit)"));
  inside[0]?.socket.destroy();
  await eventually("there is room", () => home.front.openConnections() === 2);
  assert.equal((await knock(t, home, { servername: "a.test" })).outcome, "secure");
});

test("a port that is taken says which, who to ask; one that is forbidden says how to get the right", async (t) => {
  const { server } = await startTarget(t, (_, res) => res.end());
  const { port } = server.address() as AddressInfo;
  const home = await homeWith(t);
  await assert.rejects(home.front.listen("https", { host: "127.0.0.1", port }), (error) => {
    assert.ok(isGatehouseError(error, "GATEHOUSE_PORT_IN_USE"));
    assert.match(error.message, new RegExp(`port ${port}`));
    assert.match(error.hint ?? "", new RegExp(`ss -ltnp 'sport = :${port}'`));
    return true;
  });
  await assert.rejects(home.front.listen("https", { host: "192.0.2.77", port: 0 }), (error) => {
    assert.ok(isGatehouseError(error, "GATEHOUSE_LISTEN_FAILED"));
    assert.match(error.message, /192\.0\.2\.77/);
    return true;
  });
  const forbidden = listenFailure(
    Object.assign(new Error("x"), { code: "EACCES" }),
    { host: undefined, port: 443 },
    "listen",
  );
  assert.equal(forbidden.code, "GATEHOUSE_PORT_FORBIDDEN");
  for (const way of [
    /setcap cap_net_bind_service/,
    /AmbientCapabilities/,
    /ip_unprivileged_port_start=443/,
    /higher port/,
  ]) {
    assert.match(forbidden.hint ?? "", way);
  }
});

test("relisten keeps what stays, opens what is new, closes what is gone, and changes nothing when it cannot", async (t) => {
  const home = await homeWith(t);
  const { front } = home;
  const kept = { host: "127.0.0.1", port: 0 };
  const [before] = front.addresses().https;
  const free = createServer();
  free.listen(0, "127.0.0.1");
  await once(free, "listening");
  const taken = { host: "127.0.0.1", port: (free.address() as AddressInfo).port };
  await assert.rejects(front.relisten({ https: [kept, taken], http: [] }), /in use/);
  assert.equal(front.addresses().http.length, 1, "the plain listener is still there");
  free.close();
  await once(free, "close");
  await front.relisten({ https: [kept, taken], http: [] });
  assert.deepEqual(front.addresses(), { https: [before, taken], http: [] });
  // From one address to all addresses of the same port: the old one stands in the way and leaves first.
  await front.relisten({ https: [kept, { host: "0.0.0.0", port: taken.port }], http: [] });
  assert.deepEqual(front.addresses().https, [before, { host: "0.0.0.0", port: taken.port }]);
  assert.equal((await knock(t, home, { servername: "a.test" })).outcome, "secure");
});

test("a socket that systemd opened is taken by its number", async (t) => {
  const server: Server & { _handle?: { fd: number } | null } = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const file = JSON.stringify(new URL("../../src/proxy/front/listen.ts", import.meta.url).href);
  const child = spawn(
    process.execPath,
    [
      "--input-type=module",
      "-e",
      `import { createListeners } from ${file};
       const listeners = createListeners({ accept: (_, socket) => socket.end("hello"), dropped() {}, failed() {}, maxConnections: 9 });
       await listeners.listen("https", { fd: 3 });
       console.log(listeners.addresses().https[0].port);`,
    ],
    { stdio: ["ignore", "pipe", "inherit", server._handle?.fd ?? -1] },
  );
  t.after(() => child.kill());
  const [line] = (await once(child.stdout as NodeJS.ReadableStream, "data")) as [Buffer];
  assert.equal(Number(String(line)), port);
});

test("a drain serves what is on its way, in the accept queue too, and ends each connection with its answer", async (t) => {
  let finish: (() => void) | undefined;
  const { port } = await startTarget(t, (req, res) => {
    if (req.url === "/slow") finish = () => res.end("slow");
    else res.end("quick");
  });
  const home = await startFront(t, [siteConfig("a.test", targetConfig(port))]);
  const open = async () => {
    const { socket } = await knock(t, home, { servername: "a.test", ALPNProtocols: ["http/1.1"] });
    const seen = { text: "", socket, ended: once(socket, "end") };
    socket.on("data", (chunk: Buffer) => (seen.text += chunk.toString()));
    return seen;
  };
  const lastAnswer = /^HTTP\/1\.1 200 [^]*\r\nconnection: close\r\n[^]*quick$/;
  const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a.test\r\n\r\n`;
  const [idle, unused, racing, halfway, busy] = [await open(), await open(), await open(), await open(), await open()];
  idle.socket.write(get("/1"));
  racing.socket.write(get("/1"));
  busy.socket.write(get("/slow"));
  halfway.socket.write(get("/").slice(0, 9));
  await eventually("two are answered", () => idle.text.endsWith("quick") && racing.text.endsWith("quick"));
  await eventually("one is not", () => finish !== undefined);
  // In the kernel's queue when the drain begins: all in one turn, and libuv takes one a turn.
  const queued = Array.from({ length: 20 }, () =>
    connect({ host: "127.0.0.1", port: home.httpsPort, rejectUnauthorized: false, servername: "a.test" }),
  );
  const served = queued.map(async (socket) => {
    socket.write(get("/queued"));
    let text = "";
    for await (const chunk of socket as AsyncIterable<Buffer>) text += chunk.toString();
    return text;
  });
  home.state.leaving = true;
  const since = performance.now();
  const drained = home.front.drain({ withinMs: 8_000, idleMs: 3_000, refuse: () => (home.state.draining = true) });
  racing.socket.write(get("/2"));
  halfway.socket.write(get("/").slice(9));
  for (const text of await Promise.all(served)) assert.match(text, lastAnswer);
  await Promise.all([racing, halfway, idle, unused].map(({ ended }) => ended));
  assert.match(racing.text, /^HTTP\/1\.1 200 (?:(?!close)[^])*quickHTTP[^]*\r\nconnection: close\r\n[^]*quick$/);
  assert.match(halfway.text, lastAnswer);
  assert.doesNotMatch(idle.text + unused.text, /close/);
  finish?.();
  await busy.ended;
  assert.match(busy.text, /\r\nconnection: close\r\n[^]*slow$/);
  await drained;
  assert.ok(performance.now() - since < 7_000, "the drain waited for an idle connection");
  assert.equal(home.front.openConnections(), 0);
  assert.deepEqual(new Set(home.recorded.access.map(({ status }) => status)), new Set([200]));
  const refused = connectTcp(home.httpsPort, "127.0.0.1");
  await assert.rejects(once(refused, "connect"), { code: "ECONNREFUSED" });
});

test("thousands of aborted downloads over HTTP/1.1 and HTTP/2 leave no connection on either side", async (t) => {
  const home = await homeWith(t);
  const storm = { httpsPort: home.httpsPort, name: "a.test", path: "/big" };
  await abortDownloadsH2({ ...storm, aborts: 2_000 });
  await abortDownloadsH1({ ...storm, aborts: 500 });
  await settled(home);
  await eventually("the target's side is closed", () => home.upstream.openSockets() === 0, 10_000);
  const knocked = await knock(t, home, { servername: "a.test" });
  assert.equal(knocked.outcome, "secure");
});
