/**
 * The upstream engine's bounds and deadlines: how many connections, who waits and for how long, what is kept, when a
 * request is sent again, and how a body goes out.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, type Asked, startPool } from "../support/asking.ts";
import { eventually } from "../support/eventually.ts";
import { targetConfig } from "../support/proxy-lane.ts";
import { startRawTarget } from "../support/raw-target.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const MAX_CONNECTIONS = 256;
const MAX_WAITING = 1_024;
const MAX_IDLE = 64;

const isWhole = (heard: string): boolean => heard.endsWith("\r\n\r\n");

test("a target has 256 connections at most; who comes then waits, is counted, and is served by one that is free", async (t) => {
  let full = 0;
  let holds = true;
  const target = await startRawTarget(t, (heard, socket) => {
    if (isWhole(heard) && !holds) socket.write(OK);
  });
  const pool = startPool(t, () => full++);
  const to = targetConfig(target.port);
  const first = Array.from({ length: MAX_CONNECTIONS }, () => ask(pool, to));
  const later = Array.from({ length: 10 }, () => ask(pool, to));
  await eventually("all are asked", () => target.heard.filter(isWhole).length === MAX_CONNECTIONS);
  assert.equal(pool.openSockets(), MAX_CONNECTIONS);
  assert.equal(full, 10);
  assert.ok(later.every(({ events }) => events.length === 0));
  holds = false;
  for (const socket of target.sockets) socket.write(OK);
  for (const asked of [...first, ...later]) assert.equal(await asked.outcome(), "end");
  assert.equal(target.heard.length, MAX_CONNECTIONS, "nobody needed a new one");
  await eventually("no more idle ones than allowed", () => target.openConnections() <= MAX_IDLE);
});

test("1,024 may wait; the next is told at once that there is no connection, and that limit is named", async (t) => {
  const target = await startRawTarget(t, () => {});
  const pool = startPool(t);
  const to = targetConfig(target.port);
  const all = Array.from({ length: MAX_CONNECTIONS + MAX_WAITING }, () => ask(pool, to));
  const over = ask(pool, to);
  assert.deepEqual(over.events, [], "ask returns first");
  assert.equal(await over.outcome(), "GATEHOUSE_UPSTREAM_NONE");
  assert.deepEqual(over.error?.detail, { limit: "upstream_queue" });
  assert.ok(all.every(({ error }) => error === undefined));
  // Whoever leaves the queue makes room in it with the next look of the clock.
  for (const { call } of all.slice(MAX_CONNECTIONS)) call.abort();
  await eventually("there is room again", () => {
    const again = ask(pool, to);
    const isIn = again.events.length === 0 && again.error === undefined;
    again.call.abort();
    return isIn;
  });
  for (const { call } of all) call.abort();
  await eventually("all are let go", () => pool.openSockets() === 0);
  assert.ok(
    all.every(({ events }) => !events.includes("failed")),
    "who left hears nothing",
  );
});

test("who waits longer than it takes to connect is told so, and the others go on waiting", async (t) => {
  const target = await startRawTarget(t, () => {});
  const pool = startPool(t);
  const to = targetConfig(target.port);
  const holding = Array.from({ length: MAX_CONNECTIONS }, () => ask(pool, to));
  const patient = ask(pool, to);
  const hasty = ask(pool, to, { timeouts: { connectMs: 50 } });
  assert.equal(await hasty.outcome(), "GATEHOUSE_UPSTREAM_NONE");
  assert.match(hasty.error?.message ?? "", /became free in time/);
  assert.deepEqual(patient.events, []);
  holding[0]?.call.abort();
  await eventually("a place became free for the other", () => patient.events.includes("connected"));
});

for (const [announced, isUsedAgain] of [
  ["", true],
  ["Keep-Alive: timeout=60\r\n", true],
  // Our request and its FIN could meet on the way.
  ["Keep-Alive: timeout=1\r\n", false],
  ["Keep-Alive: timeout=0\r\n", false],
  ["Keep-Alive: max=5, timeout=1\r\n", false],
] as const) {
  test(`a target that announces ${JSON.stringify(announced)} is asked again on ${isUsedAgain ? "the same" : "a new"} connection`, async (t) => {
    const target = await startRawTarget(t, (heard, socket) => {
      if (isWhole(heard)) socket.write(`HTTP/1.1 200 OK\r\n${announced}Content-Length: 2\r\n\r\nok`);
    });
    const pool = startPool(t);
    for (let count = 0; count < 3; count++) assert.equal(await ask(pool, targetConfig(target.port)).outcome(), "end");
    assert.equal(target.heard.length, isUsedAgain ? 1 : 3);
  });
}

test("an idle connection is let go when the target's own patience, less a second, is over", async (t) => {
  const target = await startRawTarget(t, (_, socket) =>
    socket.write("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2\r\nContent-Length: 2\r\n\r\nok"),
  );
  const pool = startPool(t);
  const asked = ask(pool, targetConfig(target.port));
  assert.equal(await asked.outcome(), "end");
  assert.equal(pool.openSockets(), 1);
  await eventually("it is gone", () => target.openConnections() === 0);
});

interface Dying {
  method: string;
  body?: "length";
  /** What the target says before it hangs up, when it is asked on a kept connection. */
  says: string;
  isAgain: boolean;
}

for (const { method, body, says, isAgain } of [
  { method: "GET", says: "", isAgain: true },
  { method: "HEAD", says: "", isAgain: true },
  { method: "PUT", says: "", isAgain: true },
  { method: "DELETE", says: "", isAgain: true },
  { method: "PROPFIND", says: "", isAgain: true },
  { method: "POST", says: "", isAgain: false },
  { method: "PATCH", says: "", isAgain: false },
  { method: "LOCK", says: "", isAgain: false },
  { method: "PUT", body: "length", says: "", isAgain: false },
  { method: "GET", says: "H", isAgain: false },
  { method: "GET", says: "HTTP/1.1 103 Early Hints\r\n\r\n", isAgain: false },
] satisfies Dying[] as Dying[]) {
  const what = `${method}${body === undefined ? "" : " with a body"}`;
  const when = says === "" ? "without a word" : `after ${JSON.stringify(says)}`;
  test(`a kept connection that dies ${when}: ${what} is ${isAgain ? "sent again, once" : "not sent again"}`, async (t) => {
    let dies = false;
    const target = await startRawTarget(t, (heard, socket) => {
      if (!heard.includes("\r\n\r\n")) return;
      if (!dies) {
        socket.write(OK);
        return;
      }
      socket.end(says);
      // The next is refused in the same way: it must not be tried a third time.
    });
    const pool = startPool(t);
    const to = targetConfig(target.port);
    assert.equal(await ask(pool, to).outcome(), "end");
    dies = true;
    const asked = ask(pool, to, {
      method,
      ...(body === undefined ? {} : { body }),
      connected: (call) => {
        if (body === undefined) return;
        call.write(Buffer.from("hello"));
        call.end();
      },
    });
    assert.match(await asked.outcome(), /^GATEHOUSE_UPSTREAM_(?:RESET|GARBAGE)$/);
    assert.equal(target.heard.length, isAgain ? 2 : 1, "connections");
    const sent = target.heard.join("").split(`${method} / HTTP/1.1`).length - 1;
    assert.equal(sent, (isAgain ? 2 : 1) + (method === "GET" ? 1 : 0));
    assert.equal(asked.events.filter((event) => event === "connected").length, 1);
    await eventually("nothing stays", () => pool.openSockets() === 0);
  });
}

test("on a new connection nothing is sent again, and a kept one that died while idle costs nobody anything", async (t) => {
  let answers = 0;
  const target = await startRawTarget(t, (heard, socket) => {
    if (!isWhole(heard)) return;
    if (answers++ === 0) socket.destroy();
    else socket.write(OK);
  });
  const pool = startPool(t);
  const to = targetConfig(target.port);
  assert.equal(await ask(pool, to).outcome(), "GATEHOUSE_UPSTREAM_RESET");
  assert.equal(target.heard.length, 1);
  assert.equal(await ask(pool, to).outcome(), "end");
  target.sockets[1]?.destroy();
  const post = ask(pool, to, { method: "POST" });
  // Either its end was seen already, or the request was lost with it: never a second request.
  const outcome = await post.outcome();
  assert.match(outcome, /^(?:end|GATEHOUSE_UPSTREAM_RESET)$/);
  assert.equal(target.heard.join("").split("POST / ").length - 1 <= 1, true);
});

const slow: Record<string, { says: string; phase: string; timeouts: object }> = {
  "never answers": { says: "", phase: "firstByte", timeouts: { firstByteMs: 50 } },
  "sends half a head and stops": { says: "HTTP/1.1 200 OK\r\nX: ", phase: "firstByte", timeouts: { firstByteMs: 50 } },
  "stops in its body": {
    says: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
    phase: "answer",
    timeouts: { idleMs: 50 },
  },
};
for (const [title, { says, phase, timeouts }] of Object.entries(slow)) {
  test(`a target that ${title} is too slow, and its connection goes`, async (t) => {
    const target = await startRawTarget(t, (_, socket) => socket.write(says));
    const pool = startPool(t);
    const asked = ask(pool, targetConfig(target.port), { timeouts });
    assert.equal(await asked.outcome(), "GATEHOUSE_UPSTREAM_SLOW");
    assert.deepEqual(asked.error?.detail, { phase });
    await eventually("it is gone", () => target.openConnections() === 0);
  });
}

test("a target is not blamed for a client that does not read, however long", async (t) => {
  const target = await startRawTarget(t, (_, socket) =>
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n${"x".repeat(1_000_000)}`),
  );
  const pool = startPool(t);
  const asked: Asked = ask(pool, targetConfig(target.port), {
    timeouts: { idleMs: 50 },
    begun: (call) => call.pause(),
  });
  await eventually("it has begun", () => asked.events.includes("head"));
  const before = asked.payload;
  // Others with the same limit meet it, one after the other.
  const tired = await startRawTarget(t, (_, socket) =>
    socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"),
  );
  for (let count = 0; count < 3; count++) {
    const late = ask(pool, targetConfig(tired.port), { timeouts: { idleMs: 50 } });
    assert.equal(await late.outcome(), "GATEHOUSE_UPSTREAM_SLOW");
  }
  assert.equal(asked.error, undefined);
  assert.ok(asked.payload - before < 500_000, "paused is paused");
  asked.call.resume();
  assert.equal(await asked.outcome(), "end");
  assert.equal(asked.payload, 1_000_000);
});

test("who stops asking takes the connection along, in every phase, and hears no more", async (t) => {
  const target = await startRawTarget(t, (heard, socket) => {
    if (heard.includes("/begun")) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
  });
  const pool = startPool(t);
  const to = targetConfig(target.port);
  const atOnce = ask(pool, to);
  atOnce.call.abort();
  const asked = ask(pool, to);
  await eventually("it is asked", () => target.heard.some(isWhole));
  asked.call.abort();
  const begun = ask(pool, to, { path: "/begun" });
  await eventually("it has begun", () => begun.body === "half");
  begun.call.abort();
  begun.call.abort();
  const uploading = ask(pool, to, {
    method: "POST",
    body: "chunked",
    connected: (call) => void call.write(Buffer.from("x")),
  });
  await eventually("it has begun", () => target.heard.some((heard) => heard.endsWith("1\r\nx\r\n")));
  uploading.call.abort();
  await eventually("all are gone", () => pool.openSockets() === 0 && target.openConnections() === 0);
  for (const { events } of [atOnce, asked, begun, uploading])
    assert.ok(!events.includes("end") && !events.includes("failed"), events.join());
});

test("a body goes out as it is framed: counted, in chunks with trailers, or with the framing it came in", async (t) => {
  const target = await startRawTarget(t, (heard, socket) => {
    if (/(?:hello|0\r\n(?:x-sum: 7\r\n)?\r\n)$/.test(heard)) socket.write(OK);
  });
  const pool = startPool(t);
  const to = targetConfig(target.port);
  const bodyOf = (heard: string | undefined): string => heard?.slice(heard.indexOf("\r\n\r\n") + 4) ?? "";
  for (const [body, send, wire] of [
    ["length", (call: Asked["call"]) => call.write(Buffer.from("hello")), "hello"],
    ["chunked", (call: Asked["call"]) => call.write(Buffer.from("hello")), "5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n"],
    [
      "chunked",
      (call: Asked["call"]) => call.writeRaw(Buffer.from("5\r\nhello\r\n")),
      "5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n",
    ],
  ] as const) {
    const fresh = startPool(t);
    const asked = ask(fresh, to, {
      method: "POST",
      body,
      connected(call) {
        send(call);
        call.end(body === "chunked" ? ["x-sum", "7"] : []);
      },
    });
    assert.equal(await asked.outcome(), "end");
    assert.equal(bodyOf(target.heard.at(-1)), wire);
    assert.ok(asked.call.isSent);
  }
  assert.equal(pool.openSockets(), 0);
});

test("an upload to a target that does not read waits at a quarter of a megabyte, and goes on to its end", async (t) => {
  const total = 20_000_000;
  let heard = 0;
  const target = await startRawTarget(t, () => {}, {
    connected(socket) {
      socket.pause();
      socket.on("data", (chunk: Buffer) => {
        heard += chunk.length;
        if (heard >= total) socket.end(OK);
      });
      socket.pause();
    },
  });
  const pool = startPool(t);
  const piece = Buffer.alloc(65_536, "x");
  let sent = 0;
  const pour = (call: Asked["call"]): void => {
    while (sent < total) {
      const bytes = piece.subarray(0, Math.min(piece.length, total - sent));
      sent += bytes.length;
      if (!call.write(bytes)) return;
    }
    call.end();
  };
  const asked = ask(pool, targetConfig(target.port), {
    method: "POST",
    body: "length",
    fields: `Content-Length: ${total}\r\n`,
    connected: pour,
    drained: () => pour(asked.call),
  });
  await eventually("it waits", () => sent > 0 && sent < total && target.sockets.length === 1);
  const [socket] = target.sockets;
  socket?.resume();
  assert.equal(await asked.outcome(), "end");
  assert.ok(asked.events.includes("drain"));
  assert.ok(heard >= total);
});

test("after close nothing is kept, and what is under way ends as it would", async (t) => {
  const target = await startRawTarget(t, (heard, socket) => {
    if (heard.includes("/now")) socket.write(OK);
  });
  const pool = startPool(t);
  const to = targetConfig(target.port);
  const waiting = ask(pool, to, { path: "/later" });
  assert.equal(await ask(pool, to, { path: "/now" }).outcome(), "end");
  assert.equal(pool.openSockets(), 2);
  pool.close();
  await eventually("the idle one is gone", () => target.openConnections() === 1);
  target.sockets.find((socket) => !socket.destroyed)?.write(OK);
  assert.equal(await waiting.outcome(), "end");
  await eventually("and so is the other", () => target.openConnections() === 0);
  assert.equal(await ask(pool, to, { path: "/now" }).outcome(), "end", "a late one is served still");
  await eventually("and nothing is kept", () => pool.openSockets() === 0);
});

test("failures of one target are told now and then, and how often they were not", (t) => {
  const pool = startPool(t);
  const [one, other] = [targetConfig(1), targetConfig(2)];
  assert.equal(pool.mayReport(one), 0);
  assert.equal(pool.mayReport(one), undefined);
  assert.equal(pool.mayReport(other), 0);
});
