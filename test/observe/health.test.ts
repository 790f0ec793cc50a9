/**
 * The listener for metrics and health, asked by clients of every kind.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { request } from "node:http";
import { createServer, connect } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test, type TestContext } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { isGatehouseError } from "../../src/core/errors.ts";
import { createObserveServer, type Readiness } from "../../src/observe/health.ts";
import { createMetrics } from "../../src/observe/metrics.ts";
import { isOwnHost } from "../../src/observe/own-host.ts";
import { exchangeRecord } from "../support/exchanges.ts";
import { temporaryFolder } from "../support/gatehouse.ts";
import { needs } from "../support/programs.ts";
import { closeOf } from "../support/closing.ts";

const READY: Readiness = { isListening: true, isConfigured: true, isDraining: false };

async function observe(t: TestContext, readiness: () => Readiness = () => READY) {
  const metrics = createMetrics({ version: "1.2.3" });
  metrics.setSites(new Map([["a.example", ["10.0.0.5:80"]]]));
  const server = createObserveServer({ metrics, readiness });
  t.after(() => server.close());
  const { port } = await server.listen({ host: "127.0.0.1", port: 0 });
  return { server, metrics, port };
}

function ask(port: number, path: string, special: { method?: string; host?: string } = {}) {
  return new Promise<{ status: number; body: string; headers: NodeJS.Dict<string | string[]> }>((resolve, reject) => {
    const { method = "GET", host = `127.0.0.1:${port}` } = special;
    const asking = request({ port, host: "127.0.0.1", path, method, headers: { host }, agent: false }, (answer) => {
      let body = "";
      answer.on("data", (chunk: Buffer) => (body += chunk.toString()));
      answer.on("end", () => resolve({ status: answer.statusCode ?? 0, body, headers: answer.headers }));
    });
    asking.on("error", reject);
    asking.end();
  });
}

test("/healthz is 200 while the process lives, whatever its readiness", async (t) => {
  const { port } = await observe(t, () => ({ isListening: false, isConfigured: false, isDraining: true }));
  assert.equal((await ask(port, "/healthz")).status, 200);
});

const readiness: [facts: Partial<Readiness>, status: number, body: RegExp][] = [
  [{}, 200, /^ready/],
  [{ isListening: false }, 503, /not listening/],
  [{ isConfigured: false }, 503, /no configuration/],
  [{ isDraining: true }, 503, /draining/],
];

for (const [facts, status, body] of readiness) {
  test(`/readyz is ${status} with ${JSON.stringify(facts)}`, async (t) => {
    const { port } = await observe(t, () => ({ ...READY, ...facts }));
    const answer = await ask(port, "/readyz?from=balancer");
    assert.equal(answer.status, status);
    assert.match(answer.body, body);
  });
}

test("HEAD gives the head of the same answer, other methods 405, other paths 404", async (t) => {
  const { port } = await observe(t);
  const head = await ask(port, "/metrics", { method: "HEAD" });
  assert.equal(head.status, 200);
  assert.equal(head.body, "");
  assert.ok(Number(head.headers["content-length"]) > 1_000);
  for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"]) {
    const answer = await ask(port, "/metrics", { method });
    assert.equal(answer.status, 405);
    assert.equal(answer.headers["allow"], "GET, HEAD");
  }
  assert.equal((await ask(port, "/")).status, 404);
  assert.equal((await ask(port, "/metrics/../healthz")).status, 404);
});

test("a web page cannot read the metrics by pointing its own name here", async (t) => {
  const { port } = await observe(t);
  for (const path of ["/metrics", "/healthz", "/readyz"]) {
    const answer = await ask(port, path, { host: `rebind.attacker.example:${port}` });
    assert.equal(answer.status, 421);
    assert.doesNotMatch(answer.body, /gatehouse_/);
  }
  assert.equal((await ask(port, "/metrics", { host: "localhost" })).status, 200);
});

const hosts: [header: string | undefined, isOwn: boolean][] = [
  [undefined, true],
  ["127.0.0.1:9145", true],
  ["[::1]:9145", true],
  ["[fd00::1]", true],
  ["LOCALHOST:9145", true],
  ["metrics.localhost", true],
  ["gatehouse:9145", true],
  ["nas.local.", true],
  ["nas.lan:80", true],
  ["nas.home.arpa", true],
  ["box.home.example", true],
  ["attacker.example", false],
  ["127.0.0.1.attacker.example", false],
  ["localhost.attacker.example:9145", false],
  ["attacker.example#.local", false],
  ["attacker.example:80:90", false],
  ["[attacker.example]", false],
  ["a b", false],
  ["", false],
];

for (const [header, isOwn] of hosts) {
  test(`Host ${header ?? "(none)"} is ${isOwn ? "this machine" : "refused"}`, () => {
    assert.equal(isOwnHost(header, "box.home.example"), isOwn);
  });
}

test("garbage and half requests are cut off, and the next one is answered", async (t) => {
  const { port } = await observe(t);
  for (const bytes of ["\u0000\u0001garbage\r\n\r\n", `GET / HTTP/1.1\r\nx: ${"a".repeat(20_000)}\r\n\r\n`]) {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    socket.resume();
    socket.write(bytes);
    await closeOf(socket);
  }
  assert.equal((await ask(port, "/healthz")).status, 200);
});

test("a listener that cannot be opened says which setting, and what to do", async (t) => {
  const taken = createServer();
  t.after(() => taken.close());
  taken.listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as { port: number };
  const refusals: [address: { host: string; port: number }, code: string][] = [
    [{ host: "127.0.0.1", port }, "GATEHOUSE_PORT_IN_USE"],
    [{ host: "192.0.2.77", port: 0 }, "GATEHOUSE_LISTEN_FAILED"],
  ];
  for (const [address, code] of refusals) {
    const server = createObserveServer({ metrics: createMetrics({ version: "1" }), readiness: () => READY });
    await assert.rejects(server.listen(address), (error) => {
      assert.ok(isGatehouseError(error) && error.code === code, String(error));
      assert.match(error.message, /metrics\.listen/);
      assert.ok(error.hint);
      return true;
    });
    await server.close();
  }
});

test("closing ends kept connections and frees the port", async (t) => {
  const { server, port } = await observe(t);
  const idle = connect(port, "127.0.0.1");
  idle.resume();
  await once(idle, "connect");
  await Promise.all([server.close(), once(idle, "close")]);
  await server.close();
  await assert.rejects(ask(port, "/healthz"), { code: "ECONNREFUSED" });
});

test(
  "a real Prometheus scrapes it and computes a quantile",
  { skip: needs("prometheus"), timeout: 60_000 },
  async (t) => {
    const { port, metrics } = await observe(t);
    for (let index = 0; index < 100; index++) {
      metrics.exchangeStarted("a.example");
      metrics.exchangeEnded(exchangeRecord({ site: "a.example", durationMs: index < 95 ? 4 : 800 }));
    }
    const folder = await temporaryFolder(t);
    const config = join(folder, "prometheus.yml");
    await writeFile(
      config,
      JSON.stringify({
        global: { scrape_interval: "1s" },
        scrape_configs: [{ job_name: "gatehouse", static_configs: [{ targets: [`127.0.0.1:${port}`] }] }],
      }),
    );
    const prometheus = spawn(
      "prometheus",
      [`--config.file=${config}`, `--storage.tsdb.path=${join(folder, "tsdb")}`, "--web.listen-address=127.0.0.1:0"],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    const closed = once(prometheus, "close");
    t.after(async () => {
      prometheus.kill("SIGKILL");
      await closed;
    });
    const own = await new Promise<number>((resolve, reject) => {
      const lines = createInterface({ input: prometheus.stderr });
      lines.on("line", (line) => {
        const found = /Listening on.*address=127\.0\.0\.1:(\d+)/.exec(line)?.[1];
        if (found !== undefined) resolve(Number(found));
      });
      lines.on("close", () => reject(new Error("Prometheus ended before it listened")));
    });
    const query = encodeURIComponent(
      'histogram_quantile(0.5, sum by (site, le) (gatehouse_http_request_duration_seconds_bucket{site="a.example"}))',
    );
    // Prometheus tells nobody when it has scraped: ask until it has.
    let found: string | undefined;
    for (let tries = 0; tries < 150 && found === undefined; tries++) {
      const answer = await ask(own, `/api/v1/query?query=${query}`).catch(() => undefined);
      found = /"value":\[[\d.]+,"([\d.e-]+)"\]/.exec(answer?.body ?? "")?.[1];
      if (found === undefined) await wait(200);
    }
    assert.ok(Number(found) > 0 && Number(found) <= 0.005, `median ${found}`);
  },
);
