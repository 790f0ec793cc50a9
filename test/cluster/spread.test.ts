/**
 * Who has more connections than the others gives on what comes, whole; who hangs or leaves is given none.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect as connectTcp, createServer, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { connect, type TLSSocket } from "node:tls";
import pino from "pino";
import { NO_DEVICES, type Serving } from "../../src/cluster/contract.ts";
import { countWorkers } from "../../src/cluster/count.ts";
import type { PassedHandle } from "../../src/cluster/messages.ts";
import { createSpread, socketOf } from "../../src/cluster/spread.ts";
import { Tally } from "../../src/cluster/tally.ts";
import { createWorkers } from "../../src/cluster/workers.ts";
import { systemClock } from "../../src/core/time.ts";
import { createMetrics } from "../../src/observe/metrics.ts";
import { createFallback } from "../../src/tls/fallback.ts";
import { makeCa } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { proxyConfig, siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { startTarget } from "../support/target.ts";

const WORKER = new URL("../../src/worker.ts", import.meta.url).pathname;

/** For node:test's `skip`: false where a tally can be, else the reason. */
function needsTally(): string | false {
  const tally = Tally.create();
  tally?.close();
  return tally === undefined && "needs /dev/shm, and leave to write there";
}

const skip = needsTally();

function createTally(t: TestContext): Tally {
  const tally = Tally.create();
  assert.ok(tally);
  t.after(() => tally.close());
  return tally;
}

test("a tally is the same for all who have it: who has none is out of it, and the fewest are found", { skip }, (t) => {
  const tally = createTally(t);
  assert.equal(tally.least(0), undefined);
  tally.count(0, 7, 0);
  assert.equal(tally.least(0), undefined);
  const another = new Tally(tally.fd);
  another.count(1, 0, 0);
  another.count(63, 70_000, 0);
  another.count(64, 0, 0);
  assert.deepEqual(tally.least(0), { place: 1, open: 0 });
  assert.deepEqual(tally.least(1), { place: 0, open: 7 });
  tally.leaveOut(1);
  tally.count(0, undefined, 0);
  assert.deepEqual(another.least(5), { place: 63, open: 70_000 });
  assert.equal(another.least(63), undefined);
});

test("whoever is given some has them at once, and has them once", { skip }, (t) => {
  const tally = createTally(t);
  tally.count(1, 10, 0);
  tally.note(1, 3, 0);
  assert.deepEqual(tally.least(0), { place: 1, open: 13 });
  tally.count(1, 12, 2);
  assert.deepEqual(tally.least(0), { place: 1, open: 13 });
  tally.leaveOut(1);
  assert.equal(tally.least(0), undefined);
  tally.count(1, 13, 3);
  assert.deepEqual(tally.least(0), { place: 1, open: 13 });
});

/** A connection that was accepted and not read, and its client. */
async function accepted(t: TestContext): Promise<{ socket: Socket; client: Socket }> {
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connectTcp((server.address() as AddressInfo).port, "127.0.0.1");
  const [socket] = (await once(server, "connection")) as [Socket];
  client.on("error", () => {});
  socket.on("error", () => {});
  t.after(() => {
    client.destroy();
    socket.destroy();
    server.close();
  });
  return { socket, client };
}

const CASES = [
  { what: "few stay, however few the other has", own: 4, other: 0, passes: false },
  { what: "nearly even stays", own: 14, other: 10, passes: false },
  { what: "beyond that the other gets the next", own: 15, other: 10, passes: true },
  { what: "of many a sixteenth more is nearly even", own: 320, other: 301, passes: false },
  { what: "and more is not", own: 320, other: 299, passes: true },
  { what: "a place that serves nobody gets none", own: 100, other: undefined, passes: false },
];

for (const { what, own, other, passes } of CASES)
  test(`${what}: ${own} here, ${other ?? "none"} there`, { skip }, async (t) => {
    const tally = createTally(t);
    const passed: object[] = [];
    const spread = createSpread({ tally, place: 0, send: (handle) => passed.push(handle) });
    spread.count(own);
    tally.count(1, other, 0);
    const { socket } = await accepted(t);
    assert.equal(spread.passOn(socket), passes);
    assert.equal(passed.length, passes ? 1 : 0);
  });

test("those on their way count, and who leaves gives nothing on and is given nothing", { skip }, async (t) => {
  const tally = createTally(t);
  const spread = createSpread({ tally, place: 0, send: () => {} });
  spread.count(12);
  tally.count(1, 6, 0);
  const sockets = await Promise.all(Array.from({ length: 4 }, () => accepted(t)));
  const passes = (at: number): boolean => spread.passOn(sockets[at]?.socket ?? assert.fail());
  // Two on their way to the primary make it 12 and 8.
  assert.deepEqual([passes(0), passes(1), passes(2)], [true, true, false]);
  tally.note(0, 0, 2);
  tally.note(1, 2, 0);
  assert.equal(passes(2), false);
  tally.count(1, 7, 2);
  assert.equal(passes(2), true);
  spread.leave();
  tally.count(1, 0, 2);
  assert.equal(passes(3), false);
  assert.equal(tally.least(1), undefined);
  spread.count(3);
  assert.equal(tally.least(1), undefined);
});

test("where a Node sends no such handle a connection stays where it is", { skip }, async (t) => {
  const tally = createTally(t);
  const spread = createSpread({
    tally,
    place: 0,
    send() {
      throw new TypeError("This handle type cannot be sent");
    },
  });
  spread.count(100);
  tally.count(1, 0, 0);
  const { socket } = await accepted(t);
  assert.equal(spread.passOn(socket), false);
  assert.equal(socket.destroyed, false);
});

test("what is received is read from its first byte, and its other half may end sooner", async (t) => {
  const { socket, client } = await accepted(t);
  const received = socketOf((socket as Socket & { _handle: PassedHandle })._handle);
  received.on("error", () => {});
  t.after(() => received.destroy());
  client.end("all of it");
  const [bytes] = (await once(received, "data")) as [Buffer];
  assert.equal(bytes.toString(), "all of it");
  await once(received, "end");
  received.end("an answer");
  const [answer] = (await once(client, "data")) as [Buffer];
  assert.equal(answer.toString(), "an answer");
});

interface House {
  serving: Serving;
  caPem: string;
  port: number;
  /** A connection that has had an answer, and stays. */
  visit(): Promise<TLSSocket>;
}

async function startWorkers(t: TestContext, workers: number): Promise<House> {
  const ca = await makeCa();
  const bundle = await ca.issueBundle({ names: ["a.test"] });
  const target = await startTarget(t, (_, res) => res.end("inside"));
  const none = () => Promise.resolve(undefined);
  const config = proxyConfig([siteConfig("a.test", targetConfig(target.port))], {
    listen: { https: [{ host: "127.0.0.1", port: 0 }], http: [] },
    log: { level: "error", access: false, pretty: false },
    workers,
  });
  const serving = createWorkers({
    program: WORKER,
    count: countWorkers,
    keeper: { bundle: () => Promise.resolve(bundle), wish: none, answerChallenge: none, challengeCertificate: none },
    beginning: {
      version: "1",
      log: config.log,
      ticketKeys: randomBytes(48),
      fallback: await createFallback(),
      devices: NO_DEVICES,
    },
    log: pino({}, { write: () => {} }),
    metrics: createMetrics({ version: "1" }),
    clock: systemClock,
    pulseMs: 100,
  });
  t.after(async () => {
    await serving.drain({ withinMs: 0 });
    serving.close();
  });
  await serving.apply(config);
  const port = serving.addresses().https[0]?.port ?? 0;
  const visit = async (): Promise<TLSSocket> => {
    const socket = connect({ host: "127.0.0.1", port, servername: "a.test", ca: ca.caPem });
    t.after(() => socket.destroy());
    await once(socket, "secureConnect");
    await ask(socket);
    return socket;
  };
  return { serving, caPem: ca.caPem, port, visit };
}

async function ask(socket: TLSSocket): Promise<void> {
  socket.write("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
  let answer = "";
  while (!answer.endsWith("inside")) {
    const [bytes] = (await once(socket, "data")) as [Buffer];
    answer += bytes.toString();
  }
  assert.match(answer, /^HTTP\/1\.1 200 /);
}

const VISITORS = 60;
const each = (serving: Serving): number[] => serving.workers().map(({ openConnections }) => openConnections);
const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0);

const WAYS = [
  { way: "one by one", workers: 2, apart: 6, atOnce: false },
  // A cold worker may not answer in time, and who asked keeps what it has; chance alone gave 9 and 51.
  { way: "all at once", workers: 2, apart: 24, atOnce: true },
  { way: "one by one to four workers", workers: 4, apart: 6, atOnce: false },
];

for (const { way, workers, apart, atOnce } of WAYS)
  test(`connections that come ${way} and stay are spread evenly, and each is served`, { skip }, async (t) => {
    const { serving, visit } = await startWorkers(t, workers);
    const sockets: TLSSocket[] = [];
    if (atOnce) sockets.push(...(await Promise.all(Array.from({ length: VISITORS }, visit))));
    else while (sockets.length < VISITORS) sockets.push(await visit());
    await eventually("all have told", () => sum(each(serving)) === VISITORS);
    const counts = each(serving);
    assert.ok(Math.max(...counts) - Math.min(...counts) <= apart, counts.join(" and "));
    for (const socket of sockets) await ask(socket);
    // Each client says that it is done before it has its last answer.
    for (const socket of sockets) {
      socket.end("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
      const [bytes] = (await once(socket, "data")) as [Buffer];
      assert.match(bytes.toString(), /^HTTP\/1\.1 200 /);
    }
    await eventually("nobody is left", () => sum(each(serving)) === 0);
  });

test("nobody waits for a worker that hangs, although it has the fewest connections", { skip }, async (t) => {
  const { serving, visit } = await startWorkers(t, 2);
  const [first] = serving.workers();
  assert.ok(first);
  process.kill(first.pid, "SIGSTOP");
  // Far more than stay without a look at the others.
  for (let come = 0; come < 16; come++) await visit();
  await eventually("it was replaced", () =>
    serving.workers().every(({ pid, state }) => pid !== first.pid && state === "serving"),
  );
  const sockets = await Promise.all(Array.from({ length: 8 }, visit));
  for (const socket of sockets) await ask(socket);
});
