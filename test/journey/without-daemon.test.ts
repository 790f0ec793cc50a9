/**
 * The verbs about certificates when no Gatehouse runs: from cron, on a rented machine, before the first start.
 */
import assert from "node:assert/strict";
import { access, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { configText, runCli, temporaryFolder, type CliResult } from "../support/gatehouse.ts";
import { needsPebble, startPebble } from "../support/pebble.ts";
import { freePort, startTarget } from "../support/target.ts";

const NAME = "home.example.org";

const json = ({ stdout }: CliResult) => JSON.parse(stdout) as Record<string, unknown>;

test(
  "issue orders by itself, ls and show read, auto-renew renews what is due and nothing else",
  { skip: needsPebble },
  async (t) => {
    const folder = await temporaryFolder(t);
    const httpPort = await freePort();
    const pebble = await startPebble(t, { httpPort, validitySeconds: 600 });
    await writeFile(join(folder, "ca.pem"), pebble.caPem);
    const configFile = join(folder, "gatehouse.yaml");
    const write = (renewAt: string) =>
      writeFile(
        configFile,
        configText(
          folder,
          `acme: { ca: "${pebble.directoryUrl}", caRoots: "file:${join(folder, "ca.pem")}", renewAt: ${renewAt} }
sites: { ${NAME}: demo, other.example.org: demo }
`,
        ).replace('http: "127.0.0.1:0"', `http: "127.0.0.1:${httpPort}"`),
      );
    await write("1/3");
    const cli = (...args: string[]) => runCli([...args, "--config", configFile]);

    const before = json(await cli("ls", "--json"))["certificates"] as Record<string, unknown>[];
    assert.deepEqual(
      before.map(({ name, state }) => [name, state]),
      [
        [NAME, "pending"],
        ["other.example.org", "pending"],
      ],
    );
    assert.equal(pebble.orders(), 0, "reading orders nothing");

    const issued = await cli("issue", NAME);
    assert.equal(issued.code, 0, issued.stderr);
    assert.match(issued.stderr, /^no Gatehouse runs; this command does the work itself\n/);
    assert.match(issued.stdout, /^home\.example\.org: issued by Pebble /);
    assert.equal(pebble.orders(), 1, "for this name alone");
    assert.match((await cli("issue", NAME)).stdout, /is valid until .* not due/);
    assert.equal(pebble.orders(), 1);
    const shown = json(await cli("show", NAME, "--json"));
    assert.equal(shown["state"], "valid");
    await assert.rejects(access(join(folder, "a.sock")), { code: "ENOENT" });

    assert.equal((await cli("disable", "other.example.org")).code, 0);
    const idle = await cli("auto-renew");
    assert.equal(idle.code, 0, idle.stderr);
    assert.match(idle.stderr, /nothing is due; the next one is in \dm/);
    await write("0.98");
    const renewed = await renewUntilDue(cli);
    assert.match(renewed.stdout, /^home\.example\.org: issued by Pebble /);
    assert.equal(pebble.orders(), 2);
    assert.notEqual(json(await cli("show", NAME, "--json"))["serial"], shown["serial"]);
  },
);

/** Due with 98 % of ten minutes left, spread included: some seconds after it was made. */
async function renewUntilDue(cli: (...args: string[]) => Promise<CliResult>): Promise<CliResult> {
  const until = performance.now() + 120_000;
  for (;;) {
    const result = await cli("auto-renew");
    assert.equal(result.code, 0, result.stderr);
    if (result.stdout !== "" || performance.now() > until) return result;
  }
}

test("a port that another program has is named, and what can be read is read all the same", async (t) => {
  const folder = await temporaryFolder(t);
  const target = await startTarget(t, (_, res) => res.end("another program"));
  const configFile = join(folder, "gatehouse.yaml");
  const config = configText(folder, `acme: { ca: "https://127.0.0.1:1/dir" }\nsites: { ${NAME}: demo }\n`);
  await writeFile(configFile, config.replace('http: "127.0.0.1:0"', `http: "127.0.0.1:${target.port}"`));
  const issued = await runCli(["issue", NAME, "--config", configFile]);
  assert.equal(issued.code, 73, issued.stderr);
  assert.match(issued.stderr, new RegExp(`${target.port}`));
  const listed = await runCli(["ls", "--config", configFile]);
  assert.equal(listed.code, 0, listed.stderr);
  assert.match(listed.stdout, /home\.example\.org +pending/);
});

test("the embedded CA signs without a port, and a named socket where nobody is stays an error", async (t) => {
  const folder = await temporaryFolder(t);
  const configFile = join(folder, "gatehouse.yaml");
  await writeFile(configFile, configText(folder, `sites: { ${NAME}: demo }\n`));
  const issued = json(await runCli(["issue", "--all", "--json", "--config", configFile]));
  assert.deepEqual(
    (issued["results"] as { outcome: string }[]).map(({ outcome }) => outcome),
    ["issued"],
  );
  const nobody = await runCli(["ls", "--admin", join(folder, "nobody.sock"), "--config", configFile]);
  assert.equal(nobody.code, 69);
});
