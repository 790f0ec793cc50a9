/**
 * Ports of the table, with the programs that people put behind them, and the commands that edit it.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { userInfo } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { freePort, startDaemon } from "../support/daemons.ts";
import { eventually } from "../support/eventually.ts";
import { closeOf, connectTo, readAll, startTcpTarget } from "../support/forward-home.ts";
import { configText, type RunningGatehouse, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { needs, runProgram } from "../support/programs.ts";

const SITE = "sites: { home.localhost: demo }\n";

async function start(t: TestContext, ports: string): Promise<RunningGatehouse> {
  const folder = await temporaryFolder(t);
  const gatehouse = await startGatehouse(t, { folder, config: configText(folder, `${SITE}${ports}`) });
  await gatehouse.line("edge.ready");
  return gatehouse;
}

/** sshd runs what is asked for by the user's login shell. */
const { shell, username } = userInfo();
const needsShell = /(?:nologin|false)$/.test(shell ?? "") && `needs a login shell for ${username}`;

test(
  "SSH goes through a forwarded port, and stays while others are added and removed",
  { skip: needs("sshd", "openssh-server") || needs("ssh", "openssh-client") || needsShell },
  async (t) => {
    const folder = await temporaryFolder(t);
    for (const key of ["host", "user"]) {
      await runProgram("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(folder, key)]);
    }
    await writeFile(join(folder, "authorized"), await readFile(join(folder, "user.pub")));
    const isRoot = process.getuid?.() === 0;
    if (isRoot) await mkdir("/run/sshd", { recursive: true });
    const port = await freePort();
    const settings = [
      `Port ${port}`,
      "ListenAddress 127.0.0.1",
      `HostKey ${join(folder, "host")}`,
      `AuthorizedKeysFile ${join(folder, "authorized")}`,
      `PidFile ${join(folder, "pid")}`,
      "StrictModes no",
      "UsePAM no",
      "PermitRootLogin yes",
      "",
    ];
    await writeFile(join(folder, "sshd.conf"), settings.join("\n"));
    await chmod(folder, 0o755);
    await startDaemon(t, "/usr/sbin/sshd", ["-D", "-e", "-f", join(folder, "sshd.conf")], port);
    const outside = await freePort();
    const gatehouse = await start(t, `ports: { "tcp/127.0.0.1:${outside}": "127.0.0.1:${port}" }\n`);
    const isDone = join(folder, "done");
    const options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "LogLevel=ERROR"];
    const sent = "x".repeat(1_000_000);
    const session = runProgram(
      "ssh",
      [
        ...options.flatMap((one) => ["-o", one]),
        "-i",
        join(folder, "user"),
        "-p",
        String(outside),
        `${username}@127.0.0.1`,
        `cat; echo here >> ${isDone}.begun; until [ -e ${isDone} ]; do sleep 0.1; done; echo end`,
      ],
      { input: sent, withinMs: 150_000 },
    );
    await eventually("SSH is at it", () => existsSync(`${isDone}.begun`), 60_000);
    const other = ["forwards", "add", "--to", "127.0.0.1:9", "--json"];
    for (let times = 0; times < 2; times++) {
      const added = await gatehouse.cli(...other);
      assert.equal(added.code, 0, added.stderr);
      const removed = await gatehouse.cli("forwards", "rm", (JSON.parse(added.stdout) as { key: string }).key);
      assert.equal(removed.code, 0, removed.stderr);
    }
    await writeFile(isDone, "");
    const { stdout, stderr, code } = await session;
    assert.equal(code, 0, stderr);
    assert.equal(stdout, `${sent}end\n`);
  },
);

test("iperf3 runs over a forwarded TCP and UDP port", { skip: needs("iperf3") }, async (t) => {
  const port = await freePort();
  await startDaemon(t, "iperf3", ["-s", "-B", "127.0.0.1", "-p", String(port)], port);
  const outside = await freePort();
  await start(
    t,
    `ports:
  "tcp/127.0.0.1:${outside}": 127.0.0.1:${port}
  "udp/127.0.0.1:${outside}": 127.0.0.1:${port}
`,
  );
  const ask = async (...args: string[]) => {
    for (let tries = 1; ; tries++) {
      const result = await runProgram("iperf3", ["-c", "127.0.0.1", "-p", String(outside), "-J", ...args]);
      const answer = JSON.parse(result.stdout) as { end: { sum_received: { bytes: number } }; error?: string };
      if (result.code === 0 && answer.error === undefined) return answer;
      // It serves one at a time, and is busy for a moment with whom it has just served; it ends with 0 then, too.
      assert.ok(tries < 5, answer.error);
      await new Promise((resolve) => setTimeout(resolve, 200 * tries));
    }
  };
  for (const reverse of [[], ["-R"]]) {
    const { end } = await ask("-n", "100M", "-P", "2", ...reverse);
    // It stops counting when all is sent: what is under way then, megabytes on a busy machine, is not among the received.
    assert.ok(end.sum_received.bytes >= 50_000_000, `${end.sum_received.bytes} bytes`);
  }
  // WireGuard's size, at a video's rate. Towards the client, too: iperf3's TCP session vouches for its address.
  for (const reverse of [[], ["-R"]]) {
    const { end } = await ask("-u", "-b", "20M", "-l", "1420", "-n", "2M", ...reverse);
    assert.ok(end.sum_received.bytes > 1_500_000, `${end.sum_received.bytes} bytes ${reverse.join()}`);
  }
});

test(
  "MQTT goes over TLS that ends at the port",
  { skip: needs("mosquitto") || needs("mosquitto_pub", "mosquitto-clients") },
  async (t) => {
    const port = await freePort();
    const folder = await temporaryFolder(t);
    await writeFile(join(folder, "m.conf"), `listener ${port} 127.0.0.1\nallow_anonymous true\npersistence false\n`);
    await startDaemon(t, "mosquitto", ["-c", join(folder, "m.conf")], port);
    const outside = await freePort();
    const gatehouse = await start(
      t,
      `ports: { "tcp/127.0.0.1:${outside}": { to: "127.0.0.1:${port}", tls: mqtt.localhost } }\n`,
    );
    await gatehouse.line("certificate.issued", ({ name }) => name === "mqtt.localhost");
    const root = String((await gatehouse.line("edge.ready"))["caRoot"]);
    // No resolver here knows the name, so the certificate is judged by its root alone.
    const at = ["-h", "127.0.0.1", "--insecure", "-p", String(outside), "--cafile", root, "-t", "house/door"];
    const heard = runProgram("mosquitto_sub", [...at, "-C", "1", "-W", "20"]);
    // Retained: it is heard whichever of the two comes first.
    const retained = await runProgram("mosquitto_pub", [...at, "-r", "-m", "open"]);
    assert.equal(retained.code, 0, retained.stderr);
    assert.equal((await heard).stdout.trim(), "open");
  },
);

test("ports are added, listed and removed by command while another one streams", async (t) => {
  const target = await startTcpTarget(t, (socket) => socket.pipe(socket));
  const outside = await freePort();
  const gatehouse = await start(
    t,
    `# my doors
ports:
  "tcp/127.0.0.1:${outside}": "127.0.0.1:${target}" # the first
`,
  );
  const stream = await connectTo(t, outside);
  const echo = async (socket: Socket, word: string): Promise<string> => {
    const heard = once(socket, "data");
    socket.write(word);
    return String((await heard)[0]);
  };
  assert.equal(await echo(stream, "one"), "one");

  const added = await gatehouse.cli(
    "forwards",
    "add",
    "--to",
    `127.0.0.1:${target}`,
    "--description",
    "second door",
    "--json",
  );
  assert.equal(added.code, 0, added.stderr);
  const { key, port, running } = JSON.parse(added.stdout) as { key: string; port: number; running: boolean };
  assert.ok(running && port >= 20_100 && port <= 20_999 && key === `tcp/${port}`);
  assert.equal(await echo(await connectTo(t, port), "two"), "two");
  assert.equal(await echo(stream, "three"), "three");

  const listed = await gatehouse.cli("forwards", "ls");
  assert.match(listed.stdout, /^PORT +PROTOCOL +TARGET +DESCRIPTION/);
  assert.match(listed.stdout, new RegExp(`^${port} +tcp +127\\.0\\.0\\.1:${target} +second door +everybody +`, "m"));
  assert.equal((await gatehouse.cli("forwards", "add", "--to", "1.2.3.4:22", "--port", "20999")).code, 78);

  const open = await connectTo(t, port);
  assert.equal(await echo(open, "four"), "four");
  open.resume();
  const removed = await gatehouse.cli("forwards", "rm", String(port));
  assert.equal(removed.code, 0, removed.stderr);
  await closeOf(open);
  assert.equal(await echo(stream, "five"), "five");
  stream.end();
  await readAll(stream);
  assert.match(await readFile(gatehouse.configFile, "utf8"), /# my doors\nports:\n.*# the first\n$/s);
  assert.equal((await gatehouse.cli("forwards", "rm", "tcp/1")).code, 65);
});
