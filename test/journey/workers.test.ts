/**
 * Several workers look like one Gatehouse: from the command line, the log, the metrics, and to clients whatever happens.
 */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { connect, constants } from "node:http2";
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
  "reloads, a SIGHUP, more and fewer workers under load lose no request; every request is logged whole and counted once",
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
    // h2load does not go on after a GOAWAY, so this one is a client of our own that does what RFC 9113 §6.8 says.
    const ca = await readFile(join(folder, "state/ca/local/root.pem"));
    const visitOverH2 = async () => {
      while (!progress.isDone) {
        const answered = await h2Session(gatehouse.httpsPort, ca, () => progress.isDone);
        served += answered;
      }
    };
    const loads = Promise.all([visitOverH2(), load(["--h1"])]);
    loads.catch(() => {});
    for (const [round, workers] of [2, 3, 2, 3, 2].entries()) {
      await writeFile(gatehouse.configFile, config(workers, round + 1));
      const { code, stderr } = await gatehouse.cli("reload");
      assert.equal(code, 0, stderr);
    }
    process.kill(gatehouse.pid, "SIGHUP");
    await gatehouse.line("config.reloaded", (line) => line["trigger"] === "SIGHUP");
    progress.isDone = true;
    await loads;
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
    const logged = gatehouse.lines.filter(({ event }) => event === "access").length;
    // The first 20,000 lines are kept.
    if (gatehouse.lines.length < 20_000) assert.equal(logged, served);
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

/**
 * One connection with four requests at a time, until it is told to go (GOAWAY) or `isDone`. Refused streams were not
 * processed and are asked again on the next connection; anything else but 200 is a request lost.
 *
 * @returns how many were answered
 */
async function h2Session(port: number, ca: Buffer, isDone: () => boolean): Promise<number> {
  const session = connect(`https://localhost:${port}`, { ca });
  const closed = once(session, "close");
  const told = { toGo: false };
  let answered = 0;
  session.on("error", () => {});
  session.once("goaway", () => (told.toGo = true));
  await once(session, "connect");
  const ask = async () => {
    while (!told.toGo && !isDone() && !session.closed) {
      const stream = session.request({ ":path": "/" });
      let status: unknown;
      let body = "";
      stream.on("error", () => {});
      stream.once("response", (headers) => (status = headers[":status"]));
      stream.on("data", (chunk: Buffer) => (body += chunk.toString()));
      await new Promise((resolve) => stream.once("close", resolve));
      if (stream.rstCode === constants.NGHTTP2_REFUSED_STREAM && told.toGo) return;
      assert.deepEqual([status, body, stream.rstCode], [200, "inside", 0]);
      answered++;
    }
  };
  await Promise.all([ask(), ask(), ask(), ask()]);
  session.close();
  await closed;
  return answered;
}
