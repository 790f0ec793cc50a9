/**
 * Clients that take their time, or too much: each is cut at its limit and counted, and nobody else waits for it.
 * S numbers are those of the project's list of attacks; the limits are small so that it is quick, but for those that the
 * honest visitor has to keep on a busy machine, too.
 */
import assert from "node:assert/strict";
import { setTimeout as wait } from "node:timers/promises";
import { test, type TestContext } from "node:test";
import type { LimitName } from "../../src/observe/limit-names.ts";
import { eventually } from "../support/eventually.ts";
import { assertServed, type Attacker, drip, knock, NAME, pour, type Siege, startSiege } from "../support/siege.ts";
import { sendBytes, startTarget } from "../support/target.ts";

const LIMITS = `limits:
  connections: 600
  connectionsPerNeighbour: 600
  handshakeTime: 10s
  firstByteTime: 10s
  headTime: 10s
  idleTime: 2s
  headSize: 16KiB
  urlSize: 4KiB
  headFields: 64
  fieldSize: 8KiB
  requestsPerConnection: 500
  bodyGrace: 1s
  unreadBody: 64KiB
  writeStall: 1s
`;

/**
 * `compat` begins with a request of HTTP/1.0, so that the connection is in the hands of node:http's parser. `raw` is the
 * port for TLS, without TLS.
 */
type Lane = "tls" | "compat" | "plain" | "raw";

interface Row {
  lanes: readonly Lane[];
  /** Which limits count it, once per connection in all; none where another counter has it. */
  limits: readonly LimitName[];
  /** What is read before the end; nothing, where a reset overtakes it (RFC 9112 §9.6). */
  answer: RegExp;
  isDeaf?: boolean;
  /** Resolves when the connection is over. */
  attack(attacker: Attacker, siege: Siege): Promise<void>;
}

const OVER_TLS = ["tls", "compat"] as const;
const ANY = ["tls", "compat", "plain"] as const;
const GET = `GET /ok HTTP/1.1\r\nHost: ${NAME}\r\n`;
const POST = `POST /upload HTTP/1.1\r\nHost: ${NAME}\r\n`;

const sends =
  (text: string): Row["attack"] =>
  async (attacker) => {
    attacker.send(text);
    await attacker.closed;
  };
const drips =
  (begin: string | Uint8Array, piece: string): Row["attack"] =>
  async (attacker) => {
    attacker.send(begin);
    await drip(attacker, piece, 100);
  };
const pours =
  (begin: string, piece: string): Row["attack"] =>
  async (attacker) => {
    attacker.send(begin);
    await pour(attacker, piece);
  };

const ROWS: Record<string, Row> = {
  "S1 a head that drips": {
    lanes: ANY,
    limits: ["head_time", "idle_time"],
    answer: /^$|HTTP\/1\.1 408 /,
    attack: drips(`${GET}X: `, "x"),
  },
  "S1 half a head, then silence": {
    lanes: ANY,
    // On a kept connection it may as well be the silence between two requests.
    limits: ["head_time", "idle_time"],
    answer: /^$|HTTP\/1\.1 408 /,
    attack: sends(GET),
  },
  // On whichever side of the limit for a head it is noticed.
  "S1 not one byte": {
    lanes: ["tls", "plain"],
    limits: ["first_byte_time", "head_time"],
    answer: /^$|HTTP\/1\.1 408 /,
    attack: sends(""),
  },
  "S1 an empty line, then silence": {
    lanes: ["tls", "plain"],
    limits: ["head_time"],
    answer: /HTTP\/1\.1 408 /,
    attack: sends("\r\n"),
  },
  "S8 a kept connection that nobody uses": {
    lanes: ANY,
    limits: ["idle_time"],
    answer: /HTTP\/1\.1 (?:200|308) /,
    attack: sends(`${GET}\r\n`),
  },
  "S2 a body that drips": {
    lanes: OVER_TLS,
    limits: ["body_rate", "body_silence"],
    answer: /HTTP\/1\.1 408 /,
    attack: drips(`${POST}Content-Length: 100000\r\n\r\n`, "x"),
  },
  "S2 chunks of one byte that drip": {
    lanes: OVER_TLS,
    limits: ["body_rate", "body_silence"],
    answer: /HTTP\/1\.1 408 /,
    attack: drips(`${POST}Transfer-Encoding: chunked\r\n\r\n`, "1\r\nx\r\n"),
  },
  "S2 a body that stops": {
    lanes: OVER_TLS,
    limits: ["body_rate", "body_silence"],
    answer: /HTTP\/1\.1 408 /,
    attack: sends(`${POST}Content-Length: 100000\r\n\r\nxxxx`),
  },
  "S2 chunks of one byte without end": {
    lanes: OVER_TLS,
    // Starved on a busy machine, it may be too slow before it is too much.
    limits: ["body_size", "body_crumbs", "body_rate", "body_silence"],
    answer: /^$|HTTP\/1\.1 (?:408|413) /,
    attack: pours(`${POST}Transfer-Encoding: chunked\r\n\r\n`, "1\r\nx\r\n".repeat(500)),
  },
  "S3 an answer that nobody reads": {
    lanes: OVER_TLS,
    limits: ["write_stall"],
    answer: /^HTTP\/1\.1 200 /,
    isDeaf: true,
    attack: async (attacker, { limit }) => {
      attacker.send(`GET /big HTTP/1.1\r\nHost: ${NAME}\r\n\r\n`);
      // Who does not read does not hear of the end either, nor whether the request came in time.
      const until = performance.now() + DEAF_MS;
      while ((await limit("write_stall")) < CREW && performance.now() < until) await wait(250);
      attacker.socket.resume();
      await attacker.closed;
    },
  },
  "S4 a ClientHello that drips": {
    lanes: ["raw"],
    limits: ["handshake_time"],
    answer: /^$/,
    attack: drips(Buffer.from([0x16, 3, 1, 2, 0]), "\0"),
  },
  "S4 no ClientHello at all": { lanes: ["raw"], limits: ["handshake_time"], answer: /^$/, attack: sends("") },
  "S7 what is no TLS": { lanes: ["raw"], limits: [], answer: /^[^H]*$/, attack: sends(`${GET}\r\n`) },
  "S16 ten thousand requests in one write": {
    lanes: OVER_TLS,
    limits: ["pipelined", "requests_per_connection"],
    answer: /^(?:HTTP\/1\.1 200 |$)/,
    attack: sends(`${GET}\r\n`.repeat(10_000)),
  },
  "S16 ten thousand requests in one write, on port 80": {
    lanes: ["plain"],
    limits: ["requests_per_connection"],
    answer: /^(?:HTTP\/1\.1 308 |$)/,
    attack: sends(`${GET}\r\n`.repeat(10_000)),
  },
  "S17 a long path": {
    lanes: ANY,
    limits: ["url_size"],
    answer: /^$|HTTP\/1\.1 414 /,
    attack: sends(`GET /${"x".repeat(5_000)} HTTP/1.1\r\nHost: ${NAME}\r\nConnection: close\r\n\r\n`),
  },
  "S17 a long field": {
    lanes: ANY,
    limits: ["field_size"],
    answer: /^$|HTTP\/1\.1 431 /,
    attack: sends(`${GET}Connection: close\r\nX: ${"x".repeat(9_000)}\r\n\r\n`),
  },
  "S17 many fields": {
    lanes: ANY,
    limits: ["head_fields"],
    answer: /^$|HTTP\/1\.1 431 /,
    attack: sends(`${GET}Connection: close\r\n${"X: y\r\n".repeat(100)}\r\n`),
  },
  "S17 a head without end": {
    lanes: ANY,
    // On a busy machine it comes so slowly that its time is over first.
    limits: ["head_size", "head_time"],
    answer: /^$|HTTP\/1\.1 (?:408|431) /,
    attack: pours(GET, `X: ${"y".repeat(1_000)}\r\n`),
  },
  "S18 a body that nobody wants": {
    lanes: OVER_TLS,
    limits: ["unread_body"],
    // A reset may overtake the answer of somebody who does not stop.
    answer: /^$|HTTP\/1\.1 421 /,
    attack: pours(
      "POST / HTTP/1.1\r\nHost: other.localhost\r\nContent-Length: 100000000000\r\n\r\n",
      "x".repeat(65_536),
    ),
  },
  "S18 a body that nobody wants, on port 80": {
    lanes: ["plain"],
    limits: [],
    answer: /^$|HTTP\/1\.1 308 /,
    attack: pours(`${POST}Content-Length: 100000000000\r\n\r\n`, "x".repeat(65_536)),
  },
};

/** Connections of each kind at once. */
const CREW = 3;
const TRIES = 5;
const DEAF_MS = 15_000;
/** Milliseconds; many times the limits above, for a machine that is busy with other tests. */
const CUT_WITHIN = 60_000;
/** What the heap may grow to by work alone, and what the buffers of all attackers may hold. */
const MEMORY = 150_000_000;

for (const lane of ["tls", "compat", "plain", "raw"] as const) {
  test(
    `attackers of every slow and greedy kind at once, lane ${lane}`,
    { concurrency: true, timeout: 170_000 },
    async (t) => {
      const target = await startTarget(t, (req, res) => {
        if (req.url === "/big") sendBytes(res, 1_000_000_000);
        else if (req.url === "/upload") req.resume();
        else res.end("ok");
      });
      const siege = await startSiege(
        t,
        `${LIMITS}sites:\n  ${NAME}:\n    to: 127.0.0.1:${target.port}\n    maxBody: 100KB\n    timeouts: { idle: 5s }\n  other.localhost: demo\n`,
      );
      const { gatehouse } = siege;
      const since = siege.visits.length;
      const before = await gatehouse.rss();
      const rows = Object.entries(ROWS).filter(([, row]) => row.lanes.includes(lane));
      await Promise.all(
        rows.map(([title, row]) =>
          t.test(title, async (t) => {
            const before = await counted(siege, row);
            await Promise.all(Array.from({ length: CREW }, () => attack(t, siege, lane, row)));
            if (row.limits.length === 0) return;
            // Whoever was stopped before his attack, as over time in the handshake, comes again.
            for (let more = 0; more < TRIES && (await counted(siege, row)) < before + CREW; more++)
              await attack(t, siege, lane, row);
          }),
        ),
      );
      assertServed(siege, since);
      const grown = (await gatehouse.rss()) - before;
      assert.ok(grown < MEMORY, `${grown} bytes more than before`);
      await countedAs(
        siege,
        rows.map(([, row]) => row),
      );
      // The honest visitor may be here.
      for (let open = Infinity; open > 1; open = await siege.openConnections()) await wait(100);
      const said = gatehouse.lines.filter(({ event, level }) => event !== "access" && level >= 30);
      assert.ok(said.length < 40, said.map((line) => JSON.stringify(line)).join("\n"));
      assert.doesNotMatch(gatehouse.stderr(), /Error|Warning/);
    },
  );
}

async function counted(siege: Siege, { limits }: Row): Promise<number> {
  let sum = 0;
  for (const limit of limits) sum += await siege.limit(limit);
  return sum;
}

/** On a busy machine a connection may be over before the attack began on it: then it begins again on another. */
async function attack(t: TestContext, siege: Siege, lane: Lane, row: Row): Promise<void> {
  let read = "";
  for (let tries = 0; tries < TRIES && (tries === 0 || (read === "" && !row.answer.test(""))); tries++)
    read = await attackOnce(t, siege, lane, row);
  assert.match(read, row.answer);
}

/** @returns the beginning of what was read during the attack */
async function attackOnce(t: TestContext, siege: Siege, lane: Lane, row: Row): Promise<string> {
  const { gatehouse } = siege;
  const isTls = lane === "tls" || lane === "compat";
  const port = lane === "plain" ? gatehouse.httpPort : gatehouse.httpsPort;
  let attacker = await knock(t, { port, isTls });
  for (let tries = lane === "compat" ? 20 : 0; tries > 0 && !attacker.received().endsWith("ok"); tries--) {
    assert.ok(tries > 1, "never in node:http's hands");
    // On a busy machine a handshake may be over its time: that is not the attack.
    if (attacker.isClosed()) attacker = await knock(t, { port, isTls });
    attacker.send(`GET /ok HTTP/1.0\r\nHost: ${NAME}\r\nConnection: keep-alive\r\n\r\n`);
    const mine = attacker;
    await eventually("an answer or an end", () => mine.received().endsWith("ok") || mine.isClosed(), CUT_WITHIN);
  }
  if (row.isDeaf === true) attacker.socket.pause();
  const begun = attacker.received().length;
  const since = performance.now();
  const late = setTimeout(() => attacker.raw.destroy(new Error("never cut")), CUT_WITHIN);
  await row.attack(attacker, siege);
  clearTimeout(late);
  assert.ok(performance.now() - since < CUT_WITHIN, `never cut; read ${attacker.received().slice(begun, begun + 300)}`);
  return attacker.received().slice(begun, begun + 300);
}

/** Every connection met one of its limits; the visitor meets none. */
async function countedAs(siege: Siege, rows: readonly Row[]): Promise<void> {
  const expected = new Map<string, { limits: readonly LimitName[]; connections: number }>();
  for (const { limits } of rows) {
    if (limits.length === 0) continue;
    const group = expected.get(limits.join()) ?? { limits, connections: 0 };
    group.connections += CREW;
    expected.set(limits.join(), group);
  }
  for (const { limits, connections } of expected.values()) {
    let counted = 0;
    for (const limit of limits) counted += await siege.limit(limit);
    assert.ok(counted >= connections, `${limits.join(" or ")}: ${counted} of ${connections}`);
  }
}
