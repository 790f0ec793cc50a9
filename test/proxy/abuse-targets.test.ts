/**
 * Targets that lie or stall while many ask them, and clients that write into the log: who asks somebody honest behind the
 * same Gatehouse waits for none of it. S numbers are those of the project's list of attacks.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { assertServed, knock, NAME, startSiege } from "../support/siege.ts";
import { startTarget } from "../support/target.ts";

interface Lie {
  answer(socket: Socket): void;
  /** What the client is told, to the end of its connection. */
  told: RegExp;
  /** As the metric of target failures has it. */
  reason: string;
  body?: string;
}

const pourHeads = (socket: Socket): void => {
  socket.write("HTTP/1.1 200 OK\r\n");
  const more = (): void => {
    while (!socket.destroyed && socket.writable) if (!socket.write(`x: ${"y".repeat(1_000)}\r\n`)) return;
  };
  socket.on("drain", more);
  more();
};

const LIES: Record<string, Lie> = {
  "never answers (S21)": { answer: () => {}, told: /^HTTP\/1\.1 504 /, reason: "timeout" },
  "stalls in its answer (S21)": {
    answer: (socket) => void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"),
    told: /^HTTP\/1\.1 200 [^]*\r\n\r\nshort$/,
    reason: "timeout",
  },
  "speaks another protocol (S23)": {
    answer: (socket) => void socket.write("SSH-2.0-OpenSSH_9.2\r\n"),
    told: /^HTTP\/1\.1 502 /,
    reason: "protocol",
  },
  "writes a head without end (S23)": { answer: pourHeads, told: /^HTTP\/1\.1 502 /, reason: "protocol" },
  "closes before its answer (S22)": { answer: (socket) => socket.end(), told: /^HTTP\/1\.1 502 /, reason: "reset" },
  "closes in the middle of a chunked answer (S22)": {
    answer: (socket) => socket.end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"),
    // No last chunk: it must not look whole.
    told: /^HTTP\/1\.1 200 [^]*\r\n\r\n5\r\nshort\r\n$/,
    reason: "reset",
  },
  "answers before the upload is in, and closes (S22)": {
    answer: (socket) => socket.end("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"),
    told: /^HTTP\/1\.1 413 [^]*\r\nconnection: close\r\n[^]*no$/,
    reason: "",
    body: "Content-Length: 1000000\r\n\r\n",
  },
};

/** Asking at the same time, of each lie and over each lane. */
const CREW = 8;
const MEMORY = 100_000_000;

async function startLiar(t: TestContext, { answer }: Lie): Promise<{ port: number; open(): number }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
    socket.once("data", () => answer(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, open: () => sockets.size };
}

test(
  "targets that lie in every way at once cost their own visitors, and nobody else",
  { timeout: 170_000 },
  async (t) => {
    const honest = await startTarget(t, (_, res) => res.end("ok"));
    const liars = await Promise.all(Object.values(LIES).map((lie) => startLiar(t, lie)));
    const siege = await startSiege(
      t,
      `sites:\n  ${NAME}:\n    to: 127.0.0.1:${honest.port}\n    timeouts: { firstByte: 1s, idle: 1s }\n    routes:\n${liars
        .map(({ port }, at) => `      /lie${at}/: 127.0.0.1:${port}\n`)
        .join("")}`,
    );
    const { gatehouse } = siege;
    const since = siege.visits.length;
    const before = await gatehouse.rss();
    for (const version of ["1.1", "1.0"]) {
      await Promise.all(
        Object.entries(LIES).flatMap(([title, lie], at) =>
          Array.from({ length: CREW }, async () => {
            const visitor = await knock(t, { port: gatehouse.httpsPort, isTls: true });
            const method = lie.body === undefined ? "GET" : "POST";
            // HTTP/1.0 goes to the compat lane, and has its answer without chunks.
            visitor.send(
              `${method} /lie${at}/ HTTP/${version}\r\nHost: ${NAME}\r\nConnection: close\r\n${lie.body ?? "\r\n"}`,
            );
            const late = setTimeout(() => visitor.raw.destroy(), 60_000);
            await visitor.closed;
            clearTimeout(late);
            const chunks =
              version === "1.0" ? visitor.received().replace("\r\n\r\nshort", "\r\n\r\n5\r\nshort\r\n") : "";
            const got = title.includes("chunked") && version === "1.0" ? chunks : visitor.received();
            assert.match(got.slice(0, 2_000), lie.told, `${title}, HTTP/${version}`);
          }),
        ),
      );
    }
    assertServed(siege, since);
    const grown = (await gatehouse.rss()) - before;
    assert.ok(grown < MEMORY, `${grown} bytes more than before`);
    for (const [at, { reason }] of Object.values(LIES).entries()) {
      if (reason === "") continue;
      const upstream = `127.0.0.1:${liars[at]?.port}`;
      assert.ok(
        (await siege.metric("gatehouse_upstream_errors_total", { site: NAME, reason })) >= 2 * CREW,
        `${reason} from ${upstream}`,
      );
    }
    assert.ok((await siege.limit("answer_head_size")) >= 2 * CREW, "a head without end is counted");
    // None of their connections is kept.
    for (const liar of liars) while (liar.open() > 0) await wait(50);
    const said = gatehouse.lines.filter(({ event, level }) => event !== "access" && level >= 40);
    assert.ok(said.length < 3 * liars.length, said.map((line) => JSON.stringify(line)).join("\n"));
    assert.doesNotMatch(gatehouse.stderr(), /Error|Warning/);
  },
);

test("what a client writes stays one line of the log, short and without control characters (S30)", async (t) => {
  const honest = await startTarget(t, (_, res) => res.end("ok"));
  const siege = await startSiege(t, `sites:\n  ${NAME}: 127.0.0.1:${honest.port}\n`);
  const { gatehouse } = siege;
  const agents = [
    `long ${"A".repeat(15_000)}`,
    'quote " and \\n, {"event":"forged"}',
    `raw \u001b[31m red`,
    `bytes of U+202E ${Buffer.from("\u202e").toString("latin1")} turned`,
  ];
  for (const [at, agent] of agents.entries()) {
    const visitor = await knock(t, { port: gatehouse.httpsPort, isTls: true });
    visitor.socket.write(
      Buffer.from(
        `GET /log${at}?token=secret HTTP/1.1\r\nHost: ${NAME}\r\nAuthorization: Basic c2VjcmV0\r\nUser-Agent: ${agent}\r\nConnection: close\r\n\r\n`,
        "latin1",
      ),
    );
    await visitor.closed;
  }
  await gatehouse.line("access", (line) => String(line["url.path"]).startsWith("/log3"));
  const raw = gatehouse.lines.map((line) => JSON.stringify(line));
  for (const line of raw) {
    // After JSON's own escapes there is nothing that a terminal obeys.
    assert.doesNotMatch(line, /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
    assert.ok(line.length < 4_000, `${line.length} characters: ${line.slice(0, 200)}`);
    assert.doesNotMatch(line, /c2VjcmV0/);
  }
  assert.equal(gatehouse.lines.filter(({ event }) => event === "forged").length, 0);
});

test("S25 S26 what is compressed goes through as it is, and nothing is compressed on the way", async (t) => {
  // Ten megabytes once it is unpacked, which happens nowhere here.
  const bomb = gzipSync(Buffer.alloc(10_000_000));
  const plain = "compressible ".repeat(10_000);
  const target = await startTarget(t, (req, res) => {
    if (req.url === "/bomb") res.setHeader("content-encoding", "gzip").end(bomb);
    else res.end(plain);
  });
  const siege = await startSiege(t, `sites: { ${NAME}: "127.0.0.1:${target.port}" }\n`);
  const before = await siege.gatehouse.rss();
  for (const [path, bytes, encoding] of [
    ["/bomb", bomb, "gzip"],
    ["/plain", Buffer.from(plain), undefined],
  ] as const) {
    const req = request({
      port: siege.gatehouse.httpsPort,
      host: "127.0.0.1",
      servername: NAME,
      path,
      headers: { host: NAME, "accept-encoding": "gzip, br, zstd" },
      rejectUnauthorized: false,
      agent: false,
    });
    req.end();
    const [res] = (await once(req, "response")) as [IncomingMessage];
    const pieces: Buffer[] = [];
    for await (const piece of res) pieces.push(piece as Buffer);
    assert.equal(res.headers["content-encoding"], encoding);
    assert.ok(Buffer.concat(pieces).equals(bytes), path);
  }
  assert.ok((await siege.gatehouse.rss()) - before < MEMORY);
});

test("S46 a target that sends everybody to https itself is told that they came by it", async (t) => {
  const target = await startTarget(t, (req, res) => {
    if (req.headers["x-forwarded-proto"] === "https") res.end("ok");
    else res.writeHead(301, { location: `https://${String(req.headers.host)}${String(req.url)}` }).end();
  });
  const siege = await startSiege(t, `sites: { ${NAME}: "127.0.0.1:${target.port}" }\n`);
  for (const version of ["1.1", "1.0"]) {
    // Whatever the client says of it.
    for (const said of ["", "X-Forwarded-Proto: http\r\n", "X-Forwarded-Ssl: off\r\nForwarded: proto=http\r\n"]) {
      const visitor = await knock(t, { port: siege.gatehouse.httpsPort, isTls: true });
      visitor.send(`GET /page HTTP/${version}\r\nHost: ${NAME}\r\n${said}Connection: close\r\n\r\n`);
      await visitor.closed;
      assert.match(visitor.received(), /^HTTP\/1\.1 200 [^]*ok$/, `${version} ${said}`);
    }
  }
});
