/**
 * WebSocket over HTTP/2 (RFC 8441) through a real front: a stream on this side, an HTTP/1.1 upgrade on the other.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectH2, constants } from "node:http2";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { WebSocketServer } from "ws";
import { eventually } from "../support/eventually.ts";
import { type FrontHome, startFront } from "../support/front-home.ts";
import { CODE, FLAG, FRAME, RawH2 } from "../support/h2-raw.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { freePort, startTarget } from "../support/target.ts";

/** A target of bytes; `onHead` is given the head of the upgrade. */
async function rawTarget(t: TestContext, onHead: (socket: Socket, head: string) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("data", (chunk: Buffer) => onHead(socket, chunk.toString("latin1")));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const acceptFor = (head: string): string =>
  createHash("sha1")
    .update(`${/^sec-websocket-key: (.*)\r$/im.exec(head)?.[1]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest("base64");
const switchFor = (head: string, fields = ""): string =>
  `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
  `Sec-WebSocket-Accept: ${acceptFor(head)}\r\n${fields}\r\n`;

const homeWith = (t: TestContext, port: number, changes = {}, options = {}): Promise<FrontHome> =>
  startFront(t, [siteConfig("a.test", targetConfig(port), changes)], options);

async function session(t: TestContext, home: FrontHome): Promise<ClientHttp2Session> {
  const client = connectH2(`https://a.test:${home.httpsPort}`, {
    ca: home.ca.caPem,
    host: "127.0.0.1",
    servername: "a.test",
  });
  client.on("error", () => {});
  t.after(() => client.destroy());
  await once(client, "remoteSettings");
  return client;
}

const ASK = { ":method": "CONNECT", ":protocol": "websocket", ":authority": "a.test", ":path": "/ws?x=1" };

interface Tunnel {
  stream: ClientHttp2Stream;
  status: number;
  headers: Record<string, unknown>;
  received(): Buffer;
  hasEnded(): boolean;
}

async function ask(client: ClientHttp2Session, changes: Record<string, string> = {}): Promise<Tunnel> {
  const fields = { ...ASK, "sec-websocket-version": "13", origin: "https://a.test", ...changes };
  const stream = client.request(fields, { endStream: false });
  let bytes = Buffer.alloc(0);
  let hasEnded = false;
  stream.on("error", () => {});
  stream.on("data", (chunk: Buffer) => (bytes = Buffer.concat([bytes, chunk])));
  stream.once("end", () => (hasEnded = true));
  const [headers] = (await once(stream, "response")) as [Record<string, unknown>];
  return { stream, status: Number(headers[":status"]), headers, received: () => bytes, hasEnded: () => hasEnded };
}

const settled = (home: FrontHome): Promise<void> =>
  eventually("nothing is open", () => home.front.openConnections() === 0 && home.upstream.openSockets() === 0);

/** One masked frame of a client (RFC 6455 §5.2). */
function masked(opcode: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(payload.length < 126 ? 2 : payload.length < 65_536 ? 4 : 10);
  head[0] = 0x80 | opcode;
  head[1] = 0x80 | (head.length === 2 ? payload.length : head.length === 4 ? 126 : 127);
  if (head.length === 4) head.writeUInt16BE(payload.length, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(payload.length), 2);
  const mask = Buffer.from([1, 2, 3, 4]);
  return Buffer.concat([head, mask, payload.map((byte, at) => byte ^ (mask[at % 4] ?? 0))]);
}

test("a WebSocket server inside echoes over a stream, beside ordinary requests on the same connection", async (t) => {
  const { port, server: http } = await startTarget(t, (_, res) => res.end("page"));
  const server = new WebSocketServer({ server: http, maxPayload: 4_000_000, handleProtocols: () => "chat" });
  t.after(() => server.close());
  server.on("connection", (socket) => {
    socket.on("error", () => {});
    socket.on("message", (data: Buffer, isBinary) => socket.send(data, { binary: isBinary }));
  });
  const home = await homeWith(t, port);
  const client = await session(t, home);
  assert.equal(client.remoteSettings.enableConnectProtocol, true);
  const tunnel = await ask(client, { "sec-websocket-protocol": "chat, other" });
  assert.equal(tunnel.status, 200);
  assert.equal(tunnel.headers["sec-websocket-protocol"], "chat");
  for (const name of ["sec-websocket-accept", "upgrade", "connection"]) assert.equal(tunnel.headers[name], undefined);
  tunnel.stream.write(masked(1, Buffer.from("héllo")));
  await eventually("the echo", () => tunnel.received().includes("héllo"));
  tunnel.stream.write(masked(2, Buffer.alloc(1_000_000, 7)));
  await eventually("a megabyte", () => tunnel.received().length > 1_000_000);

  const page = client.request({ ":path": "/", ":authority": "a.test" });
  page.resume();
  const [headers] = (await once(page, "response")) as [Record<string, unknown>];
  assert.equal(headers[":status"], 200);
  assert.equal(home.counted.filter((call) => call === "connectionOpened(https)").length, 1);
  assert.ok(home.counted.includes("upgradeOpened(a.test)"));

  // 4321, and the server closes its side after the answer (RFC 6455 §7.1.1).
  tunnel.stream.end(masked(8, Buffer.from([0x10, 0xe1])));
  await once(tunnel.stream, "close");
  assert.deepEqual([...tunnel.received().subarray(-4)], [0x88, 2, 0x10, 0xe1]);
  assert.equal(tunnel.stream.rstCode, constants.NGHTTP2_NO_ERROR);
  await eventually("two access lines", () => home.recorded.access.length === 2);
  const record = home.recorded.access.find(({ kind }) => kind === "upgrade");
  assert.deepEqual([record?.version, record?.status, record?.path, record?.error], ["2", 200, "/ws?x=1", undefined]);
  assert.ok((record?.bytesIn ?? 0) > 1_000_000 && (record?.bytesOut ?? 0) > 1_000_000);
  assert.ok(home.counted.includes("upgradeClosed(a.test)"));
  client.close();
  await settled(home);
});

test("the target is asked for one upgrade over HTTP/1.1 with a key of ours", async (t) => {
  let asked = "";
  const port = await rawTarget(t, (socket, head) => {
    asked = head;
    socket.write(switchFor(head, "Sec-WebSocket-Extensions: permessage-deflate\r\n"));
  });
  const home = await homeWith(t, port);
  const tunnel = await ask(await session(t, home), {
    "sec-websocket-extensions": "permessage-deflate; client_max_window_bits",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "x-forwarded-for": "1.2.3.4",
    cookie: "a=1",
  });
  assert.equal(tunnel.headers["sec-websocket-extensions"], "permessage-deflate");
  assert.match(asked, /^GET \/ws\?x=1 HTTP\/1\.1\r\nhost: a\.test\r\n/);
  for (const field of [
    /^connection: Upgrade$/m,
    /^upgrade: websocket$/m,
    /^sec-websocket-version: 13$/m,
    /^sec-websocket-key: [A-Za-z0-9+/]{22}==$/m,
    /^sec-websocket-extensions: permessage-deflate; client_max_window_bits$/m,
    /^x-forwarded-for: 127\.0\.0\.1$/m,
    /^cookie: a=1$/m,
  ]) {
    assert.equal(
      asked.replaceAll("\r", "").split(new RegExp(field.source, "m")).length,
      2,
      `${field.source}: ${asked}`,
    );
  }
  assert.doesNotMatch(asked, /dGhlIHNhbXBsZSBub25jZQ|content-length|transfer-encoding|:protocol/i);
});

// What the target answers (its head of the request at hand), and what the client is told.
const ANSWERS: [what: string, answer: (head: string) => string, status: number, body: string][] = [
  ["403 with a length", () => "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nX-Why: 1\r\n\r\nno", 403, "no"],
  ["chunks", () => "HTTP/1.1 401 Who\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", 401, "no"],
  ["no body at all", () => "HTTP/1.1 204 No Content\r\n\r\n", 204, ""],
  ["an empty body", () => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, ""],
  [
    "the accept of another key",
    (head) => switchFor(head.replace(/sec-websocket-key: ./i, "sec-websocket-key: #")),
    502,
    "",
  ],
  ["101 without an accept", (head) => switchFor(head).replace(/Sec-WebSocket-Accept.*\r\n/, ""), 502, ""],
  ["two accepts", (head) => switchFor(head, `Sec-WebSocket-Accept: ${acceptFor(head)}\r\n`), 502, ""],
  ["another protocol", (head) => switchFor(head).replace("Upgrade: websocket", "Upgrade: h2c"), 502, ""],
  ["no HTTP", () => "SSH-2.0-OpenSSH\r\n", 502, ""],
];
for (const [what, answer, status, body] of ANSWERS) {
  test(`a target that answers with ${what}: ${status}, and the connection serves on`, async (t) => {
    const port = await rawTarget(t, (socket, head) => void socket.write(answer(head)));
    const home = await homeWith(t, port);
    const client = await session(t, home);
    const tunnel = await ask(client);
    assert.equal(tunnel.status, status);
    if (!tunnel.stream.closed) await once(tunnel.stream, "close");
    if (status !== 502) assert.equal(String(tunnel.received()), body);
    assert.equal(tunnel.stream.rstCode, constants.NGHTTP2_NO_ERROR);
    const [record] = home.recorded.access;
    assert.deepEqual(
      [record?.kind, record?.status, record?.error],
      ["upgrade", status, status === 502 ? "GATEHOUSE_UPSTREAM_GARBAGE" : undefined],
    );
    const failures = home.recorded.lines.filter(({ event }) => event === "upstream.failed");
    assert.equal(failures.length, status === 502 ? 1 : 0);
    assert.equal((await ask(client)).status, status);
    client.destroy();
    await settled(home);
  });
}

test("what is no WebSocket is refused before anything is dialled", async (t) => {
  let connections = 0;
  const port = await rawTarget(t, () => connections++);
  const home = await homeWith(t, port);
  const socket = { ...ASK, ":scheme": "https", "sec-websocket-version": "13" };
  for (const [fields, flags, expected] of [
    [{ ...socket, ":protocol": "connect-udp" }, 0, "501 END"],
    [{ ...socket, ":protocol": "websocket, x" }, 0, "501 END"],
    [{ ...socket, "sec-websocket-version": "8" }, 0, "426 END"],
    [{ ...ASK, ":scheme": "https" }, 0, "426 END"],
    [socket, FLAG.END_STREAM, "400 END"],
    [{ ...socket, "content-length": "5" }, 0, "400 END"],
    [{ ...socket, ":method": "GET" }, 0, "RST PROTOCOL_ERROR"],
    [{ ...socket, upgrade: "websocket" }, 0, "RST PROTOCOL_ERROR"],
    [{ ...socket, ":authority": "b.test" }, 0, "421 END"],
    [{ ":method": "CONNECT", ":authority": "a.test:22" }, 0, "405 END"],
  ] as const) {
    const client = await RawH2.open(home.httpsPort);
    client.headers(1, Object.entries(fields), FLAG.END_HEADERS | flags);
    assert.equal(await client.outcome(1), expected, JSON.stringify(fields));
    client.destroy();
  }
  assert.equal(connections, 0);
  await settled(home);
});

test("nothing listening is 502, silence 504, an ended connection 502", async (t) => {
  const silent = await rawTarget(t, () => {});
  const ended = await rawTarget(t, (socket) => void socket.end());
  const timeouts = { connectMs: 1_000, firstByteMs: 200, idleMs: 1_000, tunnelIdleMs: 1_000 };
  for (const [port, status, error] of [
    [await freePort(), 502, "GATEHOUSE_UPSTREAM_REFUSED"],
    [silent, 504, "GATEHOUSE_UPSTREAM_SLOW"],
    [ended, 502, "GATEHOUSE_UPSTREAM_RESET"],
  ] as const) {
    const home = await homeWith(t, port, { timeouts });
    const client = await session(t, home);
    assert.equal((await ask(client)).status, status);
    assert.equal(home.recorded.access[0]?.error, error);
    assert.equal(home.recorded.lines.filter(({ event }) => event === "upstream.failed").length, 1);
    client.destroy();
    await settled(home);
  }
});

test("END_STREAM goes on as a FIN and a FIN as END_STREAM, the other direction lives", async (t) => {
  let inside: Socket | undefined;
  let received = "";
  let hasEnded = false;
  const port = await rawTarget(t, (socket, head) => {
    inside = socket;
    socket.on("data", (chunk: Buffer) => (received += chunk.toString()));
    socket.once("end", () => (hasEnded = true));
    socket.write(switchFor(head));
  });
  const home = await homeWith(t, port);
  const client = await session(t, home);
  const first = await ask(client);
  first.stream.end("last words");
  await eventually("the FIN arrives behind them", () => hasEnded && received === "last words");
  inside?.write("still here");
  await eventually("the other direction lives", () => String(first.received()) === "still here");
  inside?.end(" and gone");
  await once(first.stream, "close");
  assert.equal(String(first.received()), "still here and gone");
  assert.equal(first.stream.rstCode, constants.NGHTTP2_NO_ERROR);

  hasEnded = false;
  received = "";
  const second = await ask(client);
  inside?.end("goodbye");
  await eventually("END_STREAM", () => second.hasEnded());
  assert.equal(String(second.received()), "goodbye");
  second.stream.write("not yet");
  await eventually("the other direction lives", () => received === "not yet");
  second.stream.end();
  await eventually("both are gone", () => hasEnded && home.recorded.access.length === 2);
  client.destroy();
  await settled(home);
});

test("a reset of either side reaches the other: RST_STREAM cuts the target, a dead target is CANCEL", async (t) => {
  let inside: Socket | undefined;
  const port = await rawTarget(t, (socket, head) => {
    inside = socket;
    // Half-open: a FIN alone would leave our side of the connection open.
    socket.resume();
    socket.write(switchFor(head));
  });
  const home = await homeWith(t, port);
  const raw = await RawH2.open(home.httpsPort);
  const asked = Object.entries({ ...ASK, ":scheme": "https", "sec-websocket-version": "13" });
  for (const [stream, code] of [
    [1, CODE.CANCEL],
    [3, CODE.NO_ERROR],
    [5, CODE.INTERNAL_ERROR],
  ] as const) {
    raw.headers(stream, asked, FLAG.END_HEADERS);
    assert.ok(await raw.until(() => raw.of(stream, FRAME.HEADERS).length > 0));
    raw.reset(stream, code);
    await eventually("the target is cut", () => home.upstream.openSockets() === 0);
  }
  raw.headers(7, asked, FLAG.END_HEADERS);
  assert.ok(await raw.until(() => raw.of(7, FRAME.HEADERS).length > 0));
  inside?.resetAndDestroy();
  assert.equal(await raw.outcome(7), "200 RST CANCEL");
  raw.destroy();
  await settled(home);
  await eventually("every exchange is told", () => home.recorded.access.length === 4);
  assert.equal(home.counted.filter((call) => call.startsWith("upgradeClosed")).length, 4);
});

test("a client that leaves before the answer takes the target's connection with it", async (t) => {
  let isAsked = false;
  let isCut = false;
  const port = await rawTarget(t, (socket) => {
    isAsked = true;
    socket.once("close", () => (isCut = true)).resume();
    socket.once("end", () => socket.destroy());
  });
  const home = await homeWith(t, port);
  const client = await session(t, home);
  const stream = client.request({ ...ASK, "sec-websocket-version": "13" }, { endStream: false });
  stream.on("error", () => {});
  stream.write("early");
  await eventually("the target is asked", () => isAsked);
  stream.close(constants.NGHTTP2_CANCEL);
  await eventually("the target is left", () => isCut && home.upstream.openSockets() === 0);
  await eventually("and it is told", () => home.recorded.access.length === 1);
  assert.deepEqual([home.recorded.access[0]?.error, home.recorded.access[0]?.status], ["GATEHOUSE_CLIENT_GONE", 0]);
});

test("silence in both directions ends a tunnel, an idle limit of the session does not", async (t) => {
  const port = await rawTarget(t, (socket, head) => void socket.write(switchFor(head)));
  const timeouts = { connectMs: 1_000, firstByteMs: 1_000, idleMs: 50, tunnelIdleMs: 600 };
  const home = await homeWith(t, port, { timeouts }, { limits: { h2: { idleMs: 100 } } });
  const raw = await RawH2.open(home.httpsPort);
  const fields = Object.entries({ ...ASK, ":scheme": "https", "sec-websocket-version": "13" });
  const since = performance.now();
  raw.headers(1, fields, FLAG.END_HEADERS);
  assert.equal(await raw.outcome(1), "200 RST CANCEL");
  assert.ok(performance.now() - since > 500, "the session's limit cut it");
  assert.ok(await raw.until(() => raw.isClosed), "the session without streams stays");
  await settled(home);
});

test("a slow client holds the target back, a slow target the client", async (t) => {
  let sent = 0;
  const flood = await rawTarget(t, (socket, head) => {
    socket.write(switchFor(head));
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
  const home = await homeWith(t, flood);
  const raw = await RawH2.open(home.httpsPort);
  const fields = Object.entries({ ...ASK, ":scheme": "https", "sec-websocket-version": "13" });
  raw.headers(1, fields, FLAG.END_HEADERS);
  let before = -1;
  await eventually("the target is held", () => {
    const isStill = sent === before && sent > 0;
    before = sent;
    return isStill;
  });
  assert.ok(sent < 50_000_000, `${sent} bytes were taken`);
  raw.destroy();
  await settled(home);

  const deaf = await rawTarget(t, (socket, head) => {
    socket.write(switchFor(head));
    socket.pause();
  });
  const other = await homeWith(t, deaf);
  const tunnel = await ask(await session(t, other));
  const piece = Buffer.alloc(65_536);
  let written = 0;
  const more = (): void => {
    while (written < 400_000_000) {
      written += piece.length;
      if (!tunnel.stream.write(piece)) return;
    }
  };
  tunnel.stream.on("drain", more);
  more();
  let last = -1;
  await eventually("the client is held", () => {
    const isStill = written === last;
    last = written;
    return isStill;
  });
  assert.ok(written < 50_000_000, `${written} bytes were taken`);
});

test("a tunnel outlives a reload that takes its site away, and a drain waits for it until its deadline", async (t) => {
  const port = await rawTarget(t, (socket, head) => {
    socket.write(switchFor(head));
    socket.on("data", (chunk: Buffer) => socket.write(chunk));
  });
  const home = await homeWith(t, port);
  const client = await session(t, home);
  const tunnel = await ask(client);
  home.reload([siteConfig("b.test", targetConfig(port))]);
  tunnel.stream.write("after the reload");
  await eventually("it echoes", () => String(tunnel.received()) === "after the reload");
  const drained = home.front.drain({ withinMs: 400 });
  await once(client, "goaway");
  tunnel.stream.write(", in the drain");
  await eventually("it echoes", () => String(tunnel.received()).endsWith(", in the drain"));
  await drained;
  await settled(home);
  await eventually("it is told", () => home.recorded.access.length === 1);
});
