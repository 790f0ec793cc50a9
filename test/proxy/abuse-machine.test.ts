/**
 * What goes wrong with Gatehouse itself or the machine below it: a target that is off while everybody asks for it, a disk
 * that is full, work that must not hold up the loop, a mistake nobody caught. S numbers are those of the project's list of
 * attacks.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { request as httpsRequest } from "node:https";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import type { StatusReport } from "../../src/admin/actions.ts";
import { eventually } from "../support/eventually.ts";
import { configText, runCli, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { assertServed, knock, NAME, startSiege } from "../support/siege.ts";
import { freePort, startTarget } from "../support/target.ts";

const MEMORY = 150_000_000;
const PATIENCE_MS = 30_000;

/** A target that takes connections and ends each at its first bytes, or at `answers` whole answers. */
async function startFlighty(
  t: TestContext,
  answers: number,
): Promise<{ port: number; dialled(): number; asked(): number }> {
  let [dialled, asked] = [0, 0];
  const server = createServer((socket) => {
    dialled++;
    let left = answers;
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      asked += bytes.toString("latin1").split(" HTTP/1.1\r\n").length - 1;
      if (left-- > 0) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      else socket.destroy();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return { port: (server.address() as AddressInfo).port, dialled: () => dialled, asked: () => asked };
}

test("S24 a target that is off or hangs up is asked once a request, twice at most", { timeout: 120_000 }, async (t) => {
  const honest = await startTarget(t, (_, res) => res.end("ok"));
  const [atOnce, later] = [await startFlighty(t, 0), await startFlighty(t, 1)];
  const nobody = createServer();
  nobody.listen(0, "127.0.0.1");
  await once(nobody, "listening");
  const { port: off } = nobody.address() as AddressInfo;
  nobody.close();
  const siege = await startSiege(
    t,
    `sites:\n  ${NAME}:\n    to: 127.0.0.1:${honest.port}\n    routes:\n      /off/: 127.0.0.1:${off}\n      /flighty/: 127.0.0.1:${atOnce.port}\n      /later/: 127.0.0.1:${later.port}\n`,
  );
  const { gatehouse } = siege;
  const since = siege.visits.length;
  const before = await gatehouse.rss();
  const EACH = 100;
  /** All on one connection, each request after the answer to the one before. */
  const visitor = async (path: string, head: string): Promise<string[]> => {
    const client = await knock(t, { port: gatehouse.httpsPort, isTls: true });
    const statuses: string[] = [];
    for (let count = 0; count < EACH && !client.isClosed(); count++) {
      const seen = client.bytes();
      client.send(
        `${head.replace("/", path)}\r\nHost: ${NAME}\r\nContent-Length: 0\r\nAccept: application/json\r\n\r\n`,
      );
      const deadline = performance.now() + PATIENCE_MS;
      while (client.bytes() === seen && !client.isClosed() && performance.now() < deadline) await wait(1);
      statuses.push(
        client
          .received()
          .slice(-10_000)
          .match(/HTTP\/1\.1 (\d+)/g)
          ?.at(-1) ?? "nothing",
      );
    }
    client.raw.destroy();
    return statuses;
  };
  const told = await Promise.all(
    ["/off/", "/flighty/", "/later/"].flatMap((path) =>
      ["GET / HTTP/1.1", "POST / HTTP/1.1"].map((head) => visitor(path, head)),
    ),
  );
  for (const statuses of told.slice(0, 4)) assert.deepEqual(new Set(statuses), new Set(["HTTP/1.1 502"]));
  assert.ok(atOnce.dialled() <= 2 * EACH, `${atOnce.dialled()} dials for ${2 * EACH} requests`);
  assert.equal(atOnce.asked(), 2 * EACH, "on a new connection nothing is sent again");
  // GET: an answer, then the kept connection dies under the next and it is asked again on a new one.
  assert.ok(later.asked() <= 2 * EACH + EACH, `${later.asked()} requests heard for ${2 * EACH}`);
  assert.ok(later.dialled() <= 2 * EACH + 10, `${later.dialled()} dials`);
  assert.ok(told[5]?.includes("HTTP/1.1 502"), "a POST is not sent again");

  await eventually("somebody came meanwhile", () => siege.visits.length > since);
  assertServed(siege, since);
  assert.ok((await gatehouse.rss()) - before < MEMORY);
  assert.ok((await siege.metric("gatehouse_upstream_errors_total", { site: NAME, reason: "connect" })) >= 2 * EACH);
  assert.ok((await siege.metric("gatehouse_upstream_errors_total", { site: NAME, reason: "reset" })) >= 2 * EACH);
  const said = gatehouse.lines.filter(({ event, level }) => event !== "access" && level >= 40);
  assert.ok(said.length <= 30, said.map((line) => JSON.stringify(line)).join("\n"));
});

test("S31 a log that cannot be written stops nobody from being served", { timeout: 120_000 }, async (t) => {
  const { port } = await startTarget(t, (_, res) => res.end("ok"));
  const folder = await temporaryFolder(t);
  const configFile = join(folder, "gatehouse.yaml");
  const metrics = `127.0.0.1:${await freePort()}`;
  const config = configText(folder, `sites: { ${NAME}: "127.0.0.1:${port}" }\n`);
  await writeFile(configFile, config.replace(/^metrics:.*$/m, `metrics: { listen: "${metrics}" }`));
  const full = openSync("/dev/full", "w");
  const main = new URL("../../src/cli/main.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, ["--disable-warning=DEP0060", main, "run", "--config", configFile], {
    stdio: ["ignore", full, "ignore"],
  });
  closeSync(full);
  const ended = once(child, "close") as Promise<[number | null]>;
  t.after(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  // Its log cannot say which ports it has; its socket can.
  const status = async (): Promise<StatusReport | undefined> => {
    const { code, stdout } = await runCli(["status", "--json", "--config", configFile]);
    return code === 0 ? (JSON.parse(stdout) as StatusReport) : undefined;
  };
  let report = await status();
  const deadline = performance.now() + 60_000;
  while (report?.certificates.valid !== 1) {
    assert.ok(performance.now() < deadline, "never ready");
    await wait(100);
    report = await status();
  }
  const httpsPort = report.listeners.find(({ kind }) => kind === "https")?.port ?? 0;
  const rss = async (): Promise<number> =>
    Number(/VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${child.pid}/status`, "utf8"))?.[1]) * 1024;
  const client = await knock(t, { port: httpsPort, isTls: true });
  const visit = async (): Promise<void> => {
    const seen = client.bytes();
    client.send(`GET /${"x".repeat(2_000)} HTTP/1.1\r\nHost: ${NAME}\r\n\r\n`);
    const late = performance.now() + PATIENCE_MS;
    while (client.bytes() === seen && !client.isClosed() && performance.now() < late) await wait(1);
    assert.match(client.received().slice(-300), /HTTP\/1\.1 200 [^]*ok$/);
  };
  for (let count = 0; count < 50; count++) await visit();
  const before = await rss();
  for (let count = 0; count < 500; count++) await visit();
  assert.ok((await rss()) - before < MEMORY, "lines that nobody takes pile up");
  const dropped = async (): Promise<number> =>
    Number(
      /^gatehouse_log_lines_dropped_total (\d+)$/m.exec(await (await fetch(`http://${metrics}/metrics`)).text())?.[1],
    );
  await eventually("each visit's line counts as dropped", async () => (await dropped()) >= 550, { everyMs: 50 });
  child.kill("SIGTERM");
  assert.deepEqual((await ended)[0], 0, "and it still ends in order");
});

const HOOK = new URL("../support/fail-on-signal.ts", import.meta.url).pathname;

async function visitOnce(port: number): Promise<string> {
  const req = httpsRequest({
    port,
    host: "127.0.0.1",
    servername: NAME,
    headers: { host: NAME },
    rejectUnauthorized: false,
    agent: false,
  });
  req.end();
  const [res] = (await once(req, "response")) as [import("node:http").IncomingMessage];
  let body = "";
  for await (const piece of res) body += String(piece);
  return `${res.statusCode} ${body}`;
}

test(
  "S50 a mistake that nobody caught is a line with its stack, an end with 1, and the next start serves",
  { timeout: 180_000 },
  async (t) => {
    const { port } = await startTarget(t, (_, res) => res.end("ok"));
    const folder = await temporaryFolder(t);
    const config = configText(folder, `sites: { ${NAME}: "127.0.0.1:${port}" }\n`);
    let orders = 0;
    for (const how of ["exception", "rejection"]) {
      const env = { NODE_OPTIONS: `--import=${HOOK}`, FAIL_BY: how };
      const gatehouse = await startGatehouse(t, { folder, config, env });
      if (orders === 0) await gatehouse.line("certificate.issued");
      assert.equal(await visitOnce(gatehouse.httpsPort), "200 ok", how);
      assert.equal(await gatehouse.stop("SIGUSR2"), 1);
      const failed = await gatehouse.line("process.failed");
      const { err, ...line } = failed as typeof failed & { err: { message: string; stack: string } };
      assert.equal(line.level, 60);
      assert.match(err.stack, /fail-on-signal\.ts/);
      assert.doesNotMatch(JSON.stringify(failed) + gatehouse.stderr(), /c2VjcmV0/);
      orders += gatehouse.lines.filter(({ event }) => event === "certificate.issued").length;
    }
    assert.equal(orders, 1, "the certificate outlives them");
  },
);

test(
  "S50 a worker that makes a mistake is a line and a new worker, and the others serve",
  { timeout: 180_000 },
  async (t) => {
    const { port } = await startTarget(t, (_, res) => res.end("ok"));
    const folder = await temporaryFolder(t);
    const config = configText(folder, `workers: 2\nsites: { ${NAME}: "127.0.0.1:${port}" }\n`);
    const gatehouse = await startGatehouse(t, { folder, config, env: { NODE_OPTIONS: `--import=${HOOK}` } });
    await gatehouse.line("certificate.issued");
    const { stdout } = await gatehouse.cli("status", "--json");
    const { workers } = JSON.parse(stdout) as StatusReport;
    const victim = workers[0]?.pid ?? 0;
    process.kill(victim, "SIGUSR2");
    await gatehouse.line("worker.ended", (line) => line["worker"] === victim);
    const failed = await gatehouse.line("process.failed");
    assert.doesNotMatch(JSON.stringify(failed), /c2VjcmV0/);
    for (let count = 0; count < 10; count++) assert.equal(await visitOnce(gatehouse.httpsPort), "200 ok");
    await gatehouse.line("worker.serving", (line) => !workers.some(({ pid }) => pid === line["worker"]));
    for (let count = 0; count < 10; count++) assert.equal(await visitOnce(gatehouse.httpsPort), "200 ok");
  },
);

for (const workers of [1, 2]) {
  const what = `S36 a site that leads back to Gatehouse is told 508 after four rounds, with ${workers} process(es)`;
  test(what, { timeout: 170_000 }, async (t) => {
    const honest = await startTarget(t, (_, res) => res.end("ok"));
    const folder = await temporaryFolder(t);
    // The mistake can only be made where the port is known before.
    const port = await freePort();
    const looping = `to: "https://127.0.0.1:${port}", upstreamTls: { verify: false, serverName: loop.localhost }`;
    const config = configText(
      folder,
      `workers: ${workers}\nsites: { ${NAME}: "127.0.0.1:${honest.port}", loop.localhost: { ${looping} } }\n`,
    ).replace('https: "127.0.0.1:0"', `https: "127.0.0.1:${port}"`);
    const gatehouse = await startGatehouse(t, { folder, config });
    await gatehouse.line("certificate.issued", (line) => line["name"] === "loop.localhost");
    const LOOPS = [
      "GET / HTTP/1.1",
      "GET / HTTP/1.0",
      // A stranger who writes what a proxy would is one, for all that is known.
      "GET / HTTP/1.1\r\nForwarded: for=1.2.3.4;by=_gatehouse-0123456789abcdef-3",
      `GET / HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${"A".repeat(22)}==`,
    ];
    for (const loop of LOOPS) {
      const since = gatehouse.lines.length;
      const client = await knock(t, { port, isTls: true, name: "loop.localhost" });
      client.send(
        `${loop}\r\nHost: loop.localhost\r\nConnection: ${loop.includes("Upgrade") ? "Upgrade" : "close"}\r\n\r\n`,
      );
      await eventually(
        () => `it is told: ${client.received()}`,
        () => client.received().includes("\r\n\r\n"),
        60_000,
      );
      assert.match(client.received(), /^HTTP\/1\.1 508 /, loop);
      client.raw.destroy();
      const rounds = () => gatehouse.lines.slice(since).filter(({ event }) => event === "access");
      await eventually("every round is in the log", () => rounds().length === 5, 60_000);
      const refused = rounds().filter((line) => line["edge.error"] === "GATEHOUSE_LOOP");
      assert.deepEqual(
        refused.map((line) => [line["edge.site"], line["http.response.status_code"]]),
        [["loop.localhost", 508]],
      );
    }
    assert.equal(await visitOnce(port), "200 ok");
    const said = gatehouse.lines.filter(({ event, level }) => event !== "access" && level >= 40);
    assert.deepEqual(said, []);
  });
}
