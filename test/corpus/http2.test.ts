/**
 * Every HTTP/2 attack case, as one packet and with its body late, against a real front; outcomes are pinned in data.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { test, type TestContext } from "node:test";
import { eventually } from "../support/eventually.ts";
import { startFront } from "../support/front-home.ts";
import { FLAG, FRAME, RawH2, request } from "../support/h2-raw.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";

interface Case {
  id: string;
  title: string;
  headers: [string, string][];
  data: string | null;
  trailers?: [string, string][];
}
interface Outcome {
  /** What the client sees when head and body come together. */
  together: string;
  /** The same when the body comes after the target has the head; only for cases with a body. */
  late?: string;
  /** Whole requests that the target got. */
  requests: number;
  /** The head waits for the body, even a late one. */
  withheld?: boolean;
  /** SNI, when it is not a.test. */
  serverName?: string;
  /** Must stand in what the target got, and must not. */
  has?: string[];
  hasNot?: string[];
  why?: string;
}

const read = (name: string): unknown => JSON.parse(readFileSync(new URL(`data/${name}`, import.meta.url), "utf8"));
const cases = read("http2-requests.json") as Case[];
const outcomes = read("http2-outcomes.json") as Record<string, Outcome>;

/** A target that frames strictly by RFC 9112, keeps every byte, and answers each whole request with `ok`. */
async function recordingTarget(
  t: TestContext,
): Promise<{ port: number; bytes(): string; whole(): string[]; clear(): void }> {
  const connections: { text: string; at: number }[] = [];
  let whole: string[] = [];
  const server = createServer((socket) => {
    const connection = { text: "", at: 0 };
    connections.push(connection);
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      connection.text += chunk.toString("latin1");
      for (;;) {
        const end = endOfRequest(connection.text.slice(connection.at));
        if (end === undefined) return;
        whole.push(connection.text.slice(connection.at, connection.at + end));
        connection.at += end;
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return {
    port: (server.address() as AddressInfo).port,
    bytes: () => connections.map(({ text }) => text).join(""),
    whole: () => whole,
    clear() {
      whole = [];
      for (const connection of connections) {
        connection.text = connection.text.slice(connection.at);
        connection.at = 0;
      }
    },
  };
}

function endOfRequest(text: string): number | undefined {
  const head = text.indexOf("\r\n\r\n");
  if (head < 0) return undefined;
  if (/^transfer-encoding: chunked\r?$/im.test(text.slice(0, head))) {
    let at = head + 4;
    for (;;) {
      const line = text.indexOf("\r\n", at);
      if (line < 0) return undefined;
      const size = Number.parseInt(text.slice(at, line), 16);
      if (size === 0) {
        const end = text.indexOf("\r\n\r\n", line);
        return end < 0 ? undefined : end + 4;
      }
      at = line + 2 + size + 2;
      if (at > text.length) return undefined;
    }
  }
  const length = Number(/^content-length: (\d+)\r?$/im.exec(text.slice(0, head))?.[1] ?? 0);
  return text.length >= head + 4 + length ? head + 4 + length : undefined;
}

test("every case of the HTTP/2 corpus has a pinned outcome, and every outcome a case", () => {
  assert.deepEqual(Object.keys(outcomes).sort(), cases.map(({ id }) => id).sort());
  assert.equal(cases.length, 49);
});

test("the HTTP/2 corpus", async (t) => {
  const target = await recordingTarget(t);
  const to = targetConfig(target.port);
  const home = await startFront(t, [siteConfig("a.test", to), siteConfig("b.test", to)]);

  async function run(one: Case, expected: Outcome, isLate: boolean): Promise<void> {
    target.clear();
    const client = await RawH2.open(home.httpsPort, { servername: expected.serverName ?? "a.test" });
    t.after(() => client.destroy());
    const hasBody = one.data !== null;
    client.write(client.headerFrames(1, one.headers, FLAG.END_HEADERS | (hasBody ? 0 : FLAG.END_STREAM)));
    if (hasBody) {
      // Either the target has the head by then, or the stream is over already.
      if (isLate && expected.withheld !== true) {
        const isThere = () => client.hasEnded(1) || target.bytes().includes("\r\n\r\n");
        await eventually("the head is at the target, or refused", isThere);
      }
      client.data(1, one.data ?? "", one.trailers === undefined ? FLAG.END_STREAM : 0);
      if (one.trailers !== undefined) {
        client.write(client.headerFrames(1, one.trailers, FLAG.END_HEADERS | FLAG.END_STREAM));
      }
    }
    const pinned = isLate ? expected.late : expected.together;
    const outcome = await client.outcome(1);
    // With the session its connection goes, and a reset may overtake the GOAWAY.
    if (outcome !== "closed" || pinned?.startsWith("GOAWAY") !== true) assert.equal(outcome, pinned);
    client.destroy();
    await eventually("the connection is gone", () => home.front.openConnections() === 0);
    const whole = target.whole();
    assert.equal(whole.length, expected.requests, `the target got ${JSON.stringify(target.bytes())}`);
    for (const text of whole) {
      assert.match(text, /^[A-Z]+ \/[!-~]* HTTP\/1\.1\r\nhost: [ab]\.test\r\n/);
      assert.doesNotMatch(text, /^GET \/SMUG/);
      assert.match(text, /\r\nx-forwarded-proto: https\r\n/);
      for (const part of expected.has ?? []) assert.ok(text.includes(part), `${part} in ${text}`);
      for (const part of expected.hasNot ?? []) assert.ok(!text.includes(part), `${part} not in ${text}`);
    }
    if (expected.requests === 0) assert.doesNotMatch(target.bytes(), /SMUG/);

    // The house still stands: an honest request on a new connection.
    const honest = await RawH2.open(home.httpsPort);
    honest.headers(1, request());
    assert.equal(await honest.outcome(1), "200 END");
    assert.equal(honest.of(1, FRAME.DATA).length > 0, true);
    honest.destroy();
    await eventually("the honest connection is gone", () => home.front.openConnections() === 0);
  }

  for (const one of cases) {
    const expected = outcomes[one.id];
    assert.ok(expected !== undefined);
    await t.test(`${one.id} ${one.title}`, () => run(one, expected, false));
    if (one.data !== null) await t.test(`${one.id} ${one.title}, body late`, () => run(one, expected, true));
  }
});
