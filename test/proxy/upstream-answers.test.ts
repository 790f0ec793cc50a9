/**
 * The upstream engine reads answers by the letter: what the lane hears of each, and whether the connection may be used
 * again. The targets are real, and lie.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, startPool } from "../support/asking.ts";
import { eventually } from "../support/eventually.ts";
import { targetConfig } from "../support/proxy-lane.ts";
import { startRawTarget } from "../support/raw-target.ts";

interface Row {
  /** What the target sends; it closes behind it if `closes`. */
  bytes: string;
  closes?: boolean;
  method?: string;
  outcome?: string;
  status?: number;
  body?: string;
  trailers?: string[];
  informational?: number[];
  /** Is the next request on the same connection? */
  isKept: boolean;
}

const GARBAGE = "GATEHOUSE_UPSTREAM_GARBAGE";
const RESET = "GATEHOUSE_UPSTREAM_RESET";
const CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

const ROWS: Record<string, Row> = {
  "a counted body": { bytes: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", body: "hello", isKept: true },
  "no body by its length": { bytes: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", isKept: true },
  "a chunked body with extension and trailer": {
    bytes: `${CHUNKED}5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 7 \r\n\r\n`,
    body: "hello!",
    trailers: ["x-sum", "7"],
    isKept: true,
  },
  "an empty chunked body": { bytes: `${CHUNKED}0\r\n\r\n`, isKept: true },
  "a body until the end of the connection": {
    bytes: "HTTP/1.1 200 OK\r\n\r\nhello",
    closes: true,
    body: "hello",
    isKept: false,
  },
  "an answer of HTTP/1.0": {
    bytes: "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    body: "hello",
    isKept: false,
  },
  "Connection: close": {
    bytes: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    body: "hello",
    isKept: false,
  },
  "204 and 304 have no body": { bytes: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, isKept: true },
  "304 with the length of what it does not send": {
    bytes: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    status: 304,
    isKept: true,
  },
  "HEAD with the length of what it does not send": {
    bytes: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    method: "HEAD",
    isKept: true,
  },
  "early hints, then the answer": {
    bytes:
      "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    informational: [103, 100],
    body: "ok",
    isKept: true,
  },
  "no reason phrase": { bytes: "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", isKept: true },
  "blanks around a value, which are not its own": {
    bytes: "HTTP/1.1 200 OK\r\nContent-Length: \t 5 \t\r\n\r\nhello",
    body: "hello",
    isKept: true,
  },

  "bytes behind a counted body": {
    bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
    body: "ok",
    isKept: false,
  },
  "bytes behind the last chunk": { bytes: `${CHUNKED}2\r\nok\r\n0\r\n\r\nmore`, body: "ok", isKept: false },
  "a body behind 204": { bytes: "HTTP/1.1 204 No Content\r\n\r\nx", status: 204, isKept: false },
  "a body behind 304": { bytes: "HTTP/1.1 304 Not Modified\r\n\r\nx", status: 304, isKept: false },
  "a body behind HEAD": {
    bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    method: "HEAD",
    isKept: false,
  },
  "a counted body that breaks off": {
    bytes: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
    closes: true,
    body: "short",
    outcome: RESET,
    isKept: false,
  },
  "a chunked body that breaks off": {
    bytes: `${CHUNKED}5\r\nhello\r\n`,
    closes: true,
    body: "hello",
    outcome: RESET,
    isKept: false,
  },
  "a chunk longer than it says": {
    bytes: `${CHUNKED}2\r\nhello\r\n0\r\n\r\n`,
    body: "he",
    outcome: GARBAGE,
    isKept: false,
  },
  "a chunk size that is none": { bytes: `${CHUNKED}zz\r\n`, outcome: GARBAGE, isKept: false },
  "a chunk size of nine digits": { bytes: `${CHUNKED}100000000\r\n`, outcome: GARBAGE, isKept: false },
  "a size line without end": { bytes: `${CHUNKED}1;${"a".repeat(300)}`, outcome: GARBAGE, isKept: false },
  "a trailer that frames": { bytes: `${CHUNKED}0\r\nContent-Length: 5\r\n\r\n`, outcome: GARBAGE, isKept: false },
  "trailers without end": { bytes: `${CHUNKED}0\r\n${"x: y\r\n".repeat(2_000)}`, outcome: GARBAGE, isKept: false },
  "lengths that differ": {
    bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    outcome: GARBAGE,
    isKept: false,
  },
  "a list of lengths": { bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", outcome: GARBAGE, isKept: false },
  "a length with a sign": { bytes: "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", outcome: GARBAGE, isKept: false },
  "two framings": {
    bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    outcome: GARBAGE,
    isKept: false,
  },
  "a coding nobody asked for": {
    bytes: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    outcome: GARBAGE,
    isKept: false,
  },
  "chunks in HTTP/1.0": {
    bytes: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    outcome: GARBAGE,
    isKept: false,
  },
  "101 that nobody asked for": {
    bytes: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    outcome: GARBAGE,
    isKept: false,
  },
  "nine interim answers": { bytes: "HTTP/1.1 100 Continue\r\n\r\n".repeat(9), outcome: GARBAGE, isKept: false },
  "a folded field": {
    bytes: "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    outcome: GARBAGE,
    isKept: false,
  },
  "a bare LF": { bytes: "HTTP/1.1 200 OK\nContent-Length: 0\n\n", outcome: GARBAGE, isKept: false },
  "a blank before the colon": {
    bytes: "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    outcome: GARBAGE,
    isKept: false,
  },
  "another protocol": { bytes: "SSH-2.0-OpenSSH_9.2\r\n", outcome: GARBAGE, isKept: false },
  "HTTP/2": { bytes: "HTTP/2 200\r\n\r\n", outcome: GARBAGE, isKept: false },
  "a status of 600": { bytes: "HTTP/1.1 600 x\r\nContent-Length: 0\r\n\r\n", outcome: GARBAGE, isKept: false },
  "201 fields": { bytes: `HTTP/1.1 200 OK\r\n${"x: y\r\n".repeat(201)}\r\n`, outcome: GARBAGE, isKept: false },
  "a head past its bound": { bytes: `HTTP/1.1 200 OK\r\nX: ${"y".repeat(70_000)}`, outcome: GARBAGE, isKept: false },
  "nothing at all": { bytes: "", closes: true, outcome: RESET, isKept: false },
  "half a head": { bytes: "HTTP/1.1 200 OK\r\nX: ", closes: true, outcome: RESET, isKept: false },
};

/** How the bytes arrive. Past a few thousand one by one is no other case, only a slow one. */
const PIECES: Record<string, (bytes: string) => string[]> = {
  "at once": (bytes) => [bytes],
  "byte by byte": (bytes) => (bytes.length > 400 ? [bytes] : bytes.split("")),
};

for (const [title, row] of Object.entries(ROWS)) {
  for (const [how, cut] of Object.entries(PIECES)) {
    test(`${title}, ${how}`, async (t) => {
      let isHonest = false;
      const target = await startRawTarget(t, (heard, socket) => {
        if (!heard.endsWith("\r\n\r\n")) return;
        if (isHonest) {
          socket.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhonest");
          return;
        }
        socket.setNoDelay(true);
        const pieces = cut(row.bytes);
        const next = (): void => {
          const piece = pieces.shift();
          if (piece !== undefined) socket.write(piece, "latin1", () => setImmediate(next));
          else if (row.closes === true) socket.end();
        };
        next();
      });
      const pool = startPool(t);
      const to = targetConfig(target.port);
      const { outcome = "end", status = 200, body = "", trailers = [], informational = [], method = "GET" } = row;
      const asked = ask(pool, to, { method });
      assert.equal(await asked.outcome(), outcome);
      const isHeadBad = outcome === GARBAGE && !row.bytes.startsWith(CHUNKED);
      if (!isHeadBad && asked.status !== 0) {
        assert.equal(asked.status, status);
        assert.equal(asked.body, body);
        assert.equal(asked.payload, body.length);
        assert.deepEqual(asked.trailers, trailers);
        assert.deepEqual(asked.informational, informational);
      }
      if (isHeadBad) assert.equal(asked.body, "");
      assert.equal(asked.events[0], "connected");
      assert.equal(
        asked.events.filter((event) => event === "end" || event === "failed").length,
        1,
        asked.events.join(),
      );

      if (!row.isKept) await eventually("the connection is gone", () => target.openConnections() === 0);
      isHonest = true;
      const next = ask(pool, to);
      assert.equal(await next.outcome(), "end");
      assert.equal(next.body, "honest");
      assert.equal(target.heard.length, row.isKept ? 1 : 2, "connections");
    });
  }
}

test("a lane that keeps the framing is given chunks with their sizes, without extensions, last chunk and trailers", async (t) => {
  const target = await startRawTarget(t, (_, socket) =>
    socket.write(`${CHUNKED}5;x="y"\r\nhello\r\n006\r\n world\r\n0\r\nX-Sum: 7\r\n\r\n`),
  );
  for (const keepsBytes of [false, true]) {
    const asked = ask(startPool(t), targetConfig(target.port), { takesFraming: true, keepsBytes });
    assert.equal(await asked.outcome(), "end");
    assert.match(asked.body, /^5\r\nhello\r\n0*6\r\n world\r\n$/);
    assert.equal(asked.payload, 11);
    assert.deepEqual(asked.trailers, ["x-sum", "7"]);
  }
});

test("a word from the target on an idle connection ends it, and is never the next answer", async (t) => {
  const target = await startRawTarget(t, (_, socket) => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  const pool = startPool(t);
  const to = targetConfig(target.port);
  assert.equal(await ask(pool, to).outcome(), "end");
  target.sockets[0]?.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
  await eventually("it is gone", () => pool.openSockets() === 0);
  const next = ask(pool, to);
  assert.equal(await next.outcome(), "end");
  assert.equal(next.body, "ok");
});

test("an answer before the request is all there is given, and the connection is not used again", async (t) => {
  for (const body of ["length", "chunked"] as const) {
    const target = await startRawTarget(t, (heard, socket) => {
      if (heard.includes("\r\n\r\n")) socket.write("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
    });
    const pool = startPool(t);
    const asked = ask(pool, targetConfig(target.port), { method: "POST", body });
    assert.equal(await asked.outcome(), "end");
    assert.deepEqual([asked.status, asked.body], [413, "no"]);
    await eventually("it is gone", () => target.openConnections() === 0);
    assert.ok(asked.call.write(Buffer.from("late")), "who writes on is not told to wait for ever");
    asked.call.end();
    assert.equal(target.heard.length, 1);
  }
});
