/**
 * http-proxy 1.18.1 goes wrong in 27 known ways; each row of that list is a test of our wrapper around it.
 * Most go through a real compat lane with a target that reads strictly; where a thing can no longer reach http-proxy at
 * all, the test shows that it cannot.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { Agent, createServer, type IncomingMessage } from "node:http";
import { createServer as createTcpServer, type AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import type { GatehouseError } from "../../src/core/errors.ts";
import { createForwarder, type ForwardRequest } from "../../src/proxy/lanes/compat/forward.ts";
import { eventually } from "../support/eventually.ts";
import { proxyConfig, type RunningLane, siteConfig, startLane, targetConfig } from "../support/proxy-lane.ts";
import { runProgram } from "../support/programs.ts";
import { ask, rawClient, valueOf } from "../support/raw-client.ts";
import { type RecordingTarget, type SeenRequest, startRecordingTarget } from "../support/recording-target.ts";
import type { Socket } from "node:net";

const TIMEOUTS = { connectMs: 300, firstByteMs: 300, idleMs: 300, tunnelIdleMs: 300 };
const SMUGGLED = "GET /SMUG HTTP/1.1\r\nHost: a.test\r\n\r\n";
const CHUNKED_SMUGGLED = `24\r\n${SMUGGLED}\r\n0\r\n\r\n`;
const UPGRADE =
  "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

interface House extends RunningLane {
  target: RecordingTarget;
}

async function house(t: TestContext, answer?: (request: SeenRequest, socket: Socket) => void): Promise<House> {
  const target = await startRecordingTarget(t, answer);
  const lane = await startLane(
    t,
    proxyConfig([siteConfig("a.test", targetConfig(target.port), { timeouts: TIMEOUTS })]),
  );
  return { ...lane, target };
}

const answering =
  (bytes: string, end = false) =>
  (_: SeenRequest, socket: Socket): void => {
    socket.write(bytes, "latin1");
    if (end) socket.end();
  };

const ROWS: Record<string, (t: TestContext) => Promise<void>> = {
  "1 a chunked DELETE or OPTIONS keeps its framing, so its body is no second request": async (t) => {
    const { port, target } = await house(t);
    for (const method of ["DELETE", "OPTIONS"]) {
      const answer = await ask(
        t,
        port,
        `${method} / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked`,
        CHUNKED_SMUGGLED,
      );
      assert.equal(answer.status, 200);
    }
    assert.deepEqual(
      target.requests.map(({ method, framing, body }) => [method, framing, body]),
      [
        ["DELETE", "chunked", SMUGGLED],
        ["OPTIONS", "chunked", SMUGGLED],
      ],
    );
  },
  "2 a Trailer field on a GET does not end the process": async (t) => {
    const { port, target } = await house(t);
    assert.equal((await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test\r\nTrailer: X")).status, 200);
    assert.equal(valueOf(target.requests[0]?.headers ?? [], "trailer"), undefined);
  },
  "3 a status below 100 or control bytes in the reason become a 502 or a clean reason": async (t) => {
    for (const [line, status] of [
      ["HTTP/1.1 000 x", 502],
      ["HTTP/1.1 099 x", 502],
      ["HTTP/1.1 200 a\x01b", 502],
      ["HTTP/1.1 200 \xe9\xe8", 200],
    ] as const) {
      const { port } = await house(t, answering(`${line}\r\nContent-Length: 2\r\n\r\nok`));
      const answer = await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test");
      assert.equal(answer.status, status, line);
      assert.match(answer.head, /^HTTP\/1\.1 \d{3} [A-Za-z ]+\r\n/);
    }
  },
  "4 a bad chunk in the middle cuts the client off and writes nothing after the end": async (t) => {
    const { port, recorded } = await house(
      t,
      answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n"),
    );
    const client = rawClient(t, port);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert.match(await client.closed(), /5\r\nhello\r\n$/);
    await eventually("access line", () => recorded.access[0]?.error === "GATEHOUSE_UPSTREAM_RESET");
  },
  "5 a truncated body closes the client's connection instead of leaving it waiting": async (t) => {
    const { port } = await house(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", true));
    const client = rawClient(t, port);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert.match(await client.closed(), /hello$/);
  },
  "6 a client that leaves takes the connection to the target with it, silent or streaming": async (t) => {
    for (const bytes of ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"]) {
      const { port, target, upstream, recorded } = await house(t, answering(bytes));
      const client = rawClient(t, port);
      client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
      await eventually("asked", () => target.requests.length === 1);
      if (bytes !== "") await client.until("streaming", (received) => received.endsWith("hello"));
      client.socket.destroy();
      await eventually("closed", () => target.openConnections() === 0 && upstream.openSockets() === 0);
      assert.equal(recorded.access[0]?.error, "GATEHOUSE_CLIENT_GONE");
    }
  },
  "7 a WebSocket client that resets at once harms nobody, for http-proxy never sees it": async (t) => {
    const { port, target, upgrades } = await house(t);
    const client = rawClient(t, port);
    client.socket.write(UPGRADE, () => client.socket.resetAndDestroy());
    const second = rawClient(t, port);
    second.send(UPGRADE);
    await second.until("101", (received) => received.startsWith("HTTP/1.1 101"));
    assert.ok(upgrades.length >= 1);
    assert.equal(target.connections(), 0);
  },
  "8 an upgrade opens no connection through http-proxy that could leak": async (t) => {
    const { port, upstream, upgrades } = await house(t);
    const client = rawClient(t, port);
    client.send(UPGRADE);
    await client.closed();
    assert.equal(upgrades[0]?.head.target, "/ws");
    assert.equal(upstream.openSockets(), 0);
  },
  "9 a refused upgrade is answered by us, with checked text, and closed": async (t) => {
    const { port, target } = await house(t);
    const client = rawClient(t, port);
    client.send(UPGRADE.replace("Version: 13", "Version: 12"));
    const received = await client.closed();
    assert.match(received, /^HTTP\/1\.1 426 Upgrade Required\r\n/);
    assert.match(received, /sec-websocket-version: 13\r\n/);
    assert.equal(target.connections(), 0);
  },
  "10 a target that is silent, or never finishes its handshake, becomes a 504": async (t) => {
    const silent = await house(t, () => {});
    assert.equal((await ask(t, silent.port, "GET / HTTP/1.1\r\nHost: a.test")).status, 504);
    const mute = createTcpServer((socket) => void socket.on("error", () => {}));
    mute.listen(0, "127.0.0.1");
    await once(mute, "listening");
    t.after(() => mute.close());
    const tls = targetConfig((mute.address() as AddressInfo).port, { kind: "https" });
    const { port, recorded, upstream } = await startLane(
      t,
      proxyConfig([siteConfig("a.test", tls, { timeouts: TIMEOUTS })]),
    );
    assert.equal((await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test")).status, 504);
    assert.deepEqual(recorded.upstreamErrors, ["timeout"]);
    await eventually("closed", () => upstream.openSockets() === 0);
  },
  "11 the log tells a client that left from a target that failed": async (t) => {
    const reset = await house(t, (_, socket) => socket.resetAndDestroy());
    assert.equal((await ask(t, reset.port, "GET / HTTP/1.1\r\nHost: a.test")).status, 502);
    assert.equal(reset.recorded.access[0]?.error, "GATEHOUSE_UPSTREAM_RESET");
    const left = await house(t, () => {});
    const client = rawClient(t, left.port);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    await eventually("asked", () => left.target.requests.length === 1);
    client.socket.resetAndDestroy();
    await eventually("logged", () => left.recorded.access.length === 1);
    assert.deepEqual([left.recorded.access[0]?.error, left.recorded.access[0]?.status], ["GATEHOUSE_CLIENT_GONE", 0]);
    assert.deepEqual(left.recorded.upstreamErrors, []);
  },
  "12 a target that refuses is a 502, never a throw": async (t) => {
    const { port, recorded } = await startLane(t, proxyConfig([siteConfig("a.test", targetConfig(9))]));
    assert.equal((await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test")).status, 502);
    assert.equal(recorded.access[0]?.error, "GATEHOUSE_UPSTREAM_REFUSED");
    assert.deepEqual(recorded.upstreamErrors, ["connect"]);
  },
  "13 a path or field that Node would not write is a failure handed back, never a throw": async (t) => {
    const target = await startRecordingTarget(t);
    for (const bad of [
      { path: "/a b" },
      { path: "/\u0100" },
      { headers: ["host", "a.test", "x y", "1"] },
      { headers: ["host", "a.test", "x", "1\n2"] },
    ]) {
      assert.equal((await forwardOnce(t, target.port, bad)).code, "GATEHOUSE_REQUEST_MALFORMED");
    }
    assert.deepEqual(target.requests, []);
  },
  "14 HTTP/2 and upgrades cannot reach it: the compat lane alone imports it": async () => {
    const lanes = new URL("../../src/proxy/lanes/", import.meta.url);
    const importers = (pattern: RegExp) =>
      readdirSync(lanes, { recursive: true, encoding: "utf8" })
        .filter((name) => name.endsWith(".ts"))
        .filter((name) => pattern.test(readFileSync(new URL(name, lanes), "utf8")));
    assert.deepEqual(importers(/from "http-proxy"/), ["compat/forward.ts"]);
    for (const name of importers(/compat\/forward\.ts"|from "\.\/forward\.ts"/)) assert.match(name, /^compat\//);
    assert.doesNotMatch(readFileSync(new URL("compat/forward.ts", lanes), "utf8"), /proxy\.ws\(|ws: true/);
  },
  "15 hop-by-hop fields and those that Connection names stop here, both ways": async (t) => {
    const { port, target } = await house(
      t,
      answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=99\r\nProxy-Authenticate: Basic\r\nAlt-Svc: h3\r\nContent-Length: 2\r\n\r\nok",
      ),
    );
    const answer = await ask(
      t,
      port,
      "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 9\r\nTE: trailers\r\nProxy-Authorization: x\r\nProxy: http://evil",
    );
    for (const name of ["x-inner", "proxy-authenticate", "alt-svc"])
      assert.equal(valueOf(answer.headers, name), undefined, name);
    assert.notEqual(valueOf(answer.headers, "keep-alive"), "timeout=99");
    for (const name of ["x-secret", "keep-alive", "te", "proxy-authorization", "proxy"]) {
      assert.equal(valueOf(target.requests[0]?.headers ?? [], name), undefined, name);
    }
    assert.equal(valueOf(target.requests[0]?.headers ?? [], "connection"), "keep-alive");
  },
  "16 a transfer coding that is not exactly chunked is refused before anything is dialled": async (t) => {
    const { port, target } = await house(t);
    const client = rawClient(t, port);
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n");
    assert.match(await client.closed(), /^HTTP\/1\.1 501 /);
    assert.equal(target.connections(), 0);
  },
  "17 a path arrives byte for byte, and what url.parse would repair is refused": async (t) => {
    const { port, target } = await house(t);
    const paths = [
      "//x",
      "/a//b",
      "/a?b=//c?d",
      "/%2f%5c",
      "/http://b/x",
      "/a;b=c,d",
      "/?",
      "/x?http:/y",
      `/'"<>{}|^\``,
    ];
    for (const path of paths)
      assert.equal((await ask(t, port, `GET ${path} HTTP/1.1\r\nHost: a.test`)).status, 200, path);
    assert.deepEqual(
      target.requests.map(({ target }) => target),
      paths,
    );
    for (const path of ["/\\x", "/a#b"])
      assert.equal((await ask(t, port, `GET ${path} HTTP/1.1\r\nHost: a.test`)).status, 400, path);
    assert.equal((await ask(t, port, "OPTIONS * HTTP/1.1\r\nHost: a.test")).status, 204);
    assert.equal(target.requests.length, paths.length);
  },
  "18 a request without a Host, or of HTTP/0.9, is not forwarded under the target's address": async (t) => {
    const { port, target } = await house(t);
    for (const head of [
      "GET / HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.0\r\n\r\n",
      "GET / HTTP/1.1\r\nHost:\r\n\r\n",
      "GET /\r\n\r\n",
    ]) {
      const client = rawClient(t, port);
      client.send(head);
      assert.match(await client.closed(), /^HTTP\/1\.1 (?:400|505) /, head);
    }
    assert.equal(target.connections(), 0);
  },
  "19 forwarding headers are one value of ours, whatever the client wrote": async (t) => {
    const { port, target } = await house(t);
    await ask(
      t,
      port,
      "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: evil.test\r\nX-Real-IP: 1.1.1.1\r\nForwarded: for=1.1.1.1",
    );
    const headers = target.requests[0]?.headers.filter(([name]) => /^(?:x-forwarded-|x-real|forwarded)/.test(name));
    assert.deepEqual(headers, [
      ["x-forwarded-for", "127.0.0.1"],
      ["x-forwarded-proto", "https"],
      ["x-forwarded-host", "a.test"],
      ["x-forwarded-port", "443"],
      ["forwarded", "for=127.0.0.1;host=a.test;proto=https;by=_gatehouse-5afe-1"],
      ["x-real-ip", "127.0.0.1"],
    ]);
  },
  "20 Expect: 100-continue is ours to answer, and the request is mended like any other": async (t) => {
    const { port, target } = await house(t);
    const client = rawClient(t, port);
    client.send("POST //x HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
    await client.until("100", (received) => received === "HTTP/1.1 100 Continue\r\n\r\n");
    assert.equal(target.requests.length, 0);
    client.send("2\r\nhi\r\n0\r\n\r\n");
    await client.answers(1);
    const [seen] = target.requests;
    assert.deepEqual([seen?.target, seen?.framing, seen?.body], ["//x", "chunked", "hi"]);
    assert.equal(valueOf(seen?.headers ?? [], "expect"), undefined);
  },
  "21 trailers are relayed both ways, and 103 arrives": async (t) => {
    const { port, target } = await house(
      t,
      answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nSet-Cookie: a=1\r\n\r\n",
      ),
    );
    const client = rawClient(t, port);
    client.send(
      "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Digest: 9\r\nHost: evil\r\n\r\n",
    );
    const [answer] = await client.answers(1);
    assert.match(
      client.received(),
      /^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a\.css>; rel=preload\r\n\r\nHTTP\/1\.1 200/,
    );
    assert.equal(answer?.trailers, "x-sum: 7");
    assert.deepEqual(target.requests[0]?.trailers, [["x-digest", "9"]]);
  },
  "22 with DEP0060 silenced, as the launcher does, it prints nothing": async () => {
    const forward = new URL("../../src/proxy/lanes/compat/forward.ts", import.meta.url).href;
    const script = `import { createForwarder } from ${JSON.stringify(forward)}; import { Agent } from "node:http";
      createForwarder()({ target: { host: "127.0.0.1", port: 9 }, agent: new Agent(), method: "GET", path: "/", headers: ["host", "a"],
        body: "none", contentLength: 0, timeouts: { connectMs: 500, firstByteMs: 500, idleMs: 500, tunnelIdleMs: 500 },
        onFailed: (error) => process.stdout.write(error.code) });`;
    const flags = ["--input-type=module", "--disable-warning=DEP0060", "--eval", script];
    const { stdout, stderr } = await runProgram(process.execPath, flags);
    assert.deepEqual([stdout, stderr], ["GATEHOUSE_UPSTREAM_REFUSED", ""]);
  },
  "23 no upgraded socket loses its timer to it: an upgrade arrives whole at our own code": async (t) => {
    const { port, upgrades } = await house(t);
    const client = rawClient(t, port);
    client.send(`${UPGRADE}first bytes`);
    await client.closed();
    assert.equal(upgrades[0]?.firstBytes.toString(), "first bytes");
  },
  "24 a 101 that nobody asked for is a 502 at once": async (t) => {
    const { port } = await house(
      t,
      answering("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw"),
    );
    const answer = await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test");
    assert.equal(answer.status, 502);
  },
  "25 Location and Set-Cookie are passed on as they are": async (t) => {
    const location = "http://127.0.0.1:1/x";
    const { port } = await house(
      t,
      answering(
        `HTTP/1.1 302 Found\r\nLocation: ${location}\r\nSet-Cookie: a=1; Domain=inner; Path=/x\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n`,
      ),
    );
    const { headers } = await ask(t, port, "GET / HTTP/1.1\r\nHost: a.test");
    assert.equal(valueOf(headers, "location"), location);
    assert.deepEqual(
      headers.filter(([name]) => name === "set-cookie").map(([, value]) => value),
      ["a=1; Domain=inner; Path=/x", "b=2"],
    );
  },
  "26 a long body with headers set in its proxyReq event arrives whole (GHSA-6x33-pw7p-hmpq)": async (t) => {
    let received = 0;
    const server = createServer((req, res) => {
      req.on("data", (chunk: Buffer) => (received += chunk.length));
      req.on("end", () => res.end("done"));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    t.after(() => server.close());
    const { port } = await startLane(
      t,
      proxyConfig([siteConfig("a.test", targetConfig((server.address() as AddressInfo).port))]),
    );
    const body = "x".repeat(5_000_000);
    const answer = await ask(t, port, `POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${body.length}`, body);
    assert.equal(answer.body, "done");
    assert.equal(received, body.length);
  },
  "27 the head of an upgrade is never built by joining strings of a target": async (t) => {
    // Its `upgrade` code copies whatever a target writes; here no byte of an upgrade goes to a target through it.
    const { port, target } = await house(t, answering("HTTP/1.1 101 X\r\nSet-Cookie: a\r\n\r\n"));
    const client = rawClient(t, port);
    client.send(UPGRADE);
    assert.equal(await client.closed(), "HTTP/1.1 101 Switching Protocols\r\n\r\n");
    assert.deepEqual(target.requests, []);
  },
};

/** The wrapper alone, for what the lane's own checks would never let through. */
async function forwardOnce(t: TestContext, port: number, changes: Partial<ForwardRequest>): Promise<GatehouseError> {
  const agent = new Agent({ keepAlive: false });
  t.after(() => agent.destroy());
  return await new Promise((resolve, reject) => {
    createForwarder()({
      target: targetConfig(port),
      agent,
      method: "GET",
      path: "/",
      headers: ["host", "a.test"],
      body: "none",
      contentLength: 0,
      source: undefined as unknown as IncomingMessage,
      timeouts: TIMEOUTS,
      onConnected: () => {},
      onBody: () => {},
      onInformation: () => {},
      onAnswer: () => reject(new Error("answered")),
      onFailed: resolve,
      ...changes,
    });
  });
}

for (const [name, run] of Object.entries(ROWS)) test(name, run);

test("every row from 1 to 27 has its test", () => {
  const numbers = Object.keys(ROWS).map((name) => Number(name.split(" ", 1)[0]));
  assert.deepEqual(
    numbers,
    Array.from({ length: 27 }, (_, at) => at + 1),
  );
});
