/**
 * WebSocket and other upgrades through a real front: real clients, targets that lie, ends that vanish.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { WebSocketServer } from "ws";
import { abortUpgrades } from "../support/abort-storm.ts";
import { eventually } from "../support/eventually.ts";
import { type FrontHome, startFront } from "../support/front-home.ts";
import { hasProgram, runProgram } from "../support/programs.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { freePort, startTarget } from "../support/target.ts";
import { openWebSocket } from "../support/websocket.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ASK =
  "GET /ws?x=1 HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
  `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Protocol: chat\r\n\r\n`;
const SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

async function echoTarget(t: TestContext): Promise<{ port: number; server: WebSocketServer }> {
  const { port, server: http } = await startTarget(t, (_, res) => res.end("no socket"));
  const server = new WebSocketServer({ server: http, maxPayload: 4_000_000 });
  server.on("connection", (socket) => {
    socket.on("error", () => {});
    socket.on("message", (data: Buffer, isBinary) => {
      if (!isBinary && data.toString() === "close me") socket.close(4321, "as asked");
      else socket.send(data, { binary: isBinary });
    });
  });
  t.after(() => {
    for (const socket of server.clients) socket.terminate();
    server.close();
  });
  return { port, server };
}

/** A target of bytes. */
async function rawTarget(t: TestContext, onConnection: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    onConnection(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const homeWith = (t: TestContext, port: number, changes = {}): Promise<FrontHome> =>
  startFront(t, [siteConfig("a.test", targetConfig(port), changes)]);

interface RawClient {
  socket: TLSSocket;
  received(): string;
  /** The whole text when the other side ended. */
  ended: Promise<string>;
}

async function rawClient(t: TestContext, home: FrontHome, bytes: string): Promise<RawClient> {
  // `allowHalfOpen` reaches the connection; Node's type does not list it.
  const options: ConnectionOptions & { allowHalfOpen: boolean } = {
    port: home.httpsPort,
    host: "127.0.0.1",
    servername: "a.test",
    rejectUnauthorized: false,
    allowHalfOpen: true,
  };
  const socket = connect(options);
  socket.on("error", () => {});
  t.after(() => socket.destroy());
  await once(socket, "secureConnect");
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  const ended = new Promise<string>((resolve) => {
    socket.once("end", () => resolve(text));
    socket.once("close", () => resolve(text));
  });
  socket.write(bytes, "latin1");
  return { socket, received: () => text, ended };
}

const settled = (home: FrontHome): Promise<void> =>
  eventually("nothing is open", () => home.front.openConnections() === 0 && home.upstream.openSockets() === 0);

test("ws: text, binary, 1 MB, pings both ways and close codes both ways", async (t) => {
  const { port, server } = await echoTarget(t);
  const home = await homeWith(t, port);
  const open = () => openWebSocket(t, { port: home.httpsPort, name: "a.test", ca: home.ca.caPem, path: "/ws?x=1" });
  const socket = await open();
  for (const message of ["héllo", Buffer.from([0, 255, 1]), Buffer.alloc(1_000_000, 7), "x".repeat(1_000_000)]) {
    socket.send(message);
    const [data, isBinary] = (await once(socket, "message")) as [Buffer, boolean];
    assert.equal(isBinary, typeof message !== "string");
    assert.ok(data.equals(Buffer.from(message as string)));
  }
  socket.ping("from the client");
  assert.equal(String((await once(socket, "pong"))[0]), "from the client");
  const [inside] = server.clients;
  assert.ok(inside !== undefined);
  inside.ping("from the target");
  assert.equal(String((await once(inside, "pong"))[0]), "from the target");
  assert.ok(home.counted.includes("upgradeOpened(a.test)"));

  socket.send("close me");
  const [code, reason] = (await once(socket, "close")) as [number, Buffer];
  assert.deepEqual([code, String(reason)], [4321, "as asked"]);
  const other = await open();
  const [there] = [...server.clients].filter((one) => one !== inside);
  assert.ok(there !== undefined);
  other.close(4999, "bye");
  assert.deepEqual(((await once(there, "close")) as [number, Buffer]).map(String), ["4999", "bye"]);
  await settled(home);
  await eventually("two access lines", () => home.recorded.access.length === 2);
  const [record] = home.recorded.access;
  assert.deepEqual([record?.kind, record?.status, record?.error], ["upgrade", 101, undefined]);
  assert.ok((record?.bytesIn ?? 0) > 2_000_000 && (record?.bytesOut ?? 0) > 2_000_000);
  assert.equal(home.counted.filter((call) => call.startsWith("upgradeClosed")).length, 2);
});

const PYTHON = `
import asyncio, ssl, sys, websockets
async def main():
    context = ssl.create_default_context(cadata=sys.argv[2])
    async with websockets.connect("wss://a.test:%s/ws" % sys.argv[1], host="127.0.0.1", server_hostname="a.test", ssl=context, max_size=4000000) as ws:
        for message in ["text", b"\\x00\\xff", "y" * 1000000, b"z" * 1000000]:
            await ws.send(message)
            assert await ws.recv() == message
        await asyncio.wait_for(await ws.ping(b"hello"), 5)
        await ws.send("close me")
        try:
            await ws.recv()
        except websockets.ConnectionClosed as closed:
            print(closed.rcvd.code, closed.rcvd.reason)
asyncio.run(main())
`;
const hasPython =
  hasProgram("python3") && (await runProgram("/usr/bin/python3", ["-c", "import websockets"])).code === 0;

test("Python's websockets says the same", { skip: hasPython ? false : "needs python3-websockets" }, async (t) => {
  const { port } = await echoTarget(t);
  const home = await homeWith(t, port);
  const { stdout, stderr } = await runProgram("/usr/bin/python3", [
    "-c",
    PYTHON,
    String(home.httpsPort),
    home.ca.caPem,
  ]);
  assert.equal(stdout, "4321 as asked\n", stderr);
  await settled(home);
});

test("the target sees one upgrade with forwarding headers, and what the client sends early only after 101", async (t) => {
  let received = "";
  let answer: (() => void) | undefined;
  const port = await rawTarget(t, (socket) => {
    socket.on("data", (chunk: Buffer) => (received += chunk.toString("latin1")));
    answer = () => socket.write(`HTTP/1.1 103 Early Hints\r\n\r\n${SWITCH}first`);
  });
  const home = await homeWith(t, port);
  const client = await rawClient(t, home, `${ASK}early`);
  await eventually("the head is there", () => received.endsWith("\r\n\r\n"));
  client.socket.write(" bird");
  const head = received;
  assert.match(head, /^GET \/ws\?x=1 HTTP\/1\.1\r\nhost: a\.test\r\n/);
  for (const field of [
    "connection: Upgrade",
    "upgrade: websocket",
    `sec-websocket-key: ${KEY}`,
    "sec-websocket-protocol: chat",
  ]) {
    assert.equal(head.split(`\r\n${field}\r\n`).length, 2, field);
  }
  assert.match(head, /\r\nx-forwarded-proto: https\r\n/);
  assert.doesNotMatch(head, /content-length|transfer-encoding|keep-alive/i);
  answer?.();
  await eventually("early bytes arrive in order", () => received === `${head}early bird`);
  await eventually("the first bytes of the target arrive", () => client.received().endsWith("\r\n\r\nfirst"));
  assert.match(client.received(), /^HTTP\/1\.1 101 Switching Protocols\r\n/);
});

test("early bytes never reach a target that says no (T05), and its answer does reach the client", async (t) => {
  const body = "sorry, no";
  for (const [answer, expected, ends] of [
    [`HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\nX-Why: 1\r\n\r\n${body}`, body, false],
    [
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nsorry\r\n4\r\n, no\r\n0\r\nX: y\r\n\r\n",
      "9",
      false,
    ],
    [`HTTP/1.1 400 Bad Request\r\n\r\n${body}`, "9", true],
    ["HTTP/1.1 204 No Content\r\n\r\n", "", false],
    ["HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", "", false],
  ] as const) {
    let received = "";
    const port = await rawTarget(t, (socket) => {
      socket.on("data", (chunk: Buffer) => (received += chunk.toString("latin1")));
      // Byte by byte at first: a head does not come in one piece.
      socket.once("data", () => {
        for (const byte of answer) socket.write(byte, "latin1");
        if (ends) socket.end();
      });
    });
    const home = await homeWith(t, port);
    const client = await rawClient(t, home, `${ASK}GET /SMUG HTTP/1.1\r\nHost: a.test\r\n\r\n`);
    const text = await client.ended;
    const status = answer.slice(9, 12);
    assert.ok(text.startsWith(`HTTP/1.1 ${status} `), text);
    assert.match(text, /\r\nconnection: close\r\n/);
    const [, content = ""] = text.split("\r\n\r\n", 2);
    if (expected !== "9") assert.equal(content, expected);
    else assert.equal(unchunked(text), body);
    assert.doesNotMatch(received, /SMUG/);
    client.socket.destroy();
    await settled(home);
    assert.equal(home.recorded.access[0]?.status, Number(status));
  }
});

function unchunked(text: string): string {
  assert.match(text, /\r\ntransfer-encoding: chunked\r\n/);
  assert.ok(text.endsWith("\r\n0\r\n\r\n"), "the last chunk is missing");
  let body = "";
  let at = text.indexOf("\r\n\r\n") + 4;
  for (;;) {
    const line = text.indexOf("\r\n", at);
    const size = Number.parseInt(text.slice(at, line), 16);
    if (size === 0) return body;
    body += text.slice(line + 2, line + 2 + size);
    at = line + 2 + size + 2;
  }
}

// What the target writes to the upgrade; the client sees 502 and nothing of it.
const GARBAGE: [string, string][] = [
  ["SSH", "SSH-2.0-OpenSSH\r\n"],
  ["line feeds alone", "HTTP/1.1 101 OK\nUpgrade: websocket\n\n"],
  ["a folded field", "HTTP/1.1 101 OK\r\nConnection: Upgrade\r\nUpgrade:\r\n websocket\r\n\r\n"],
  ["a blank before the colon", "HTTP/1.1 101 OK\r\nConnection: Upgrade\r\nUpgrade : websocket\r\n\r\n"],
  ["another protocol", "HTTP/1.1 101 OK\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"],
  ["no protocol", "HTTP/1.1 101 OK\r\n\r\n"],
  ["two protocols", "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n\r\n"],
  ["a line without end", `HTTP/1.1 200 OK\r\nX: ${"x".repeat(70_000)}\r\n\r\n`],
  ["a head without end", `HTTP/1.1 200 OK\r\n${`X: ${"x".repeat(1_000)}\r\n`.repeat(80)}`],
  ["two framings", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
  ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"],
  ["HTTP/2", "PRI * HTTP/2.0\r\n\r\n"],
  ["a control byte", "HTTP/1.1 200 OK\r\nX: a\u0000b\r\n\r\n"],
];
for (const [what, bytes] of GARBAGE) {
  test(`a target that answers an upgrade with ${what} is 502`, async (t) => {
    const port = await rawTarget(t, (socket) => socket.once("data", () => socket.write(bytes, "latin1")));
    const home = await homeWith(t, port);
    const client = await rawClient(t, home, ASK);
    const text = await client.ended;
    assert.match(text, /^HTTP\/1\.1 502 /);
    assert.doesNotMatch(text, new RegExp(`OpenSSH|127\\.0\\.0\\.1|:${port}`));
    assert.equal(home.recorded.access[0]?.error, "GATEHOUSE_UPSTREAM_GARBAGE");
    client.socket.destroy();
    await settled(home);
  });
}

test("a refusal that breaks off in the middle does not look whole", async (t) => {
  for (const answer of [
    "HTTP/1.1 400 Bad Request\r\nContent-Length: 10\r\n\r\nhalf",
    "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalfzz\r\n",
  ]) {
    const port = await rawTarget(t, (socket) => socket.once("data", () => socket.end(answer)));
    const home = await homeWith(t, port);
    const text = await (await rawClient(t, home, ASK)).ended;
    assert.doesNotMatch(text, /0\r\n\r\n$/);
    await settled(home);
    assert.match(home.recorded.access[0]?.error ?? "", /UPSTREAM_(RESET|GARBAGE)/);
  }
});

test("nothing listening is 502, silence 504, an ended connection 502", async (t) => {
  const timeouts = { connectMs: 1_000, firstByteMs: 100, idleMs: 1_000, tunnelIdleMs: 1_000 };
  for (const [port, status, error] of [
    [await freePort(), 502, "GATEHOUSE_UPSTREAM_REFUSED"],
    [await rawTarget(t, (socket) => socket.resume()), 504, "GATEHOUSE_UPSTREAM_SLOW"],
    [await rawTarget(t, (socket) => socket.once("data", () => socket.end())), 502, "GATEHOUSE_UPSTREAM_RESET"],
  ] as const) {
    const home = await homeWith(t, port, { timeouts });
    const client = await rawClient(t, home, ASK);
    assert.ok((await client.ended).startsWith(`HTTP/1.1 ${status} `));
    assert.equal(home.recorded.access[0]?.error, error);
    client.socket.destroy();
    await settled(home);
  }
});

test("half-close goes through in both directions", async (t) => {
  let inside: Socket | undefined;
  let received = "";
  let hasEnded = false;
  const port = await rawTarget(t, (socket) => {
    inside = socket;
    socket.once("data", () => {
      socket.write(SWITCH);
      socket.on("data", (chunk: Buffer) => (received += chunk.toString()));
    });
    socket.once("end", () => (hasEnded = true));
  });
  const home = await homeWith(t, port);
  const client = await rawClient(t, home, ASK);
  await eventually("switched", () => client.received().includes("101"));
  client.socket.end("last words");
  await eventually("the FIN arrives behind them", () => hasEnded && received === "last words");
  inside?.write("still here");
  await eventually("the other direction lives", () => client.received().endsWith("still here"));
  inside?.end(" and gone");
  assert.ok((await client.ended).endsWith("still here and gone"));
  await settled(home);
  await eventually("the exchange is told", () => home.recorded.access.length === 1);
});

test("silence in both directions ends a tunnel, a byte in one keeps it", async (t) => {
  let inside: Socket | undefined;
  const port = await rawTarget(t, (socket) => {
    inside = socket;
    socket.once("data", () => socket.write(SWITCH));
  });
  const timeouts = { connectMs: 1_000, firstByteMs: 1_000, idleMs: 50, tunnelIdleMs: 300 };
  const home = await homeWith(t, port, { timeouts });
  const client = await rawClient(t, home, ASK);
  await eventually("switched", () => client.received().includes("101"));
  const speaker = inside;
  const silent = await homeWith(t, port, { timeouts });
  const since = performance.now();
  // For as long as two live that say nothing, one after the other.
  for (let lives = 0; lives < 2; lives++) {
    const other = await rawClient(t, silent, ASK);
    while (!other.socket.readableEnded) {
      const before = client.received().length;
      speaker?.write(".");
      await eventually("the byte is through", () => client.received().length > before);
    }
  }
  await client.ended;
  assert.ok(performance.now() - since > 700, "it was cut while bytes came");
  await settled(home);
  assert.deepEqual(
    home.counted.filter((call) => call.startsWith("limitReached")),
    ["limitReached(tunnel_silence)"],
  );
});

test("a slow end holds the other one back", async (t) => {
  let sent = 0;
  const port = await rawTarget(t, (socket) => {
    socket.once("data", () => {
      socket.write(SWITCH);
      const piece = Buffer.alloc(65_536);
      const more = (): void => {
        while (sent < 400_000_000) {
          sent += piece.length;
          if (!socket.write(piece)) return;
        }
      };
      socket.on("drain", more);
      more();
    });
  });
  const home = await homeWith(t, port);
  const client = await rawClient(t, home, ASK);
  await eventually("switched", () => client.received().includes("101"));
  client.socket.pause();
  let before = -1;
  await eventually("the target is held", () => {
    const isStill = sent === before;
    before = sent;
    return isStill;
  });
  assert.ok(sent < 50_000_000, `${sent} bytes were taken`);
  client.socket.destroy();
  await settled(home);
});

test("an upgrade that is none is refused before anything is dialled", async (t) => {
  let connections = 0;
  const port = await rawTarget(t, () => connections++);
  const home = await homeWith(t, port);
  for (const [request, status] of [
    [ASK.replace("Version: 13", "Version: 8"), 426],
    [ASK.replace(KEY, "c2hvcnQ="), 400],
    [ASK.replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\nhello"), 400],
    [ASK.replace("GET", "POST"), 400],
    [ASK.replace("Host: a.test", "Host: unknown.test"), 421],
    [ASK.replace("Host: a.test", "Host: a.test\r\nHost: a.test"), 400],
  ] as const) {
    const client = await rawClient(t, home, request);
    assert.ok((await client.ended).startsWith(`HTTP/1.1 ${status} `), `${status} for ${request}: ${client.received()}`);
    client.socket.destroy();
  }
  assert.equal(connections, 0);
  await settled(home);
});

test("a reload leaves a WebSocket alone, even when its site is gone", async (t) => {
  const { port } = await echoTarget(t);
  const home = await homeWith(t, port);
  const socket = await openWebSocket(t, { port: home.httpsPort, name: "a.test", ca: home.ca.caPem });
  home.reload([siteConfig("b.test", targetConfig(port))]);
  socket.send("still there?");
  assert.equal(String((await once(socket, "message"))[0]), "still there?");
  await assert.rejects(openWebSocket(t, { port: home.httpsPort, name: "a.test", ca: home.ca.caPem }));
});

test("a drain waits for tunnels until its deadline, then ends them", async (t) => {
  const { port } = await echoTarget(t);
  const home = await homeWith(t, port);
  const socket = await openWebSocket(t, { port: home.httpsPort, name: "a.test", ca: home.ca.caPem });
  const drained = home.front.drain({ withinMs: 300 });
  socket.send("during");
  assert.equal(String((await once(socket, "message"))[0]), "during");
  const [code] = (await once(socket, "close")) as [number];
  assert.equal(code, 1006);
  await drained;
  await settled(home);
});

test("500 upgrades aborted at every moment leave nothing behind", async (t) => {
  const { port } = await echoTarget(t);
  const home = await homeWith(t, port);
  await abortUpgrades({ httpsPort: home.httpsPort, name: "a.test", aborts: 500 });
  await settled(home);
  const opened = home.counted.filter((call) => call.startsWith("upgradeOpened")).length;
  assert.equal(home.counted.filter((call) => call.startsWith("upgradeClosed")).length, opened);
  assert.ok(opened > 100);
  const socket = await openWebSocket(t, { port: home.httpsPort, name: "a.test", ca: home.ca.caPem });
  socket.send("fine");
  assert.equal(String((await once(socket, "message"))[0]), "fine");
});

test("targets that vanish at every moment leave nothing behind", async (t) => {
  let count = 0;
  const port = await rawTarget(t, (socket) => {
    const moment = count++ % 4;
    if (moment === 0) socket.resetAndDestroy();
    socket.once("data", () => {
      if (moment === 1) socket.resetAndDestroy();
      else socket.write(SWITCH, () => (moment === 2 ? socket.resetAndDestroy() : socket.destroy()));
    });
  });
  const home = await homeWith(t, port);
  await Promise.all(
    Array.from({ length: 100 }, async () => {
      const client = await rawClient(t, home, ASK);
      await client.ended;
      client.socket.destroy();
    }),
  );
  await settled(home);
  assert.equal(home.recorded.access.length, 100);
});
