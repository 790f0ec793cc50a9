/**
 * One suite for whatever serves: this process by itself, and workers that together look like one.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { request } from "node:https";
import { get } from "node:http";
import { createServer } from "node:net";
import { before, test, type TestContext } from "node:test";
import { connect } from "node:tls";
import pino from "pino";
import { NO_DEVICES, type Serving } from "../../src/cluster/contract.ts";
import { countWorkers } from "../../src/cluster/count.ts";
import { createWorkers } from "../../src/cluster/workers.ts";
import type { Config, SiteConfig } from "../../src/config/model.ts";
import { isGatehouseError } from "../../src/core/errors.ts";
import { systemClock } from "../../src/core/time.ts";
import { createMetrics, type Metrics } from "../../src/observe/metrics.ts";
import { createServing } from "../../src/serving.ts";
import type { CertificateBundle } from "../../src/storage/bundles.ts";
import { createFallback } from "../../src/tls/fallback.ts";
import { makeCa, type TestCa } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { proxyConfig, siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { startTarget } from "../support/target.ts";

const WORKER = new URL("../../src/worker.ts", import.meta.url).pathname;
/** A configuration sets the level, so silence is a matter of where lines go. */
const silent = pino({}, { write: () => {} });

let ca: TestCa;
const bundles = new Map<string, CertificateBundle>();
before(async () => {
  ca = await makeCa();
  for (const name of ["a.test", "b.test"]) bundles.set(name, await ca.issueBundle({ names: [name] }));
});

interface Home {
  serving: Serving;
  metrics: Metrics;
  config(changes: Partial<Config>): Config;
  /** Names that were asked for in storage. */
  asked: string[];
}

const kinds = ["this process", "workers"] as const;
type Kind = (typeof kinds)[number];

async function home(t: TestContext, kind: Kind, count = 2): Promise<Home> {
  const metrics = createMetrics({ version: "1" });
  const asked: string[] = [];
  const keeper = {
    bundle(name: string) {
      asked.push(name);
      return Promise.resolve(bundles.get(name));
    },
    wish(name: string) {
      asked.push(`wish ${name}`);
      return Promise.resolve(bundles.get(name));
    },
    answerChallenge: (host: string, token: string) =>
      Promise.resolve(token === "known" ? `answer for ${host}` : undefined),
    challengeCertificate: () => Promise.resolve(undefined),
  };
  const config = (changes: Partial<Config>) =>
    proxyConfig([], {
      listen: { https: [{ host: "127.0.0.1", port: 0 }], http: [{ host: "127.0.0.1", port: 0 }] },
      log: { level: "error", access: false, pretty: false },
      workers: count,
      ...changes,
    });
  const ticketKeys = randomBytes(48);
  const fallback = await createFallback();
  const log = silent;
  const serving =
    kind === "this process"
      ? createServing(config({}), { keeper, ticketKeys, fallback, log, metrics })
      : createWorkers({
          program: WORKER,
          count: countWorkers,
          keeper,
          beginning: { version: "1", log: config({}).log, ticketKeys, fallback, devices: NO_DEVICES },
          log,
          metrics,
          clock: systemClock,
          pulseMs: 100,
        });
  t.after(async () => {
    await serving.drain({ withinMs: 0 });
    serving.close();
  });
  return { serving, metrics, config, asked };
}

const portOf = (serving: Serving): number => serving.addresses().https[0]?.port ?? 0;

function ask(port: number, name: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const asking = request({
      host: "127.0.0.1",
      port,
      servername: name,
      headers: { host: name },
      ca: ca.caPem,
      agent: false,
    });
    asking.on("error", reject);
    asking.on("response", (answer) => {
      let body = "";
      answer.on("data", (chunk: Buffer) => (body += chunk.toString()));
      answer.on("end", () => resolve({ status: answer.statusCode ?? 0, body }));
      answer.on("error", reject);
    });
    asking.end();
  });
}

async function sites(t: TestContext, ...names: string[]): Promise<SiteConfig[]> {
  const { port } = await startTarget(t, (req, res) => res.end(`inside ${req.headers.host}`));
  return names.map((name) => siteConfig(name, targetConfig(port)));
}

for (const kind of kinds) {
  test(`${kind}: who comes is counted, machines at home by their address`, async (t) => {
    const { serving, config } = await home(t, kind);
    await serving.apply(config({ sites: await sites(t, "a.test") }));
    assert.deepEqual(serving.visitors(), { fromWorld: { connections: 0, lastAt: undefined }, fromInside: [] });
    for (let turn = 0; turn < 4; turn++) await ask(portOf(serving), "a.test");
    const counted = (): number => serving.visitors().fromInside[0]?.connections ?? 0;
    await eventually("all processes have told", () => counted() === 4);
    assert.equal(serving.visitors().fromInside[0]?.address, "127.0.0.1");
    assert.equal(serving.visitors().fromWorld.connections, 0);
  });

  test(`${kind}: a site is served with the certificate that is stored, another name is refused`, async (t) => {
    const { serving, config } = await home(t, kind);
    await serving.apply(config({ sites: await sites(t, "a.test") }));
    assert.deepEqual(await ask(portOf(serving), "a.test"), { status: 200, body: "inside a.test" });
    await assert.rejects(ask(portOf(serving), "b.test"), /unrecognized name/);
  });

  test(`${kind}: a certificate that comes later is served from then on`, async (t) => {
    const { serving, config } = await home(t, kind);
    await serving.apply(config({ sites: await sites(t, "late.test") }));
    await assert.rejects(ask(portOf(serving), "late.test"));
    serving.setBundle(await ca.issueBundle({ names: ["late.test"] }));
    // All workers: the kernel chooses which one takes a connection.
    for (let round = 0; round < 8; round++) assert.equal((await ask(portOf(serving), "late.test")).status, 200);
  });

  test(`${kind}: below a star on demand each name has its own certificate: a stored one serves at once, another is wished for`, async (t) => {
    const { serving, config, asked } = await home(t, kind);
    const [site] = await sites(t, "*.test");
    assert.ok(site);
    const onDemand = { ask: "http://127.0.0.1:1/", match: [], perHour: 1, most: 1 };
    await serving.apply(config({ sites: [{ ...site, onDemand }] }));
    assert.equal(asked.length, 0, "nothing is kept for the star itself");
    assert.equal((await ask(portOf(serving), "a.test")).status, 200);
    await assert.rejects(ask(portOf(serving), "guest.test"));
    assert.deepEqual([...new Set(asked)].sort(), ["wish a.test", "wish guest.test"]);
    serving.setBundle(await ca.issueBundle({ names: ["guest.test"] }));
    for (let round = 0; round < 8; round++) assert.equal((await ask(portOf(serving), "guest.test")).status, 200);
    // Of another house: it is neither asked for nor taken.
    serving.setBundle(await ca.issueBundle({ names: ["a.other.example"] }));
    await assert.rejects(ask(portOf(serving), "a.other.example"));
    assert.ok(!asked.includes("wish a.other.example"));
    await serving.apply(config({ sites: await sites(t, "b.test") }));
    await assert.rejects(ask(portOf(serving), "guest.test"), /unrecognized name/);
  });

  test(`${kind}: another configuration brings and takes sites, and keeps the port`, async (t) => {
    const { serving, config } = await home(t, kind);
    const [a, b] = await sites(t, "a.test", "b.test");
    assert.ok(a && b);
    await serving.apply(config({ sites: [a] }));
    const port = portOf(serving);
    await serving.apply(config({ sites: [b] }));
    assert.equal(portOf(serving), port);
    for (let round = 0; round < 8; round++) {
      assert.equal((await ask(port, "b.test")).status, 200);
      await assert.rejects(ask(port, "a.test"), /unrecognized name/);
    }
  });

  test(`${kind}: a port that is taken refuses the configuration, twice, and the old one serves on`, async (t) => {
    const { serving, config } = await home(t, kind);
    const [a, b] = await sites(t, "a.test", "b.test");
    assert.ok(a && b);
    const first = config({ sites: [a] });
    await serving.apply(first);
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    t.after(() => other.close());
    const { port } = other.address() as { port: number };
    const listen = { ...first.listen, http: [{ host: "127.0.0.1", port }] };
    for (let round = 0; round < 2; round++) {
      await assert.rejects(serving.apply(config({ sites: [b], listen })), (error) => {
        assert.ok(isGatehouseError(error, "GATEHOUSE_PORT_IN_USE"));
        assert.match(error.hint ?? "", /ss -ltnp/);
        return true;
      });
    }
    assert.equal((await ask(portOf(serving), "a.test")).status, 200);
    await assert.rejects(ask(portOf(serving), "b.test"), /unrecognized name/);
    assert.deepEqual(serving.problems(), []);
  });

  test(`${kind}: a session goes on wherever its next connection lands, until the keys change`, async (t) => {
    const { serving, config } = await home(t, kind);
    await serving.apply(config({ sites: await sites(t, "a.test") }));
    const shake = (session?: Buffer) =>
      new Promise<{ reused: boolean; session: Buffer }>((resolve, reject) => {
        const socket = connect({
          host: "127.0.0.1",
          port: portOf(serving),
          servername: "a.test",
          ca: ca.caPem,
          ...(session === undefined ? {} : { session }),
        });
        socket.on("error", reject);
        socket.resume(); // tickets come with the first bytes
        const done = (next: Buffer) => {
          resolve({ reused: socket.isSessionReused(), session: next });
          socket.destroy();
        };
        if (session === undefined) socket.once("session", done);
        else socket.once("secureConnect", () => done(session));
      });
    const { session } = await shake();
    for (let round = 0; round < 8; round++) assert.equal((await shake(session)).reused, true);
    serving.setTicketKeys(randomBytes(48));
    // Told to all of them, each in its own time.
    let full = 0;
    for (let round = 0; round < 200 && full < 8; round++) full = (await shake(session)).reused ? 0 : full + 1;
    assert.equal(full, 8);
  });

  test(`${kind}: the keeper's answer to a challenge is given on the plain port`, async (t) => {
    const { serving, config } = await home(t, kind);
    await serving.apply(config({ sites: await sites(t, "a.test") }));
    const { port } = serving.addresses().http[0] ?? { port: 0 };
    for (const [token, status, text] of [
      ["known", 200, "answer for a.test"],
      ["unknown", 404, undefined],
    ] as const) {
      const path = `/.well-known/acme-challenge/${token}`;
      const asking = get({ host: "127.0.0.1", port, path, headers: { host: "a.test" }, agent: false });
      const [answer] = (await once(asking, "response")) as [import("node:http").IncomingMessage];
      assert.equal(answer.statusCode, status);
      const body = (await answer.toArray()).join("");
      if (text !== undefined) assert.equal(body, text);
    }
  });

  test(`${kind}: a drain lets the running answer finish and takes nothing new`, async (t) => {
    const { serving, config } = await home(t, kind);
    let finish: (() => void) | undefined;
    const target = await startTarget(t, (_, res) => {
      // Those who knock until the port is closed may still be let in; they are not the one that is waited for.
      if (finish !== undefined) {
        res.end();
        return;
      }
      res.write("first ");
      finish = () => res.end("last");
    });
    await serving.apply(config({ sites: [siteConfig("a.test", targetConfig(target.port))] }));
    const port = portOf(serving);
    const running = ask(port, "a.test");
    await once(target.server, "request");
    const drained = serving.drain({ withinMs: 10_000 });
    await eventuallyRefused(port);
    finish?.();
    assert.equal((await running).body, "first last");
    await drained;
  });

  test(`${kind}: requests are counted, whoever served them`, async (t) => {
    const { serving, config, metrics } = await home(t, kind);
    await serving.apply(config({ sites: await sites(t, "a.test") }));
    for (let round = 0; round < 10; round++) await ask(portOf(serving), "a.test");
    assert.equal(await requests(metrics, serving), 10);
  });
}

async function requests(metrics: Metrics, serving: Serving): Promise<number> {
  const { body } = await metrics.scrape(await serving.numbers());
  return Number(/^gatehouse_http_requests_total\{site="a.test".* (\d+)$/m.exec(body)?.[1] ?? 0);
}

async function eventuallyRefused(port: number): Promise<void> {
  let isRefused = false;
  await eventually("the port is closed", () => {
    ask(port, "a.test").catch((error: NodeJS.ErrnoException) => (isRefused ||= error.code === "ECONNREFUSED"));
    return isRefused;
  });
}

const states = (serving: Serving) => serving.workers().map(({ state }) => state);

for (const [what, signal, reason] of [
  ["that is killed", "SIGKILL", "ended"],
  ["that no longer answers", "SIGSTOP", "hung"],
] as const) {
  test(`a worker ${what} is replaced; the others serve meanwhile, and no total falls`, async (t) => {
    const { serving, config, metrics } = await home(t, "workers");
    await serving.apply(config({ sites: await sites(t, "a.test") }));
    for (let round = 0; round < 10; round++) await ask(portOf(serving), "a.test");
    assert.equal(await requests(metrics, serving), 10);
    const [victim] = serving.workers();
    assert.ok(victim);
    process.kill(victim.pid, signal);
    await eventually("it is gone", () => serving.workers().every(({ pid }) => pid !== victim.pid), 20_000);
    assert.equal((await ask(portOf(serving), "a.test")).status, 200);
    assert.equal(await requests(metrics, serving), 11);
    await eventually("another serves", () => states(serving).every((state) => state === "serving"), 20_000);
    assert.deepEqual(
      serving.workers().map(({ restarts }) => restarts),
      [1, 0],
    );
    assert.match((await metrics.scrape()).body, new RegExp(`gatehouse_workers_lost_total\\{reason="${reason}"\\} 1`));
    for (let round = 0; round < 8; round++) assert.equal((await ask(portOf(serving), "a.test")).status, 200);
  });
}

test("workers become more and fewer with the configuration", async (t) => {
  const { serving, config } = await home(t, "workers");
  const list = await sites(t, "a.test");
  await serving.apply(config({ sites: list }));
  const [first] = serving.workers();
  await serving.apply(config({ sites: list, workers: 3 }));
  assert.deepEqual(states(serving), ["serving", "serving", "serving"]);
  await serving.apply(config({ sites: list, workers: 1 }));
  assert.deepEqual(
    serving.workers().map(({ pid }) => pid),
    [first?.pid],
  );
  assert.equal((await ask(portOf(serving), "a.test")).status, 200);
});

test("a program that ends at once is no worker: the start fails and nothing is left", async (t) => {
  const { config } = await home(t, "this process");
  const serving = createWorkers({
    program: new URL("data/ends-at-once.js", import.meta.url).pathname,
    count: countWorkers,
    keeper: {
      bundle: () => Promise.resolve(undefined),
      wish: () => Promise.resolve(undefined),
      answerChallenge: () => Promise.resolve(undefined),
      challengeCertificate: () => Promise.resolve(undefined),
    },
    beginning: {
      version: "1",
      log: config({}).log,
      ticketKeys: randomBytes(48),
      fallback: await createFallback(),
      devices: NO_DEVICES,
    },
    log: silent,
    metrics: createMetrics({ version: "1" }),
    clock: systemClock,
  });
  t.after(() => serving.close());
  await assert.rejects(serving.apply(config({})), (error) => isGatehouseError(error, "GATEHOUSE_WORKER_FAILED"));
  assert.deepEqual(states(serving), []);
});
