/**
 * HTTP/2 requests through a real front to real targets: what is relayed, what is cut, and who hears of it.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { type ClientHttp2Session, connect as connectH2, constants, type IncomingHttpHeaders } from "node:http2";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { eventually } from "../support/eventually.ts";
import { type FrontHome, startFront } from "../support/front-home.ts";
import { CODE, FLAG, frame, FRAME, RawH2, request } from "../support/h2-raw.ts";
import { needs, runProgram } from "../support/programs.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { countBytes, freePort, sendBytes, startTarget } from "../support/target.ts";

/** A target that writes what it is told, whatever was asked. */
async function rawTarget(t: TestContext, onConnection: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
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

const says = (t: TestContext, answer: string, then?: (socket: Socket) => void): Promise<number> =>
  rawTarget(t, (socket) =>
    socket.once("data", () => {
      socket.write(answer, "latin1");
      then?.(socket);
    }),
  );

function session(t: TestContext, home: FrontHome): ClientHttp2Session {
  const client = connectH2(`https://a.test:${home.httpsPort}`, {
    ca: home.ca.caPem,
    host: "127.0.0.1",
    servername: "a.test",
  });
  client.on("error", () => {});
  t.after(() => client.destroy());
  return client;
}

interface Answer {
  headers: IncomingHttpHeaders;
  body: string;
  trailers: IncomingHttpHeaders;
  informational: number[];
  code: number;
}

async function ask(
  client: ClientHttp2Session,
  headers: Record<string, string | string[]>,
  options: { body?: string; trailers?: Record<string, string> } = {},
): Promise<Answer> {
  const stream = client.request(
    { ":authority": "a.test", ...headers },
    {
      endStream: options.body === undefined,
      waitForTrailers: options.trailers !== undefined,
    },
  );
  const answer: Answer = { headers: {}, body: "", trailers: {}, informational: [], code: 0 };
  stream.on("error", () => {});
  stream.on("response", (got) => (answer.headers = got));
  stream.on("headers", (got) => answer.informational.push(Number(got[":status"])));
  stream.on("trailers", (got) => (answer.trailers = got));
  stream.on("wantTrailers", () => stream.sendTrailers(options.trailers ?? {}));
  stream.on("data", (chunk: Buffer) => (answer.body += chunk.toString()));
  if (options.body !== undefined) stream.end(options.body);
  await new Promise((resolve) => stream.once("close", resolve));
  answer.code = stream.rstCode ?? 0;
  return answer;
}

async function homeWith(t: TestContext, port: number, changes = {}, options = {}): Promise<FrontHome> {
  return startFront(t, [siteConfig("a.test", targetConfig(port), changes)], options);
}

const settled = (home: FrontHome): Promise<void> =>
  eventually("nothing is open", () => home.front.openConnections() === 0 && home.upstream.openSockets() === 0);

test("a request and its body reach the target with explicit framing and the answer comes back whole", async (t) => {
  let got: { head: IncomingMessage; bytes: number } | undefined;
  const { port } = await startTarget(t, (req, res) => {
    void countBytes(req).then((bytes) => {
      got = { head: req, bytes };
      res.writeHead(201, { "x-answer": "é", "set-cookie": ["a=1", "b=2"] }).end("made");
    });
  });
  const home = await homeWith(t, port);
  const client = session(t, home);
  for (const [headers, framing] of [
    [{ "content-length": "5" }, ["content-length", "5"]],
    [{}, ["transfer-encoding", "chunked"]],
  ] as const) {
    const answer = await ask(client, { ":method": "POST", ":path": "/a?b=c", ...headers }, { body: "hello" });
    assert.equal(answer.headers[":status"], 201);
    assert.equal(answer.headers["x-answer"], "é");
    assert.deepEqual(answer.headers["set-cookie"], ["a=1", "b=2"]);
    assert.equal(answer.body, "made");
    assert.equal(got?.bytes, 5);
    assert.equal(got.head.url, "/a?b=c");
    assert.equal(got.head.headers[framing[0]], framing[1]);
    assert.equal(got.head.headers["x-forwarded-proto"], "https");
  }
  const [record] = home.recorded.access;
  assert.deepEqual(
    [record?.version, record?.status, record?.bytesIn, record?.bytesOut, record?.error],
    ["2", 201, 5, 4, undefined],
  );
});

test("HEAD, 204, 304 and an empty body have no DATA and leave the connection to the target in order", async (t) => {
  let connections = 0;
  const { port, server } = await startTarget(t, (req, res) => {
    if (req.method === "HEAD") res.writeHead(200, { "content-length": "1234" });
    else res.writeHead(Number(req.url?.slice(1)), req.url === "/200" ? { "content-length": "0" } : {});
    res.end();
  });
  server.on("connection", () => connections++);
  const client = session(t, await homeWith(t, port));
  const head = await ask(client, { ":method": "HEAD", ":path": "/200" });
  assert.deepEqual([head.headers["content-length"], head.body, head.code], ["1234", "", 0]);
  for (const status of [204, 304, 200]) {
    const answer = await ask(client, { ":path": `/${status}` });
    assert.deepEqual([answer.headers[":status"], answer.body, answer.code], [status, "", 0]);
  }
  assert.equal(connections, 1);
});

test("trailers go both ways, those that frame or route do not", async (t) => {
  let got: IncomingMessage | undefined;
  const { port } = await startTarget(t, (req, res) => {
    void countBytes(req).then(() => {
      got = req;
      res.writeHead(200, { trailer: "x-sum" });
      res.write("body");
      res.addTrailers({ "x-sum": "42", host: "evil.test" });
      res.end();
    });
  });
  const client = session(t, await homeWith(t, port));
  const answer = await ask(
    client,
    { ":method": "POST" },
    { body: "hello", trailers: { "x-check": "7", authorization: "no" } },
  );
  assert.deepEqual({ ...answer.trailers }["x-sum"], "42");
  assert.equal(answer.trailers["host"], undefined);
  assert.equal(got?.trailers["x-check"], "7");
  assert.equal(got.trailers["authorization"], undefined);
});

test("early hints pass, and an awaited 100 is given when the target has taken the connection", async (t) => {
  const { port } = await startTarget(t, (req, res) => {
    res.writeEarlyHints({ link: "</a.css>; rel=preload" }, () => {
      void countBytes(req).then((bytes) => res.end(String(bytes)));
    });
  });
  const client = session(t, await homeWith(t, port));
  const stream = client.request({ ":method": "POST", ":authority": "a.test", expect: "100-continue" });
  const interim: number[] = [];
  stream.on("headers", (headers) => interim.push(Number(headers[":status"])));
  stream.once("continue", () => stream.end("hello"));
  const [headers] = (await once(stream, "response")) as [IncomingHttpHeaders];
  let body = "";
  for await (const chunk of stream) body += String(chunk);
  assert.deepEqual([headers[":status"], body, interim], [200, "5", [100, 103]]);
});

test("fields of a connection that a target sends are not relayed (T17)", async (t) => {
  const port = await says(
    t,
    "HTTP/1.1 200 OK\r\nConnection: keep-alive, x-private\r\nKeep-Alive: timeout=5\r\nX-Private: 1\r\nUpgrade: h2c\r\n" +
      'Proxy-Connection: x\r\nAlt-Svc: h3=":443"\r\nTE: gzip\r\nTransfer-Encoding: chunked\r\nX-Kept: 1\r\n\r\n2\r\nok\r\n0\r\n\r\n',
  );
  const answer = await ask(session(t, await homeWith(t, port)), {});
  assert.equal(answer.body, "ok");
  const names = Object.keys(answer.headers).filter((name) => name !== "date");
  assert.deepEqual(names.sort(), [":status", "x-kept"]);
});

// Answer, what the client sees, the code in the log; `end` closes the target's connection after the answer.
const BROKEN: [string, string, string, string | undefined, ("end" | "destroy")?][] = [
  ["no HTTP at all", "SSH-2.0-OpenSSH_9.2\r\n", "502 END", "GATEHOUSE_UPSTREAM_GARBAGE"],
  [
    "101 (T18)",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "502 END",
    "GATEHOUSE_UPSTREAM_GARBAGE",
  ],
  ["101 without Upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "502 END", "GATEHOUSE_UPSTREAM_GARBAGE"],
  [
    "two framings",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "502 END",
    "GATEHOUSE_UPSTREAM_GARBAGE",
  ],
  ["status 600", "HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n", "502 END", "GATEHOUSE_UPSTREAM_GARBAGE"],
  [
    "interim answers without end",
    "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(50),
    "502 END",
    "GATEHOUSE_UPSTREAM_GARBAGE",
  ],
  ["closed before a byte", "", "502 END", "GATEHOUSE_UPSTREAM_RESET", "end"],
  ["closed within the head", "HTTP/1.1 200 OK\r\nContent-", "502 END", "GATEHOUSE_UPSTREAM_RESET", "destroy"],
  [
    "a short body (T19)",
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
    "200 RST INTERNAL_ERROR",
    "GATEHOUSE_UPSTREAM_RESET",
    "end",
  ],
  [
    "a chunked body without its end (T16)",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
    "200 RST INTERNAL_ERROR",
    "GATEHOUSE_UPSTREAM_RESET",
    "end",
  ],
  [
    "a broken chunk",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nzz\r\n",
    "200 RST INTERNAL_ERROR",
    "GATEHOUSE_UPSTREAM_GARBAGE",
  ],
  [
    "a body longer than it says (T19)",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
    "200 END",
    undefined,
  ],
  ["a body that ends with its connection", "HTTP/1.0 200 OK\r\n\r\nuntil the end", "200 END", undefined, "end"],
];

for (const [what, answer, outcome, error, ending] of BROKEN) {
  test(`a target that answers with ${what}: ${outcome}`, async (t) => {
    const port = await says(t, answer, (socket) => {
      if (ending !== undefined) socket[ending]();
    });
    const home = await homeWith(t, port);
    const client = await RawH2.open(home.httpsPort);
    client.headers(1, request());
    assert.equal(await client.outcome(1), outcome);
    assert.doesNotMatch(client.body(1), new RegExp(`127\\.0\\.0\\.1|${port}`));
    await eventually("the exchange is told", () => home.recorded.access.length === 1);
    client.destroy();
    assert.equal(home.recorded.access[0]?.error, error);
    await settled(home);
  });
}

test("nothing listening is 502, a target that never answers 504, one that stops in the middle a reset", async (t) => {
  const refused = await homeWith(t, await freePort());
  assert.equal((await ask(session(t, refused), {})).headers[":status"], 502);
  assert.equal(refused.recorded.access[0]?.error, "GATEHOUSE_UPSTREAM_REFUSED");

  const timeouts = { connectMs: 1_000, firstByteMs: 100, idleMs: 100, tunnelIdleMs: 1_000 };
  const mute = await homeWith(t, await rawTarget(t, (socket) => socket.resume()), { timeouts });
  assert.equal((await ask(session(t, mute), {})).headers[":status"], 504);
  assert.equal(mute.upstream.openSockets(), 0);

  const stalls = await homeWith(t, await says(t, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), { timeouts });
  const answer = await ask(session(t, stalls), {});
  assert.deepEqual(
    [answer.headers[":status"], answer.body, answer.code],
    [200, "half", constants.NGHTTP2_INTERNAL_ERROR],
  );
  assert.equal(stalls.recorded.access[0]?.error, "GATEHOUSE_UPSTREAM_SLOW");
});

test("a kept connection that the target closed meanwhile is asked once more on a new one, only for safe repeats", async (t) => {
  let connections = 0;
  // Answers once per connection; the second request on it is answered with a reset.
  const port = await rawTarget(t, (socket) => {
    connections++;
    let requests = 0;
    socket.on("data", () => {
      if (++requests === 1) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      else socket.resetAndDestroy();
    });
  });
  const home = await homeWith(t, port);
  const client = session(t, home);
  assert.equal((await ask(client, {})).body, "ok");
  assert.equal((await ask(client, {})).body, "ok");
  assert.equal(connections, 2);
  assert.equal((await ask(client, {})).body, "ok");
  const post = await ask(client, { ":method": "POST", "content-length": "1" }, { body: "x" });
  assert.ok([200, 502].includes(Number(post.headers[":status"])));
  const kept = await ask(client, { ":method": "POST", "content-length": "1" }, { body: "x" });
  assert.ok(
    [post, kept].some((answer) => Number(answer.headers[":status"]) === 502),
    "a POST went to the target twice",
  );
});

test("a client that resets an upload (T15), with any code, destroys the request at the target", async (t) => {
  for (const code of [CODE.CANCEL, CODE.NO_ERROR]) {
    let received = "";
    let isCut = false;
    const port = await rawTarget(t, (socket) => {
      socket.on("data", (chunk: Buffer) => (received += chunk.toString()));
      socket.once("close", () => (isCut = true));
    });
    const home = await homeWith(t, port);
    const client = await RawH2.open(home.httpsPort);
    client.headers(1, request({ ":method": "POST" }), FLAG.END_HEADERS);
    client.data(1, "half", 0);
    await eventually("half of it is there", () => received.includes("half"));
    client.reset(1, code);
    await eventually("the target's connection is cut", () => isCut);
    assert.doesNotMatch(received, /0\r\n\r\n$/);
    assert.equal(home.recorded.access[0]?.error, "GATEHOUSE_CLIENT_GONE");
    client.destroy();
    await settled(home);
  }
});

test("DATA after END_STREAM (T13) and a frame inside a header block (T14) are errors, the process lives", async (t) => {
  const { port } = await startTarget(t, (_, res) => res.end("ok"));
  const home = await homeWith(t, port);
  const after = await RawH2.open(home.httpsPort);
  after.headers(1, request());
  after.data(1, "more");
  assert.match(await after.outcome(1), /STREAM_CLOSED|GOAWAY|closed|200 END/);
  const inside = await RawH2.open(home.httpsPort);
  inside.headers(1, request(), FLAG.END_STREAM);
  inside.write(frame(FRAME.PING, 0, 0, Buffer.alloc(8)));
  assert.match(await inside.outcome(1), /^(GOAWAY|closed)/);
  for (const client of [after, inside]) client.destroy();
  const honest = await RawH2.open(home.httpsPort);
  honest.headers(1, request());
  assert.equal(await honest.outcome(1), "200 END");
  honest.destroy();
});

test("rapid reset: nothing is asked of the target, and the session is cut", async (t) => {
  let requests = 0;
  const { port } = await startTarget(t, (_, res) => {
    requests++;
    res.end();
  });
  const home = await homeWith(t, port);
  const client = await RawH2.open(home.httpsPort);
  for (let stream = 1; stream < 2_001; stream += 2) {
    client.headers(stream, request());
    client.reset(stream);
  }
  assert.ok(await client.until(() => client.isClosed), "the session is still open after 1,000 resets");
  await settled(home);
  assert.ok(requests < 100, `${requests} requests reached the target`);
});

test("a session without streams is closed, with a streaming answer it is not", async (t) => {
  const { port } = await startTarget(t, (_, res) => res.write("begun"));
  const home = await homeWith(t, port, {}, { limits: { h2: { idleMs: 150 } } });
  const silent = await RawH2.open(home.httpsPort, { preface: false });
  const idle = await RawH2.open(home.httpsPort);
  const busy = await RawH2.open(home.httpsPort);
  busy.headers(1, request());
  assert.ok(await silent.until(() => silent.isClosed));
  assert.ok(await idle.until(() => idle.isClosed));
  assert.equal(busy.isClosed, false);
  busy.reset(1);
  assert.ok(await busy.until(() => busy.isClosed));
  await settled(home);
});

test("a client that never opens its window is cut, and so is the target's side", async (t) => {
  const { port } = await startTarget(t, (_, res) => sendBytes(res, 50_000_000));
  const home = await homeWith(t, port, {}, { limits: { writeStallMs: 200, h2: { idleMs: 300 } } });
  const client = await RawH2.open(home.httpsPort, { settings: [[4, 0]] });
  client.headers(1, request());
  client.headers(3, request({ ":authority": "unknown.test" }));
  assert.match(await client.outcome(1), /RST INTERNAL_ERROR|GOAWAY|closed/);
  assert.match(await client.outcome(3), /RST INTERNAL_ERROR|GOAWAY|closed/);
  await eventually("the target's side is gone", () => home.upstream.openSockets() === 0);
  // Its TCP connection is not read at all: even the reset cannot leave.
  const deaf = await RawH2.open(home.httpsPort, { settings: [[4, 0x7fffffff]] });
  deaf.window(0, 0x7fff0000 - 65_535);
  deaf.socket.pause();
  deaf.headers(1, request());
  await eventually("the session is destroyed", () => home.front.openConnections() <= 1, 10_000);
  client.destroy();
  deaf.destroy();
  await settled(home);
});

test("a slow reader slows the target down: little is buffered", async (t) => {
  let sent = 0;
  const port = await rawTarget(t, (socket) => {
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 500000000\r\n\r\n");
      const piece = Buffer.alloc(65_536);
      const more = (): void => {
        do sent += piece.length;
        while (socket.write(piece) && sent < 500_000_000);
      };
      socket.on("drain", more);
      more();
    });
  });
  const home = await homeWith(t, port);
  const client = await RawH2.open(home.httpsPort);
  client.headers(1, request());
  await client.until(() => client.body(1).length >= 65_535);
  // The rest is in socket buffers of the kernel, which are some megabytes on loopback.
  let before = -1;
  await eventually("the target is held", () => {
    const isStill = before === sent;
    before = sent;
    return isStill && sent > 65_536;
  });
  assert.ok(sent < 20_000_000, `${sent} bytes were taken from the target`);
  client.destroy();
  await settled(home);
});

test(
  "a body larger than maxBody is 413 whether it is announced or not, and the unread rest is called off",
  { skip: needs("curl") },
  async (t) => {
    const { port } = await startTarget(t, (req, res) => {
      req.resume();
      req.on("end", () => res.end());
    });
    const home = await homeWith(t, port, { maxBody: 100_000 });
    for (const announced of [["-H", "content-length: 10000000"], []]) {
      const { stdout, stderr } = await runProgram(
        "curl",
        [
          "-sSk",
          "--resolve",
          `a.test:${home.httpsPort}:127.0.0.1`,
          "-o",
          "/dev/null",
          "-w",
          "%{http_code} %{http_version}",
        ].concat(["-T", "-", ...announced, `https://a.test:${home.httpsPort}/`]),
        { input: "x".repeat(10_000_000) },
      );
      assert.equal(stdout, "413 2", stderr);
    }
    await settled(home);
  },
);

test("GOAWAY at the drain lets streams end", async (t) => {
  let finish: (() => void) | undefined;
  const { port } = await startTarget(t, (_, res) => {
    res.write("begun ");
    finish = () => res.end("ended");
  });
  const home = await homeWith(t, port);
  const client = await RawH2.open(home.httpsPort);
  client.headers(1, request());
  await client.until(() => client.body(1) !== "");
  const drained = home.front.drain({ withinMs: 5_000 });
  assert.ok(await client.until(() => client.frames.some(({ type }) => type === FRAME.GOAWAY)));
  finish?.();
  assert.ok(await client.until(() => client.body(1) === "begun ended"));
  client.destroy();
  await drained;
  assert.equal(home.front.openConnections(), 0);
});

test("nghttp takes what it asks for", { skip: needs("nghttp", "nghttp2-client") }, async (t) => {
  const { port } = await startTarget(t, (req, res) => void countBytes(req).then((bytes) => res.end(`got ${bytes}`)));
  const home = await homeWith(t, port);
  const { code, stdout, stderr } = await runProgram(
    "nghttp",
    ["-v", "-H", ":authority: a.test", "-d", import.meta.filename, `https://127.0.0.1:${home.httpsPort}/up`],
    { withinMs: 10_000 },
  );
  assert.equal(code, 0, stderr);
  assert.match(stdout, /:status: 200/);
  assert.match(stdout, /got \d+/);
});

test("h2load: 2,000 requests over 10 sessions, none fails", { skip: needs("h2load", "nghttp2-client") }, async (t) => {
  const { port } = await startTarget(t, (_, res) => res.end("x".repeat(1_000)));
  // A busy machine takes its time: not the deadlines are tried here.
  const timeouts = { connectMs: 60_000, firstByteMs: 60_000, idleMs: 60_000, tunnelIdleMs: 60_000 };
  const home = await homeWith(t, port, { timeouts });
  const load = ["-n", "2000", "-c", "10", "-m", "20", "-H", ":authority: a.test"];
  const { stdout } = await runProgram("h2load", [...load, `https://127.0.0.1:${home.httpsPort}/`], {
    withinMs: 90_000,
  });
  assert.match(stdout, /2000 done, 2000 succeeded, 0 failed, 0 errored/);
  assert.match(stdout, /2000 2xx/);
  await eventually("sessions are gone", () => home.front.openConnections() === 0);
  assert.equal(home.recorded.access.length, 2_000);
  assert.deepEqual(
    home.recorded.access.filter(({ error, status }) => error !== undefined || status !== 200),
    [],
  );
});

test(
  "curl uploads and downloads over HTTP/2, also as HTTP/1.1 on the same port",
  { skip: needs("curl") },
  async (t) => {
    const { port } = await startTarget(t, (req, res) => {
      if (req.method === "PUT") void countBytes(req).then((bytes) => res.end(String(bytes)));
      else sendBytes(res, 20_000_000);
    });
    const home = await homeWith(t, port);
    const url = `https://a.test:${home.httpsPort}/`;
    const common = ["-sS", "-k", "--resolve", `a.test:${home.httpsPort}:127.0.0.1`];
    for (const version of ["--http2", "--http1.1"]) {
      const down = await runProgram("curl", [
        ...common,
        version,
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{size_download}",
        url,
      ]);
      assert.equal(down.stdout, "200 20000000", down.stderr);
      const up = await runProgram("curl", [...common, version, "-T", "-", url], { input: "y".repeat(5_000_000) });
      assert.equal(up.stdout, "5000000", up.stderr);
    }
  },
);
