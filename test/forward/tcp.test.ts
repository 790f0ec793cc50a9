/**
 * What does a forwarded TCP port do with bytes, ends, failures and those who may not come in?
 */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { connect as connectTls } from "node:tls";
import { createContexts } from "../../src/tls/contexts.ts";
import { makeCa } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { closeOf, connectTo, portConfig, readAll, startForwards, startTcpTarget } from "../support/forward-home.ts";

const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

test("bytes go both ways unbroken, and each direction ends by itself", async (t) => {
  const body = randomBytes(8_000_000);
  const target = await startTcpTarget(t, (socket) => {
    // Answers only after the client has said all: its half must arrive while the other is still open.
    void readAll(socket).then((received) => socket.end(Buffer.concat([Buffer.from(digest(received)), body])));
  });
  const { port, forwards } = await startForwards(t, [portConfig(target)]);
  const client = await connectTo(t, port());
  const upload = randomBytes(5_000_000);
  client.end(upload);
  const answer = await readAll(client);
  assert.equal(answer.subarray(0, 64).toString(), digest(upload));
  assert.equal(digest(answer.subarray(64)), digest(body));
  await eventually("the session ended", () => forwards.report()[0]?.active === 0);
  const [report] = forwards.report();
  assert.equal(report?.bytesIn, upload.length);
  assert.equal(report?.bytesOut, body.length + 64);
});

test("a server that speaks first is heard before the client says a word", async (t) => {
  const target = await startTcpTarget(t, (socket) => socket.end("SSH-2.0-test\r\n"));
  const { port } = await startForwards(t, [portConfig(target)]);
  const client = await connectTo(t, port());
  assert.equal((await readAll(client)).toString(), "SSH-2.0-test\r\n");
});

for (const [over, tls] of [
  ["plain TCP", undefined],
  ["TLS that ends at the port", "burst.test-name.org"],
] as const) {
  test(`over ${over}, bytes stay whole while either side reads in bursts`, async (t) => {
    const [up, down] = [randomBytes(15_000_000), randomBytes(15_000_000)];
    const target = await startTcpTarget(t, (socket) => {
      socket.write(down);
      void inBursts(socket).then((received) => socket.end(digest(received)));
    });
    const ca = await makeCa();
    const contexts = createContexts({ bundles: [await ca.issueBundle({ names: ["burst.test-name.org"] })] });
    const home = await startForwards(t, [portConfig(target, { tls })], { contextFor: (name) => contexts.find(name) });
    const where = { port: home.port(), host: "127.0.0.1" };
    const client = tls === undefined ? connect(where) : connectTls({ ...where, ca: ca.caPem, servername: tls });
    client.on("error", () => {});
    t.after(() => client.destroy());
    await once(client, tls === undefined ? "connect" : "secureConnect");
    client.end(up);
    const answer = await inBursts(client);
    assert.equal(digest(answer.subarray(0, down.length)), digest(down));
    assert.equal(answer.subarray(down.length).toString(), digest(up));
  });
}

/** Reads some, rests a moment, reads on: what was sent has to wait in between, and must not change. */
async function inBursts(socket: Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let burst = 0;
  socket.on("data", (piece: Buffer) => {
    pieces.push(piece);
    burst += piece.length;
    if (burst < 1_234_567) return;
    burst = 0;
    socket.pause();
    setTimeout(() => socket.resume(), 3);
  });
  await once(socket, "end");
  return Buffer.concat(pieces);
}

test("a slow target holds the client back instead of filling memory", async (t) => {
  const target = await startTcpTarget(t, (socket) => socket.pause());
  const { port, forwards } = await startForwards(t, [portConfig(target)]);
  const client = await connectTo(t, port());
  const piece = Buffer.alloc(65_536);
  let isFull = false;
  const push = (): void => {
    while (!isFull) isFull = !client.write(piece);
    client.once("drain", () => {
      isFull = false;
      push();
    });
  };
  push();
  const taken = (): number => forwards.report()[0]?.bytesIn ?? 0;
  let before = -1;
  let stillSince = performance.now();
  await eventually(
    "the client waits",
    () => {
      if (taken() !== before) stillSince = performance.now();
      before = taken();
      return before > 0 && isFull && performance.now() - stillSince > 300;
    },
    30_000,
  );
  assert.ok(taken() < 100_000_000, `${taken()} bytes were taken from the client`);
});

test("a slow reader holds the sender back instead of filling memory", async (t) => {
  let sent = 0;
  let isFull = false;
  const target = await startTcpTarget(t, (socket) => {
    const piece = Buffer.alloc(65_536);
    const push = (): void => {
      while (sent < 400_000_000) {
        sent += piece.length;
        if (!socket.write(piece)) {
          isFull = true;
          socket.once("drain", push);
          return;
        }
        isFull = false;
      }
    };
    push();
  });
  const { port } = await startForwards(t, [portConfig(target)]);
  const client = connect({ port: port(), host: "127.0.0.1" });
  client.on("error", () => {});
  client.pause();
  t.after(() => client.destroy());
  await once(client, "connect");
  // The kernel's buffers on both legs and ours fill up; then nothing moves any more.
  let before = -1;
  await eventually("the sender waits", () => {
    const isStill = isFull && sent === before;
    before = sent;
    return isStill;
  });
  assert.ok(sent < 100_000_000, `${sent} bytes were taken from the sender`);
});

test("a target that resets makes the client see a cut and no clean end", async (t) => {
  const target = await startTcpTarget(t, (socket) => {
    socket.write("half of it", () => socket.resetAndDestroy());
  });
  const { port } = await startForwards(t, [portConfig(target)]);
  const client = connect({ port: port(), host: "127.0.0.1" });
  const ended = await new Promise<string>((resolve) => {
    client.on("error", () => resolve("error"));
    client.on("end", () => resolve("end"));
    client.on("close", () => resolve("close"));
    client.resume();
  });
  assert.notEqual(ended, "end");
});

test("a target that is off ends the session, is counted, and fills no log", async (t) => {
  const gone = await startTcpTarget(t, () => {});
  const { port, forwards, log } = await startForwards(t, [portConfig(1, { target: at("127.0.0.1", 1) })]);
  assert.ok(gone > 0);
  for (let attempt = 0; attempt < 20; attempt++) {
    const client = connect({ port: port(), host: "127.0.0.1" });
    client.on("error", () => {});
    client.resume();
    await closeOf(client);
  }
  const [report] = forwards.report();
  assert.equal(report?.total, 20);
  assert.equal(report.target?.ok, false);
  assert.match(report.target.error ?? "", /ECONNREFUSED/);
  const complaints = log.lines().filter(({ event }) => event === "forward.target_failed");
  assert.equal(complaints.length, 1);
});

test("silence in both directions ends a session, and a word keeps it", async (t) => {
  const target = await startTcpTarget(t, (socket) => socket.pipe(socket));
  const config = portConfig(target, { idleMs: 300 });
  const { port, log } = await startForwards(t, [config]);
  const silent = await startForwards(t, [config]);
  const client = await connectTo(t, port());
  const gone = closeOf(client);
  const startedAt = performance.now();
  // For as long as two live that say nothing, one after the other.
  for (let lives = 0; lives < 2; lives++) {
    const other = await connectTo(t, silent.port());
    void closeOf(other);
    while (!other.closed) {
      client.write("a");
      await Promise.race([once(client, "data"), gone]);
      assert.ok(!client.destroyed, "the words did not keep it");
    }
  }
  await gone;
  assert.ok(performance.now() - startedAt >= 600, "the words did not keep it");
  await eventually("its line is written", () => log.lines().some(({ outcome }) => outcome === "idle"));
});

test("who is not on the list is cut off before the target hears of it", async (t) => {
  let visits = 0;
  const target = await startTcpTarget(t, () => visits++);
  const { port, forwards } = await startForwards(t, [portConfig(target, { allow: ["192.0.2.0/24"] })]);
  const client = connect({ port: port(), host: "127.0.0.1" });
  client.on("error", () => {});
  client.resume();
  await closeOf(client);
  assert.equal(visits, 0);
  assert.equal(forwards.report()[0]?.refused, 1);
});

test("there are never more sessions than the port may have", async (t) => {
  const target = await startTcpTarget(t, (socket) => socket.pipe(socket));
  const { port, forwards } = await startForwards(t, [portConfig(target, { sessions: 3 })]);
  const clients = await Promise.all([1, 2, 3].map(() => connectTo(t, port())));
  await eventually("three are in", () => forwards.report()[0]?.active === 3);
  const fourth = connect({ port: port(), host: "127.0.0.1" });
  fourth.on("error", () => {});
  fourth.resume();
  await closeOf(fourth);
  for (const client of clients) {
    client.write("still here");
    assert.equal(String((await once(client, "data"))[0]), "still here");
  }
  clients[0]?.destroy();
  await eventually("one has left", () => forwards.report()[0]?.active === 2);
  const fifth = await connectTo(t, port());
  fifth.write("now");
  assert.equal(String((await once(fifth, "data"))[0]), "now");
});

test("a name that turns out to be outside is refused, unless that is meant", async (t) => {
  const outside = { host: "203.0.113.9", port: 9, text: "203.0.113.9:9" };
  const { port, forwards, log } = await startForwards(t, [portConfig(9, { target: outside })]);
  const client = connect({ port: port(), host: "127.0.0.1" });
  client.on("error", () => {});
  client.resume();
  await closeOf(client);
  assert.match(forwards.report()[0]?.target?.error ?? "", /public address/);
  assert.ok(log.lines().some(({ event }) => event === "forward.target_failed"));
});

test("an edit of one port leaves the sessions of the others alone, and its own run on to the old target", async (t) => {
  const first = await startTcpTarget(t, (socket) => socket.on("data", (piece) => socket.write(`1:${String(piece)}`)));
  const second = await startTcpTarget(t, (socket) => socket.on("data", (piece) => socket.write(`2:${String(piece)}`)));
  const a = portConfig(first, { key: "tcp/1" });
  const b = portConfig(first, { key: "tcp/2" });
  const { forwards, port } = await startForwards(t, [a, b]);
  const [onA, onB] = [await connectTo(t, port("tcp/1")), await connectTo(t, port("tcp/2"))];
  await eventually("both are in", () => forwards.report().every(({ active }) => active === 1));
  await forwards.apply([{ ...a, target: at("127.0.0.1", second) }, b, portConfig(second, { key: "tcp/3" })]);
  for (const [client, word] of [
    [onA, "1:x"],
    [onB, "1:x"],
    [await connectTo(t, port("tcp/1")), "2:x"],
    [await connectTo(t, port("tcp/3")), "2:x"],
  ] as const) {
    client.write("x");
    assert.equal(String((await once(client, "data"))[0]), word);
  }
  await forwards.apply([b]);
  await closeOf(onA);
  onB.write("y");
  assert.equal(String((await once(onB, "data"))[0]), "1:y");
});

test("those who are no longer allowed are cut when the list changes", async (t) => {
  const target = await startTcpTarget(t, (socket) => socket.pipe(socket));
  const config = portConfig(target);
  const { forwards, port } = await startForwards(t, [config]);
  const client = await connectTo(t, port());
  await eventually("it is in", () => forwards.report()[0]?.active === 1);
  await forwards.apply([{ ...config, allow: ["192.0.2.1/32"] }]);
  await closeOf(client);
});

test("a port that another program has is reported and keeps no other from opening", async (t) => {
  const taken = await startTcpTarget(t, () => {});
  const target = await startTcpTarget(t, (socket) => socket.end("well"));
  const { forwards, port, log } = await startForwards(t, [
    portConfig(target, { key: "tcp/taken", port: taken }),
    portConfig(target, { key: "tcp/free" }),
  ]);
  assert.match(forwards.report()[0]?.error ?? "", /already in use/);
  assert.match(String(log.lines().find(({ event }) => event === "forward.open_failed")?.["hint"]), /ss -ltnp/);
  assert.equal((await readAll(await connectTo(t, port("tcp/free")))).toString(), "well");
});

test("TLS ends at the port with its own name's certificate, with or without a name asked for; another name is refused", async (t) => {
  const ca = await makeCa();
  const contexts = createContexts({ bundles: [await ca.issueBundle({ names: ["mqtt.test-name.org"] })] });
  const target = await startTcpTarget(t, (socket) => socket.pipe(socket));
  const { port } = await startForwards(t, [portConfig(target, { tls: "mqtt.test-name.org" })], {
    contextFor: (name) => contexts.find(name),
  });
  for (const servername of ["mqtt.test-name.org", ""]) {
    const client = connectTls({
      port: port(),
      host: "127.0.0.1",
      ca: ca.caPem,
      ...(servername === "" ? { checkServerIdentity: () => undefined } : { servername }),
    });
    await once(client, "secureConnect");
    client.write("over TLS");
    assert.equal(String((await once(client, "data"))[0]), "over TLS");
    client.destroy();
  }
  const stranger = connectTls({ port: port(), host: "127.0.0.1", ca: ca.caPem, servername: "other.test-name.org" });
  await assert.rejects(once(stranger, "secureConnect"));
});

test("while a drain waits, a session goes on and no new one begins", async (t) => {
  const target = await startTcpTarget(t, (socket) => socket.pipe(socket));
  const { forwards, port } = await startForwards(t, [portConfig(target)]);
  const where = port();
  const client = await connectTo(t, where);
  client.write("in");
  await once(client, "data");
  const drained = forwards.drain({ withinMs: 10_000 });
  client.write("on");
  assert.equal(String((await once(client, "data"))[0]), "on");
  const late = connect({ port: where, host: "127.0.0.1" });
  await assert.rejects(once(late, "connect"), { code: "ECONNREFUSED" });
  client.end();
  await drained;
});

function at(host: string, port: number) {
  return { host, port, text: `${host}:${port}` };
}
