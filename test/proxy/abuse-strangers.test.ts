/**
 * Strangers who want to know more, go further or cost more than they may: other hosts, other targets, the way of the
 * challenges, the plain port, and texts that are slow to read. S numbers are those of the project's list of attacks.
 */
import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { readdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { eventually } from "../support/eventually.ts";
import { startFront } from "../support/front-home.ts";
import { temporaryFolder } from "../support/gatehouse.ts";
import { FRAME, RawH2, request } from "../support/h2-raw.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { needs, runProgram } from "../support/programs.ts";
import { parseAnswers, rawClient } from "../support/raw-client.ts";
import { assertServed, type Attacker, knock, NAME, startSiege } from "../support/siege.ts";
import { startTarget } from "../support/target.ts";

const MEMORY = 150_000_000;
const PATIENCE_MS = 30_000;
const UPGRADE =
  "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

interface Case {
  bytes: string;
}
const corpus = ["http1-requests", "own-requests"].flatMap(
  (name) =>
    JSON.parse(readFileSync(new URL(`../corpus/data/${name}.json`, import.meta.url), "utf8")) as Partial<Case>[],
);

/** `T` is a place that a stranger would like to be asked for him. */
const LEADING_ELSEWHERE = [
  "GET http://T/ HTTP/1.1\r\nHost: a.test",
  "GET http://T/ HTTP/1.1\r\nHost: T",
  "GET http://a.test@T/ HTTP/1.1\r\nHost: a.test",
  "GET http://T#@a.test/ HTTP/1.1\r\nHost: a.test",
  "GET http://a.test\\@T/ HTTP/1.1\r\nHost: a.test",
  "GET / HTTP/1.1\r\nHost: T",
  "GET / HTTP/1.1\r\nHost: a.test@T",
  "GET / HTTP/1.1\r\nHost: T@a.test",
  "GET / HTTP/1.1\r\nHost: a.test:T",
  "GET / HTTP/1.1\r\nHost: a.test, T",
  "GET / HTTP/1.1\r\nHost: elsewhere.test",
  "GET / HTTP/1.1\r\nHost: localhost",
  "GET / HTTP/1.1\r\nHost: 169.254.169.254",
  "CONNECT T HTTP/1.1\r\nHost: T",
  "CONNECT T HTTP/1.1\r\nHost: a.test",
  "GET //T/ HTTP/1.1\r\nHost: a.test",
  "GET @T/ HTTP/1.1\r\nHost: a.test",
  "GET /@T HTTP/1.1\r\nHost: a.test",
  "GET /\\T/ HTTP/1.1\r\nHost: a.test",
  "GET T HTTP/1.1\r\nHost: a.test",
  `GET http://T/ HTTP/1.1\r\nHost: a.test\r\n${UPGRADE}`,
  `GET / HTTP/1.1\r\nHost: T\r\n${UPGRADE}`,
  "GET / HTTP/1.0",
  ...[
    "X-Forwarded-Host: T",
    "X-Forwarded-Server: T",
    "X-Host: T",
    "Forwarded: host=T;for=T",
    "X-Original-URL: http://T/",
    "X-Rewrite-URL: http://T/",
    "Destination: http://T/",
    "Proxy-Host: T",
    "Origin: http://T",
    "Referer: http://T/",
    "True-Client-IP: T",
  ].map((field) => `GET / HTTP/1.1\r\nHost: a.test\r\n${field}`),
];

test(
  "S35 nothing a stranger writes chooses whom Gatehouse asks, or makes it look up a name",
  { timeout: 120_000 },
  async (t) => {
    const target = await startTarget(t, (req, res) => {
      req.resume();
      res.end("ours");
    });
    let trapped = 0;
    const trap = await startTarget(t, (_, res) => res.end("the trap"));
    trap.server.on("connection", () => trapped++);
    const home = await startFront(t, [siteConfig("a.test", targetConfig(target.port))], {
      limits: { newConnectionsPerAddress: 100_000, connectionsPerNeighbour: 1_000 },
    });

    const dialled = new Set<string>();
    const lookedUp = new Set<string>();
    const watch = (message: unknown): void => {
      const { socket } = message as { socket: Socket };
      socket.on("connectionAttempt", (ip: string, port: number) => dialled.add(`${ip}:${port}`));
      socket.on("lookup", (_error, _address, _family, host: string) => lookedUp.add(host));
    };
    subscribe("net.client.socket", watch);
    t.after(() => unsubscribe("net.client.socket", watch));

    const place = `127.0.0.1:${trap.port}`;
    const all = [
      ...LEADING_ELSEWHERE.map((text) =>
        Buffer.from(`${text.replaceAll("T", (_, at: number) => (isPlace(text, at) ? place : "T"))}\r\n\r\n`),
      ),
      ...corpus.flatMap(({ bytes }) => (bytes === undefined ? [] : Buffer.from(bytes, "base64"))),
    ];
    assert.ok(all.length > 100);
    for (const [port, serverName] of [
      [home.httpsPort, "a.test"],
      [home.httpPort, undefined],
    ] as const) {
      for (const bytes of all) {
        const client = rawClient(t, port, serverName);
        client.send(bytes);
        // Whoever is not answered wants more bytes; a second request shows that this one was dealt with.
        client.socket.end();
        await client.until("an end", (received, isClosed) => isClosed || received.includes("\r\n\r\n"));
        assert.doesNotMatch(client.received(), /the trap/);
        client.socket.destroy();
      }
    }
    const h2 = await RawH2.open(home.httpsPort);
    t.after(() => h2.destroy());
    const asked = [
      request({ ":authority": place }),
      request({ ":authority": `a.test@${place}` }),
      [...request(), ["host", place]],
      request({ ":path": `http://${place}/` }),
      request({ ":path": `//${place}/` }),
      [
        [":method", "CONNECT"],
        [":authority", place],
      ],
      request({ ":method": "CONNECT", ":protocol": "websocket", ":authority": place }),
    ] as [string, string][][];
    for (const [at, fields] of asked.entries()) {
      h2.headers(1 + 2 * at, fields);
      await h2.outcome(1 + 2 * at);
      assert.doesNotMatch(h2.body(1 + 2 * at), /the trap/);
    }

    const known = new Set([home.httpsPort, home.httpPort, target.port].map((port) => `127.0.0.1:${port}`));
    assert.deepEqual(
      [...dialled].filter((address) => !known.has(address)),
      [],
    );
    assert.deepEqual([...lookedUp], []);
    assert.equal(trapped, 0);
    assert.ok(dialled.has(`127.0.0.1:${target.port}`), "the watch sees what is dialled");
  },
);

/** A letter by itself, not one of a word. */
function isPlace(text: string, at: number): boolean {
  return !/[A-Za-z]/.test(text[at - 1] ?? "") && !/[A-Za-z]/.test(text[at + 1] ?? "");
}

test("S41 a name that is not for this connection is told the same whether it is ours or nobody's", async (t) => {
  const target = await startTarget(t, (_, res) => res.end("ok"));
  const home = await startFront(t, [
    siteConfig("a.test", targetConfig(target.port)),
    siteConfig("home.localhost", targetConfig(target.port)),
    siteConfig("*.lab.test", targetConfig(target.port)),
  ]);
  /** What differs from one answer to the next, whatever was asked. */
  const masked = (text: string): string =>
    text.replace(/[0-9a-f]{8}-[0-9a-f-]{27}|[0-9A-Za-z_-]{16,32}(?=<|"|\r)/g, "ID").replace(/date: [^\r]+/i, "date: D");
  const told = async (host: string, accept: string): Promise<string> => {
    const client = rawClient(t, home.httpsPort, "a.test");
    client.send(`GET /x HTTP/1.1\r\nHost: ${host}\r\nAccept: ${accept}\r\nConnection: close\r\n\r\n`);
    return client.closed();
  };
  for (const accept of ["text/html", "application/json", "*/*"]) {
    // Of the same length, for what is compared to the byte.
    const ours = await told("home.localhost", accept);
    const nobodys = await told("home.localhosT".replace("home", "hame"), accept);
    assert.match(ours, /^HTTP\/1\.1 421 /);
    assert.equal(masked(nobodys), masked(ours));
    assert.equal(nobodys.length, ours.length);
    assert.doesNotMatch(ours, /\r\n(?:server|via|x-powered-by):/i);
    assert.doesNotMatch(ours, /localhost|lab\.test|gatehouse\/\d|node/i);
  }
  const overH2 = async (authority: string): Promise<unknown> => {
    const client = await RawH2.open(home.httpsPort);
    t.after(() => client.destroy());
    client.headers(1, request({ ":authority": authority }));
    const outcome = await client.outcome(1);
    return [outcome, masked(client.body(1)), client.of(1, FRAME.HEADERS)[0]?.payload.length];
  };
  const ours = await overH2("home.localhost");
  assert.deepEqual(await overH2("hame.localhost"), ours);
  assert.match(JSON.stringify(ours), /421 END/);
  for (const accept of ["text/html", "application/json"]) {
    const ordinary = await told("a.test", accept);
    assert.match(ordinary, /^HTTP\/1\.1 200 /);
    assert.doesNotMatch(ordinary, /\r\n(?:server|via|x-powered-by):/i);
  }
});

const FALSE_CHALLENGES = [
  "../../../etc/passwd",
  "..%2f..%2fetc%2fpasswd",
  "%2e%2e%2f%2e%2e%2fstate",
  "%00",
  "a\\..\\b",
  "x".repeat(3_000),
  "",
  "/",
  "unknown-token_123",
];

test(
  "S33 S45 the plain port tells strangers of nothing but a way to HTTPS, and reads no file for them",
  { timeout: 120_000 },
  async (t) => {
    let asked = 0;
    const target = await startTarget(t, (req, res) => {
      if (req.url !== "/ok") asked++;
      res.end("ok");
    });
    const siege = await startSiege(t, `sites: { ${NAME}: "127.0.0.1:${target.port}" }\n`);
    const { gatehouse } = siege;
    const since = siege.visits.length;
    const before = await gatehouse.rss();
    const asks = [
      ...FALSE_CHALLENGES.map((token) => `GET /.well-known/acme-challenge/${token} HTTP/1.1\r\nHost: ${NAME}`),
      `POST /.well-known/acme-challenge/unknown-token_123 HTTP/1.1\r\nHost: ${NAME}\r\nContent-Length: 0`,
      "GET / HTTP/1.1\r\nHost: evil.test",
      `GET //evil.test/ HTTP/1.1\r\nHost: ${NAME}`,
      `GET /%0d%0aLocation:%20https://evil.test HTTP/1.1\r\nHost: ${NAME}`,
      `GET / HTTP/1.1\r\nHost: ${NAME}\r\nX-Forwarded-Host: evil.test\r\nForwarded: host=evil.test`,
      `GET http://${NAME}/ HTTP/1.1\r\nHost: ${NAME}`,
    ];
    const attack = async (): Promise<void> => {
      let client: Attacker | undefined;
      let told = "";
      for (let at = 0; at < 60; at++) {
        if (client === undefined || client.isClosed()) {
          told += client?.received() ?? "";
          client = await knock(t, { port: gatehouse.httpPort });
        }
        const seen = client.bytes();
        client.send(`${asks[at % asks.length]}\r\n\r\n`);
        const deadline = performance.now() + PATIENCE_MS;
        while (client.bytes() === seen && !client.isClosed() && performance.now() < deadline) await wait(1);
      }
      told += client?.received() ?? "";
      for (const answer of parseAnswers(told)) {
        assert.ok([308, 400, 404, 405].includes(answer.status), answer.head);
        const location = answer.headers.find(([name]) => name.toLowerCase() === "location")?.[1];
        assert.equal(location !== undefined, answer.status === 308);
        if (location !== undefined) assert.ok(location.startsWith(`https://${NAME}/`), location);
        assert.doesNotMatch(answer.body, /root:|PRIVATE KEY/);
      }
      client?.raw.destroy();
    };
    do await Promise.all(Array.from({ length: 8 }, attack));
    while (siege.visits.length < since + 3);
    assertServed(siege, since);
    assert.equal(asked, 0, "the target hears nothing of them");
    assert.ok((await gatehouse.rss()) - before < MEMORY);
    assert.ok((await siege.metric("gatehouse_http_requests_total", { code: "308" })) > 0);
    const until = performance.now() + PATIENCE_MS;
    while ((await siege.openConnections()) > 1) {
      assert.ok(performance.now() < until, "connections stay");
      await wait(50);
    }
    const said = gatehouse.lines.filter(({ event, level }) => event !== "access" && level >= 30);
    assert.ok(said.length < 20, said.map((line) => JSON.stringify(line)).join("\n"));
  },
);

/** What backtracking readers choke on, each as long as a field may be. */
const SLOW_TEXTS = [
  "a ",
  " ",
  "\t",
  ",",
  ", ,",
  "a,",
  ";",
  "a=",
  '"\\',
  "a://a:",
  "?token=",
  "Basic ",
  "timeout ",
  "(",
  "%",
  "1.",
  "[:",
  "-----BEGIN ",
].map((piece) => `x${piece.repeat(Math.floor(7_900 / piece.length))}y`);
const READ_FIELDS = [
  "Connection",
  "Keep-Alive",
  "Transfer-Encoding",
  "Content-Length",
  "Upgrade",
  "Expect",
  "TE",
  "Accept",
  "Cookie",
  "User-Agent",
  "Forwarded",
  "X-Forwarded-For",
  "X-Forwarded-Host",
  "X-Request-Id",
  "X-Any",
];

/** Seconds of CPU time of the thread that serves. */
async function cpuSeconds(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/task/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

test(
  "S49 no text of a stranger or a target, however repetitive, holds up the loop",
  { timeout: 170_000 },
  async (t) => {
    let text = "";
    /** An answer full of it, to an upgrade as well. */
    const say = (socket: Duplex): void => {
      const fields = ["X-Any", "Keep-Alive", "Connection", "Set-Cookie"].map((name) => `${name}: ${text}\r\n`).join("");
      socket.end(`HTTP/1.1 404 Not Found\r\n${fields}Content-Length: 0\r\n\r\n`, "latin1");
    };
    const target = await startTarget(t, (req, res) => {
      if (req.url === "/answer") {
        say(req.socket);
        return;
      }
      req.resume();
      req.on("end", () => res.end("ok"));
    });
    target.server.on("upgrade", (_, socket: Duplex) => {
      socket.on("error", () => {});
      say(socket);
    });
    const siege = await startSiege(
      t,
      `trustedProxies: ["127.0.0.9"]\nlimits: { newConnectionsPerAddress: 100000 }\nsites: { ${NAME}: "127.0.0.1:${target.port}" }\n`,
    );
    const { gatehouse } = siege;
    const since = siege.visits.length;
    /** Each as a request of its own, on one connection while it lasts. */
    const cost = async (what: string, requests: readonly string[], from = "127.0.0.8"): Promise<void> => {
      let client: Attacker | undefined;
      const begun = await cpuSeconds(gatehouse.pid);
      for (const bytes of requests) {
        if (client === undefined || client.isClosed())
          client = await knock(t, { port: gatehouse.httpsPort, isTls: true, from });
        const seen = client.bytes();
        client.send(Buffer.from(bytes, "latin1"));
        const deadline = performance.now() + PATIENCE_MS;
        while (client.bytes() === seen && !client.isClosed() && performance.now() < deadline) await wait(1);
      }
      client?.raw.destroy();
      const each = ((await cpuSeconds(gatehouse.pid)) - begun) / requests.length;
      // The square of 8,000 characters is 50 ms, and more than that is far more.
      assert.ok(each < 0.025, `${what}: ${(each * 1_000).toFixed(1)} ms each`);
    };
    // Compilers learn first.
    for (let round = 0; round < 3; round++)
      await cost(
        "warm up",
        Array.from({ length: 20 }, () => `GET /ok HTTP/1.1\r\nHost: ${NAME}\r\n\r\n`),
      ).catch(() => {});
    for (text of SLOW_TEXTS) {
      const label = JSON.stringify(text.slice(1, 12));
      const fields = (host: string): string[] =>
        READ_FIELDS.map((name) => `GET /ok HTTP/1.1\r\nHost: ${host}\r\n${name}: ${text}\r\n\r\n`);
      await cost(`fields of ${label}`, fields(NAME));
      await cost(`fields of ${label} of somebody who is believed`, fields(NAME), "127.0.0.9");
      await cost(`fields of ${label} in a request that is refused`, fields("other.localhost"));
      const path = text.replaceAll(/[ \t]/g, "+").replaceAll(/["\\]/g, "'");
      await cost(
        `paths of ${label}`,
        [`/${path}`, `/?${path}`, `/?token=${path}`].map((where) => `GET ${where} HTTP/1.1\r\nHost: ${NAME}\r\n\r\n`),
      );
      const chunked = `POST /ok HTTP/1.1\r\nHost: ${NAME}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n`;
      await cost(
        `trailers of ${label}`,
        Array.from({ length: 4 }, () => `${chunked}X-Any: ${text}\r\n\r\n`),
      );
      const answer = `GET /answer HTTP/1.1\r\nHost: ${NAME}\r\n\r\n`;
      const upgrade = `GET /ws HTTP/1.1\r\nHost: ${NAME}\r\n${UPGRADE}\r\n\r\n`;
      await cost(`answers of ${label}`, [upgrade, upgrade, answer, answer]);
    }
    await eventually("somebody came meanwhile", () => siege.visits.length > since);
    assertServed(siege, since);
    assert.ok((await siege.metric("nodejs_eventloop_lag_seconds")) >= 0, "the loop's delay is there to be watched");
  },
);

test(
  "S47 no early data is offered: what is sent in the first flight could be sent again by anybody",
  { skip: needs("openssl") },
  async (t) => {
    const { port } = await startTarget(t, (_, res) => res.end("ok"));
    const home = await startFront(t, [siteConfig("a.test", targetConfig(port))]);
    const folder = await temporaryFolder(t);
    const session = join(folder, "session.pem");
    const server = ["-connect", `127.0.0.1:${home.httpsPort}`, "-servername", "a.test", "-tls1_3"];
    const input = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    await runProgram("openssl", ["s_client", ...server, "-sess_out", session, "-ign_eof"], { input });
    const { stdout } = await runProgram("openssl", ["sess_id", "-in", session, "-noout", "-text"]);
    assert.match(stdout, /Max Early Data: 0/);
  },
);

/** Each may be called where it is: in no time, or because nobody is served then. */
const SYNCHRONOUS: Record<string, string> = {
  "cluster/tally.ts": "a few bytes of memory that processes share, in a microsecond",
  "core/request-ids.ts": "random bytes for many ids at once, in microseconds",
  "proxy/front/contexts.ts": "random bytes for many tickets at once, in microseconds",
  "observe/line-sink.ts": "the last lines, when the process ends",
  "tls/pkcs12.ts": "a few random bytes, for a person who exports a certificate",
};

test("S49 nothing waits for the disk or for a key: no call of the serving rooms is synchronous", () => {
  const src = new URL("../../src/", import.meta.url);
  const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
  let looked = 0;
  for (const file of files) {
    if (!/^(?:proxy|forward|tls|observe|cluster|core|serving)\b/.test(file) || file in SYNCHRONOUS) continue;
    looked++;
    const call = /\b[a-z]\w*Sync\(/.exec(readFileSync(new URL(file, src), "utf8"))?.[0];
    assert.equal(call, undefined, `src/${file}`);
  }
  assert.ok(looked > 100);
});
