/**
 * The command line as a person and a script meet it: a process, two streams, an exit code.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { AdminActions } from "../../src/admin/actions.ts";
import { createAdminServer } from "../../src/admin/server.ts";
import { adminActions } from "../support/admin-actions.ts";
import { configText, runCli, temporaryFolder } from "../support/gatehouse.ts";
import { keptLog } from "../support/log-lines.ts";

const MAIN = join(import.meta.dirname, "../../src/cli/main.ts");

async function running(t: TestContext, special: Partial<AdminActions> = {}): Promise<string> {
  const path = join(await temporaryFolder(t), "a.sock");
  const server = createAdminServer({ path, actions: adminActions(special), log: keptLog().log });
  t.after(() => server.close());
  await server.listen();
  return path;
}

test("ls shows the certificates, least time left first, and nothing that steers the terminal", async (t) => {
  const { code, stdout, stderr } = await runCli(["ls", "--admin", await running(t)]);
  assert.equal(stderr, "");
  assert.equal(code, 0);
  const [head, ...rows] = stdout.trimEnd().split("\n");
  assert.match(head ?? "", /^NAME +STATE +ISSUER +PROFILE +EXPIRES +RENEWS IN +NEXT TRY +LAST ERROR$/);
  assert.deepEqual(
    rows.map((row) => row.split(" ")[0]),
    ["new.example.org", "late.example.org", "ha.example.org"],
  );
  assert.match(
    rows[0] ?? "",
    /pending +- +- +- +29m \d+s +\d{4}-\d\d-\d\d \d\d:\d\dZ +no answer on port 80\ufffd\[2J; forward it \(3 in a row\)$/,
  );
  assert.match(rows[1] ?? "", /expired +Example CA E5 +- +\S+ \(1d ago\) +now /);
  assert.match(rows[2] ?? "", /valid +Example CA E5 +- +\d{4}-\d\d-\d\d \(41d\) +20d +\S+ \S+ +-$/);
  assert.doesNotMatch(stdout, /\u001b/);
});

test("ls --json has a number for its shape, ISO times and seconds", async (t) => {
  const { stdout } = await runCli(["ls", "--json", "--admin", await running(t)]);
  const { format, certificates } = JSON.parse(stdout) as { format: number; certificates: Record<string, unknown>[] };
  assert.equal(format, 1);
  const [pending, , valid] = certificates;
  const shape = ["name", "state", "issuer", "notBefore", "notAfter", "nextTry", "secondsLeft", "secondsToRenewal"];
  const later = ["profile", "renewAt", "lastFailure", "isRevoked", "isDisabled", "hasOwnFiles"];
  for (const one of certificates)
    assert.deepEqual(Object.keys(one), [...shape, "lastError", "consecutiveFailures", ...later]);
  assert.equal(pending?.["notAfter"], null);
  assert.match(String(valid?.["notAfter"]), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  assert.ok(Math.abs(Number(valid?.["secondsLeft"]) - (41 * 86_400 + 1_800)) < 30);
});

test("status shows listeners, sites with their targets, what was left out, and the last reload", async (t) => {
  const { code, stdout } = await runCli(["status", "--admin", await running(t)]);
  assert.equal(code, 0);
  for (const expected of [
    /^Version +9\.8\.7, pid 4711$/m,
    /^Up +3h( \ds)?$/m,
    /^Listens +https \[::\]:443, http 0\.0\.0\.0:80$/m,
    /^Certificates +1 valid, 1 pending$/m,
    /^Last reload +none since the start$/m,
    /^ha\.example\.org +\/api\/ +10\.0\.0\.5:3000$/m,
    /^ha\.example\.org +\/ +192\.168\.0\.200:8123$/m,
    /^old\.example\.org +\/ +redirect to https:\/\/ha\.example\.org\{path\}$/m,
    /^left out bad\.example\.org\ngatehouse\.yaml:9:5/m,
  ]) {
    assert.match(stdout, expected);
  }
  const { stdout: json } = await runCli(["status", "--json", "--admin", await running(t)]);
  const report = JSON.parse(json) as Record<string, unknown>;
  assert.equal(report["format"], 1);
  assert.ok(Math.abs(Number(report["uptimeSeconds"]) - 10_800) < 30);
  assert.equal(report["lastReload"], null);
});

test("health is 0 or 1, also when nobody is there", async (t) => {
  const well = await runCli(["health", "--admin", await running(t)]);
  assert.deepEqual(well, { code: 0, stdout: "ok\n", stderr: "" });
  const health = () => Promise.resolve({ ok: false, problems: ["draining", "no certificate yet"] });
  const ill = await runCli(["health", "--admin", await running(t, { health })]);
  assert.deepEqual(ill, { code: 1, stdout: "draining\nno certificate yet\n", stderr: "" });
  const gone = await runCli(["health", "--json", "--admin", "/nonexistent/a.sock"]);
  assert.equal(gone.code, 1);
  assert.equal((JSON.parse(gone.stdout) as { ok: boolean }).ok, false);
});

test("a refused reload prints the findings to standard error and exits 78", async (t) => {
  const taken = await runCli(["reload", "--admin", await running(t)]);
  assert.deepEqual([taken.code, taken.stdout], [0, ""]);
  const reload = () => Promise.resolve({ ok: false, findings: ["gatehouse.yaml:3:1  unknown key"] });
  const refused = await runCli(["reload", "--admin", await running(t, { reload })]);
  assert.equal(refused.code, 78);
  assert.equal(refused.stdout, "");
  assert.match(refused.stderr, /the old configuration still serves\ngatehouse\.yaml:3:1/);
});

test("where none runs, the words say how to start one and the exit code is 69", async () => {
  for (const verb of ["ls", "status", "reload"]) {
    const { code, stdout, stderr } = await runCli([verb, "--admin", "/nonexistent/a.sock"]);
    assert.equal(code, 69, verb);
    assert.equal(stdout, "");
    assert.match(stderr, /^gatehouse: No Gatehouse answers at \/nonexistent\/a\.sock\.\nStart it with gatehouse run/);
  }
});

test("the socket is found through a configuration with mistakes and secrets of somebody else", async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, "a.sock");
  const server = createAdminServer({ path, actions: adminActions(), log: keptLog().log });
  t.after(() => server.close());
  await server.listen();
  const file = join(folder, "gatehouse.yaml");
  await writeFile(
    file,
    configText(folder, "acme: { email: env:NOT_SET_ANYWHERE }\nsites: { a.example.org: }\nlisten2: 4\n"),
  );
  assert.equal((await runCli(["health", "--config", file])).stdout, "ok\n");
  assert.equal((await runCli(["health"], { GATEHOUSE_CONFIG: file })).stdout, "ok\n");
  assert.equal((await runCli(["health"], { GATEHOUSE_ADMIN: path, GATEHOUSE_CONFIG: "/nonexistent" })).stdout, "ok\n");
  assert.equal((await runCli(["health", "--admin", path], { GATEHOUSE_ADMIN: "/nonexistent" })).stdout, "ok\n");
});

test("a checkout's own file is found without a flag, and without any the words say where was looked", async (t) => {
  const folder = await temporaryFolder(t);
  const inFolder = async (...args: string[]) => {
    const env = { ...process.env, NO_COLOR: "1", GATEHOUSE_CONFIG: "" };
    const child = spawn(process.execPath, [MAIN, ...args], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    child.stdout.resume();
    child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const [code] = (await once(child, "close")) as [number];
    return { code, said };
  };
  const lost = await inFolder("check");
  assert.equal(lost.code, 78);
  assert.match(
    lost.said,
    /neither config\/gatehouse\.yaml here nor \/etc\/gatehouse\/gatehouse\.yaml[\s\S]*--config FILE/,
  );
  await mkdir(join(folder, "config"));
  await writeFile(join(folder, "config/gatehouse.yaml"), configText(folder, "sites: { home.localhost: demo }\n"));
  assert.equal((await inFolder("check")).code, 0);
});

test("check judges a file: 0 with the resolved one on standard output, 78 with findings on standard error", async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(folder, "gatehouse.yaml");
  await writeFile(file, configText(folder, "sites: { home.localhost: demo }\n"));
  const well = await runCli(["check", "--config", file]);
  assert.equal(well.code, 0);
  assert.match(well.stdout, /home\.localhost/);
  await writeFile(file, configText(folder, "sites: { home.localhost: demo }\nlistn: 4\n"));
  const ill = await runCli(["check", "--config", file]);
  assert.equal(ill.code, 78);
  assert.equal(ill.stdout, "");
  assert.match(ill.stderr, /gatehouse\.yaml:\d+:1 +listn +unknown key/);
});

test("schema prints JSON, version a line or JSON", async () => {
  assert.equal(typeof JSON.parse((await runCli(["schema"])).stdout), "object");
  assert.match((await runCli(["version"])).stdout, /^gatehouse \d+\.\d+\.\d+ \(node \S+, openssl \S+\)\n$/);
  const { format, version } = JSON.parse((await runCli(["version", "--json"])).stdout) as Record<string, unknown>;
  assert.equal(format, 1);
  assert.equal((await runCli(["--version"])).stdout, `${String(version)}\n`);
});

const misused: [args: string[], says: RegExp][] = [
  [["stauts"], /unknown command 'stauts'\n\(Did you mean status\?\)/],
  [["ls", "--jsn"], /unknown option '--jsn'\n\(Did you mean --json\?\)/],
  [["ls", "extra"], /too many arguments/],
  [["run", "--config"], /argument missing/],
  [[], /^Examples:/],
];

for (const [args, says] of misused) {
  test(`gatehouse ${args.join(" ")} is a mistake of usage: 64, on standard error`, async () => {
    const { code, stdout, stderr } = await runCli(args);
    assert.equal(code, 64);
    assert.equal(stdout, "");
    assert.match(stderr, says);
  });
}

test("a reader that has enough ends the command in silence", async (t) => {
  const many = (await adminActions().certificates()).flatMap((one) => Array.from({ length: 5_000 }, () => one));
  const path = await running(t, { certificates: () => Promise.resolve(many) });
  const child = spawn(process.execPath, [MAIN, "ls", "--admin", path], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  child.stdout.once("data", () => child.stdout.destroy());
  const [code] = (await once(child, "close")) as [number | null];
  assert.equal(said, "");
  assert.equal(code, 0);
});

test("colours come where they are asked for and not into a pipe", async (t) => {
  const path = await running(t);
  assert.doesNotMatch((await runCli(["ls", "--admin", path], { NO_COLOR: "" })).stdout, /\u001b\[/);
  const forced = await runCli(["ls", "--admin", path], { NO_COLOR: undefined, FORCE_COLOR: "1" });
  assert.match(forced.stdout, /\u001b\[32mvalid/);
});

test("a start that fails says why and gives the code of its cause", async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(folder, "gatehouse.yaml");
  const path = join(folder, "a.sock");
  const server = createAdminServer({ path, actions: adminActions(), log: keptLog().log });
  t.after(() => server.close());
  await server.listen();
  await writeFile(file, configText(folder, "sites: { home.localhost: demo }\n"));
  const second = await runCli(["run", "--config", file]);
  assert.equal(second.code, 73);
  assert.match(second.stderr, /already running/);
  const unreadable = await runCli(["run", "--config", join(folder, "none.yaml")]);
  assert.equal(unreadable.code, 78);
  assert.match(unreadable.stderr, /none\.yaml/);
});
