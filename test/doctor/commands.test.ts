/**
 * `gatehouse doctor`, `add`, `remove` and `init`, as a person runs them.
 */
import assert from "node:assert/strict";
import { access, readFile, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { type CliResult, configText, runCli, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { startTarget } from "../support/target.ts";

const NAME = "home.localhost";

interface Printed {
  format: number;
  ok: boolean;
  summary: string;
  findings: { check: string; code: string; severity: string; subject: string | null; next: string | null }[];
}

/** Nobody outside is asked: the tests stay on this machine. */
const doctor = (...args: string[]): Promise<CliResult> => runCli(["doctor", "--witness", "none", ...args]);
const printed = ({ stdout }: CliResult): Printed => JSON.parse(stdout) as Printed;
const trouble = ({ findings }: Printed): string[] =>
  findings.filter(({ severity }) => severity === "error" || severity === "warning").map(({ code }) => code);

test("a home that is well is told so, and the first sentence names what breaks then", async (t) => {
  const folder = await temporaryFolder(t);
  const target = await startTarget(t, (_, res) => res.end("inside"));
  const config = configText(folder, `sites: { ${NAME}: "127.0.0.1:${target.port}" }`);
  const home = await startGatehouse(t, { folder, config });
  await home.line("certificate.issued");
  const well = await doctor("--config", home.configFile);
  assert.equal(well.code, 0, well.stdout + well.stderr);
  assert.match(well.stdout, /^Nothing is wrong with what could be looked at\. \d+ things could not be looked at\.\n\n/);
  assert.match(well.stdout, /^ok +certificate +home\.localhost is served with the kept certificate: \d+ days left/m);

  target.server.closeAllConnections();
  target.server.close();
  const broken = await doctor("--config", home.configFile, "--json");
  assert.equal(broken.code, 1);
  const report = printed(broken);
  assert.deepEqual([report.format, report.ok, trouble(report)], [1, false, ["TARGET_REFUSES"]]);
  assert.match(
    report.summary,
    new RegExp(`^Nothing listens at 127\\.0\\.0\\.1:${target.port}\\. Next: Start the service`),
  );

  await home.stop();
  const both = printed(await doctor("--config", home.configFile, "--json"));
  assert.deepEqual(trouble(both), ["NOT_RUNNING", "TARGET_REFUSES"]);
  assert.match(both.summary, /^No Gatehouse answers at .*\(1 more below\)\. Next: Start it: gatehouse run$/);
});

test("without a running Gatehouse it looks at the rest, and leaves nothing behind", async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(folder, "gatehouse.yaml");
  await writeFile(file, configText(folder, `sites: { ${NAME}: demo, other.localhost: demo }`));
  const report = printed(await doctor(NAME, "--config", file, "--json"));
  assert.deepEqual(trouble(report), ["NOT_RUNNING"]);
  assert.deepEqual(
    report.findings.filter(({ check }) => check === "dns").map(({ subject }) => subject),
    [NAME],
    "the named site alone",
  );
  assert.deepEqual(await readdir(folder), ["gatehouse.yaml"]);
  const unknown = printed(await doctor("nas.localhost", "--config", file, "--json"));
  assert.match(unknown.summary, /^nas\.localhost is not a site of .*gatehouse add nas\.localhost/);
});

const files: [what: string, text: string | undefined, code: string, summary: RegExp][] = [
  ["is missing", undefined, "CONFIG_INVALID", /does not exist/],
  [
    "cannot be taken",
    "sites: { home.localhost: demo }\nlissten: 1\n",
    "CONFIG_INVALID",
    /gatehouse\.yaml:2:1 .*lissten/,
  ],
  [
    "has one bad site",
    "acme: { ca: local }\nsites:\n  home.localhost: demo\n  bad.localhost: { too: demo }\n",
    "SITE_LEFT_OUT",
    /gatehouse\.yaml:4:\d+/,
  ],
];

for (const [what, rest, code, summary] of files) {
  test(`a file that ${what} is named first`, async (t) => {
    const folder = await temporaryFolder(t);
    const file = join(folder, "gatehouse.yaml");
    if (rest !== undefined) await writeFile(file, rest);
    const result = await doctor("--config", file, "--json");
    assert.equal(result.code, 1, result.stderr);
    const report = printed(result);
    assert.equal(trouble(report)[0], code);
    assert.match(report.summary, summary);
  });
}

test("add and remove change one line and the running Gatehouse takes it at once", async (t) => {
  const folder = await temporaryFolder(t);
  const before = configText(folder, `sites:\n  ${NAME}: demo # as it comes\n\n# the end\n`);
  const home = await startGatehouse(t, { folder, config: before });
  const added = await home.cli("add", "nas.localhost", "127.0.0.1:9");
  assert.equal(added.code, 0, added.stderr);
  assert.equal(added.stdout, "nas.localhost now leads to 127.0.0.1:9\n");
  const text = await readFile(home.configFile, "utf8");
  assert.equal(text, before.replace("# as it comes\n", "# as it comes\n  nas.localhost: 127.0.0.1:9\n"));
  assert.match((await home.cli("status")).stdout, /^nas\.localhost +\/ +127\.0\.0\.1:9$/m);
  const again = await home.cli("add", "NAS.localhost", "demo");
  assert.deepEqual([again.code, again.stdout], [78, ""]);
  assert.match(again.stderr, /is a site of .* already/);
  const removed = await home.cli("remove", "nas.localhost", "--json");
  assert.deepEqual(JSON.parse(removed.stdout), { format: 1, name: "nas.localhost", running: true });
  assert.equal(await readFile(home.configFile, "utf8"), before);
  assert.equal((await home.cli("remove", "nas.localhost")).code, 65);
  const wrong = await home.cli("add", "pi.localhost", "http//x");
  assert.equal(wrong.code, 78);
  assert.equal(await readFile(home.configFile, "utf8"), before, "a wrong target is not written");
});

test("init writes a file that check finds well, looks around, and never overwrites", async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(folder, "new", "gatehouse.yaml");
  const token = join(folder, "token");
  await writeFile(token, "a7c4d0ad-114e-40ef-ba1d-d217904a50f2\n");
  const facts = ["--name", "myhome", "--target", "127.0.0.1:9", "--duckdns-token-file", token];
  // Nobody outside this machine is asked.
  const init = (...more: string[]) =>
    runCli(["init", "--config", file, "--witness", "none", "--ca", "local", ...facts, ...more]);
  const first = await init("--https", "127.0.0.1:0", "--http", "127.0.0.1:0", "--router", "off");
  assert.equal(first.code, 0, first.stderr);
  assert.match(first.stderr, /gatehouse\.yaml is written\n\nTo start: gatehouse run --config /);
  assert.match(first.stdout, /^Nothing listens at 127\.0\.0\.1:9/, "that none runs yet is no fault");
  assert.match(first.stdout, /^note +running +No Gatehouse answers/m);
  const text = await readFile(file, "utf8");
  assert.match(text, /^ {2}myhome\.duckdns\.org: 127\.0\.0\.1:9$/m);
  assert.match(text, /^ddns: \{ names: myhome\.duckdns\.org, witnesses: \[\] \}$/m);
  assert.doesNotMatch(text, /a7c4d0ad/);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  const check = await runCli(["check", "--config", file]);
  assert.equal(check.code, 0, check.stderr);
  const second = await init();
  assert.equal(second.code, 73);
  assert.match(second.stderr, /is there already/);
  assert.equal(await readFile(file, "utf8"), text);
});

test("init writes nothing when a fact is wrong or missing", async (t) => {
  const file = join(await temporaryFolder(t), "gatehouse.yaml");
  const wrong = await runCli(["init", "--config", file, "--name", "my home", "--target", "127.0.0.1:9"]);
  assert.equal(wrong.code, 78, wrong.stderr);
  const missing = await runCli(["init", "--config", file, "--name", "myhome.duckdns.org"]);
  assert.deepEqual(
    [missing.code, missing.stderr],
    [64, "gatehouse: init takes --name and --target, where nobody can be asked\n"],
  );
  await assert.rejects(access(file));
});
