/**
 * Change while running: nothing is lost.
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { WebSocketServer } from "ws";
import { configText, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { needs, runProgram } from "../support/programs.ts";
import { openWebSocket } from "../support/websocket.ts";
import { startTarget } from "../support/target.ts";

test(
  "20 reloads in a row under load lose no request and keep a WebSocket open",
  { skip: needs("h2load", "nghttp2-client") },
  async (t) => {
    const folder = await temporaryFolder(t);
    const target = await startTarget(t, (_, res) => res.end("inside"));
    const sockets = new WebSocketServer({ server: target.server });
    sockets.on("connection", (socket) => socket.on("message", (data) => socket.send(data)));
    t.after(() => sockets.close());
    const site = (round: number) =>
      configText(folder, `sites:\n  localhost: 127.0.0.1:${target.port}\n  round${round}.localhost: demo\n`);
    const gatehouse = await startGatehouse(t, { folder, config: site(0) });
    await gatehouse.line("certificate.issued", (line) => line["name"] === "localhost");
    const ws = await openWebSocket(t, {
      port: gatehouse.httpsPort,
      name: "localhost",
      ca: await readFile(join(folder, "state/ca/local/root.pem")),
    });

    const progress = { reloads: 0 };
    let served = 0;
    /** Round after round until the reloads are through, so that every one of them falls under load. */
    const load = async (flags: readonly string[]) => {
      do {
        const { stdout, stderr } = await runProgram(
          "h2load",
          [...flags, "-n", "2000", "-c", "6", `https://localhost:${gatehouse.httpsPort}/`],
          { withinMs: 90_000 },
        );
        assert.match(stdout, /2000 succeeded, 0 failed, 0 errored, 0 timeout/, stdout + stderr);
        assert.match(stdout, /status codes: 2000 2xx/, stdout);
        served += 2_000;
      } while (progress.reloads < 20);
    };
    const loads = Promise.all([load(["-m", "4"]), load(["--h1"])]);
    // Observed at once: a load that fails while we reload must not end the process as an unhandled rejection.
    loads.catch(() => {});
    for (let round = 1; round <= 20; round++) {
      await writeFile(gatehouse.configFile, site(round));
      const { code, stderr } = await gatehouse.cli("reload");
      assert.equal(code, 0, stderr);
      progress.reloads = round;
    }
    await loads;
    t.diagnostic(`${served} requests served during 20 reloads, none lost`);
    ws.send("still here");
    const [data] = (await once(ws, "message")) as [Buffer];
    assert.equal(data.toString(), "still here");
  },
);

test("SIGHUP takes the file again, with what it names that the watch cannot see, and a wrong file changes nothing", async (t) => {
  const folder = await temporaryFolder(t);
  const mail = join(folder, "mail.txt");
  await writeFile(mail, "me@home.test\n");
  const config = (site: string) =>
    configText(folder, `acme: { ca: local, email: "file:${mail}" }\nsites:\n  ${site}: demo\n`);
  const gatehouse = await startGatehouse(t, { folder, config: config("one.localhost") });
  const ask = async (name: string) =>
    (await runProgram("curl", ["-sk", "-o", "/dev/null", `https://${name}:${gatehouse.httpsPort}/`])).code;
  await gatehouse.line("certificate.issued");
  assert.equal(await ask("one.localhost"), 0);

  // Only what the file points to: the watch sees no change, SIGHUP looks.
  await writeFile(mail, "no address\n");
  process.kill(gatehouse.pid, "SIGHUP");
  const refused = await gatehouse.line("config.reload_failed");
  assert.equal(refused["trigger"], "SIGHUP");
  assert.match(String(refused["reason"]), /is not an e-mail address/);
  assert.equal(await ask("one.localhost"), 0);

  await writeFile(mail, "you@home.test\n");
  await writeFile(gatehouse.configFile, config("two.localhost"));
  process.kill(gatehouse.pid, "SIGHUP");
  await gatehouse.line("config.reloaded", (line) => line["trigger"] === "SIGHUP");
  await gatehouse.line("certificate.issued", (line) => line["name"] === "two.localhost");
  assert.equal(await ask("two.localhost"), 0);
  assert.notEqual(await ask("one.localhost"), 0, "it is no longer a site");
});

test("SIGTERM lets a running answer finish, a second signal leaves at once", async (t) => {
  const folder = await temporaryFolder(t);
  let finish: (() => void) | undefined;
  const target = await startTarget(t, (_, res) => {
    res.write("first ");
    finish = () => res.end("last");
  });
  const gatehouse = await startGatehouse(t, {
    folder,
    config: configText(folder, `sites: { home.localhost: "127.0.0.1:${target.port}" }`),
  });
  await gatehouse.line("certificate.issued");
  const curl = runProgram("curl", [
    "-sS",
    "-N",
    "--cacert",
    join(folder, "state/ca/local/root.pem"),
    `https://home.localhost:${gatehouse.httpsPort}/`,
  ]);
  await once(target.server, "request");
  const stopped = gatehouse.stop("SIGTERM");
  await gatehouse.line("edge.draining");
  finish?.();
  assert.equal((await curl).stdout, "first last");
  assert.equal(await stopped, 0);

  const again = await startGatehouse(t, {
    folder,
    config: configText(folder, `sites: { home.localhost: "127.0.0.1:${target.port}" }`),
  });
  const hanging = runProgram("curl", [
    "-sS",
    "-N",
    "--cacert",
    join(folder, "state/ca/local/root.pem"),
    `https://home.localhost:${again.httpsPort}/`,
  ]);
  await once(target.server, "request");
  const first = again.stop("SIGTERM");
  await again.line("edge.draining");
  void again.stop("SIGTERM");
  await first;
  assert.notEqual((await hanging).code, 0);
});
