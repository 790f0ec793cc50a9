/**
 * Several workers look like one Gatehouse: from the command line, the log, the metrics, and to clients whatever happens.
 */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { once } from "node:events";
import { configText, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { needs, runProgram } from "../support/programs.ts";
import { startTarget } from "../support/target.ts";

interface Status {
  workers: { pid: number; restarts: number; state: string }[];
}

test(
  "reloads, a SIGHUP and more workers under load lose no request; every request is logged whole and counted once",
  { skip: needs("h2load", "nghttp2-client") },
  async (t) => {
    const folder = await temporaryFolder(t);
    const target = await startTarget(t, (_, res) => res.end("inside"));
    const config = (workers: number, round: number) =>
      configText(
        folder,
        `workers: ${workers}\nsites:\n  localhost: 127.0.0.1:${target.port}\n  round${round}.localhost: demo\n`,
      );
    const gatehouse = await startGatehouse(t, { folder, config: config(2, 0) });
    await gatehouse.line("certificate.issued", (line) => line["name"] === "localhost");
    const progress = { isDone: false };
    let served = 0;
    const load = async (flags: readonly string[]) => {
      do {
        const { stdout, stderr } = await runProgram(
          "h2load",
          [...flags, "-n", "1000", "-c", "6", `https://localhost:${gatehouse.httpsPort}/`],
          { withinMs: 90_000 },
        );
        assert.match(stdout, /1000 succeeded, 0 failed, 0 errored, 0 timeout/, stdout + stderr);
        assert.match(stdout, /status codes: 1000 2xx/, stdout);
        served += 1_000;
      } while (!progress.isDone);
    };
    const loads = Promise.all([load(["-m", "4"]), load(["--h1"])]);
    loads.catch(() => {});
    for (const [round, workers] of [2, 2, 3, 3].entries()) {
      await writeFile(gatehouse.configFile, config(workers, round + 1));
      const { code, stderr } = await gatehouse.cli("reload");
      assert.equal(code, 0, stderr);
    }
    process.kill(gatehouse.pid, "SIGHUP");
    await gatehouse.line("config.reloaded", (line) => line["trigger"] === "SIGHUP");
    progress.isDone = true;
    await loads;
    // Fewer again: the last one drains like any Gatehouse that stops, and its numbers stay.
    await writeFile(gatehouse.configFile, config(2, 5));
    assert.equal((await gatehouse.cli("reload")).code, 0);

    const status = JSON.parse((await gatehouse.cli("status", "--json")).stdout) as Status;
    assert.deepEqual(
      status.workers.map(({ state, restarts }) => [state, restarts]),
      [
        ["serving", 0],
        ["serving", 0],
      ],
    );
    assert.match((await gatehouse.cli("status")).stdout, /Workers +pid \d+, \d+ connections, up .*, 0 restarts/);
    const metrics = await (await fetch(`http://127.0.0.1:${gatehouse.metricsPort}/metrics`)).text();
    const counts = [...metrics.matchAll(/^gatehouse_http_requests_total\{site="localhost".*\} (\d+)$/gm)];
    // The third worker has left, and with it nothing that it counted.
    assert.equal(
      counts.reduce((sum, [, count]) => sum + Number(count), 0),
      served,
    );
    assert.equal(await gatehouse.stop(), 0);
    // startGatehouse parses each line: one torn between two workers would have ended the test.
    assert.equal(gatehouse.lines.filter(({ event }) => event === "access").length, Math.min(served, 20_000));
    t.diagnostic(`${served} requests`);
  },
);

test("a worker that is killed under load costs its own connections and nobody else's", async (t) => {
  const folder = await temporaryFolder(t);
  const target = await startTarget(t, (_, res) => res.end("inside"));
  const gatehouse = await startGatehouse(t, {
    folder,
    config: configText(folder, `workers: 2\nsites: { home.localhost: "127.0.0.1:${target.port}" }`),
  });
  await gatehouse.line("certificate.issued");
  const { workers } = JSON.parse((await gatehouse.cli("status", "--json")).stdout) as Status;
  const [victim] = workers;
  assert.ok(victim);
  const curl = () =>
    runProgram("curl", [
      ..."-sS --retry 3 --retry-all-errors --retry-delay 0 --cacert".split(" "),
      join(folder, "state/ca/local/root.pem"),
      `https://home.localhost:${gatehouse.httpsPort}/`,
    ]);
  process.kill(victim.pid, "SIGKILL");
  for (let round = 0; round < 5; round++) assert.equal((await curl()).stdout, "inside");
  await gatehouse.line("worker.ended", (line) => line["worker"] === victim.pid);
  await gatehouse.line("worker.serving", (line) => !workers.some(({ pid }) => pid === line["worker"]));
  assert.equal(await gatehouse.stop(), 0);
});

test("with workers SIGTERM lets a running answer finish, and a second one leaves at once and takes them along", async (t) => {
  const folder = await temporaryFolder(t);
  let finish: (() => void) | undefined;
  const target = await startTarget(t, (_, res) => {
    res.write("first ");
    finish = () => res.end("last");
  });
  const config = configText(folder, `workers: 2\nsites: { home.localhost: "127.0.0.1:${target.port}" }`);
  for (const isPatient of [true, false]) {
    const gatehouse = await startGatehouse(t, { folder, config });
    if (isPatient) await gatehouse.line("certificate.issued");
    const root = join(folder, "state/ca/local/root.pem");
    assert.ok((await readFile(root)).length > 0);
    const asking = once(target.server, "request");
    const curl = runProgram("curl", ["-sSN", "--cacert", root, `https://home.localhost:${gatehouse.httpsPort}/`]);
    await asking;
    const pids = gatehouse.lines
      .filter(({ event }) => event === "worker.serving")
      .map((line) => Number(line["worker"]));
    assert.equal(pids.length, 2);
    const stopped = gatehouse.stop("SIGTERM");
    await gatehouse.line("edge.draining");
    if (isPatient) finish?.();
    else void gatehouse.stop("SIGTERM");
    assert.equal(await stopped, 0);
    const { code, stdout } = await curl;
    if (isPatient) assert.equal(stdout, "first last");
    else assert.notEqual(code, 0);
    for (const pid of pids) assert.throws(() => process.kill(pid, 0), { code: "ESRCH" });
  }
});
