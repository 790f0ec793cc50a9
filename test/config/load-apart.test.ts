/**
 * A large file is read in a thread: with the same outcome as a small one, and without holding up the loop.
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { setImmediate } from "node:timers/promises";
import { ConfigInvalid } from "../../src/config/findings.ts";
import { loadConfig, type LoadedConfig } from "../../src/config/load.ts";
import { loadApart } from "../../src/config/load-apart.ts";
import { isGatehouseError } from "../../src/core/errors.ts";
import { temporaryFolder } from "../support/gatehouse.ts";

const ENV = { ...process.env, MAIL: "me@mail.test" };
const sitesText = (count: number) =>
  Array.from({ length: count }, (_, at) => `  host${at}.test-name.org: 10.0.0.${at % 250}:80\n`).join("");

async function fileOf(t: TestContext, text: string): Promise<string> {
  const file = join(await temporaryFolder(t), "gatehouse.yaml");
  await writeFile(file, text);
  return file;
}

const plain = ({ config, warnings, references, digest }: LoadedConfig) => ({
  config: structuredClone(config),
  warnings,
  references: [...references],
  digest,
});

test("a file of 3,000 sites comes to the same in the thread: settings, secrets, warnings, a site left out", async (t) => {
  const file = await fileOf(
    t,
    `acme: { ca: letsencrypt, email: "env:MAIL" }\ntrustedProxies: 0.0.0.0/0\nsites:\n  bad.test-name.org: nowhere\n${sitesText(3_000)}  h.test-name.org: { to: "10.0.0.1:80", headers: { response: { Server: null } } }\n`,
  );
  const [apart, here] = await Promise.all([loadApart(file, ENV), loadConfig(file, { env: ENV, quarantine: true })]);
  assert.deepEqual(plain(apart), plain(here));
  assert.equal(apart.config.sites.length, 3_001);
  assert.equal(apart.config.quarantined.length, 1);
  assert.ok(Object.isFrozen(apart.config) && Object.isFrozen(apart.config.sites[5]?.routes[0]?.target));
});

test("what is wrong with a large file is said with all its findings, and a file that is gone with its hint", async (t) => {
  const file = await fileOf(t, `sittes: {}\nsites:\n${sitesText(3_000)}colour: red\n`);
  await assert.rejects(loadApart(file, ENV), (error) => {
    assert.ok(error instanceof ConfigInvalid);
    assert.deepEqual(
      error.findings.map(({ path, line }) => [path, line]),
      [
        ["sittes", 1],
        ["colour", 3_003],
      ],
    );
    return true;
  });
  await assert.rejects(loadApart(`${file}.gone`, ENV), (error) => {
    assert.ok(isGatehouseError(error, "GATEHOUSE_CONFIG_UNREADABLE"));
    assert.match(error.hint ?? "", /--config/);
    return true;
  });
});

test("10,000 sites are taken over a few at a time, and the loop serves between", async (t) => {
  const file = await fileOf(t, `sites:\n${sitesText(10_000)}`);
  let turns = 0;
  const { config } = await loadApart(file, ENV, async () => {
    turns++;
    await setImmediate();
  });
  assert.equal(config.sites.length, 10_000);
  // Timing says less: what a piece takes depends on who else is at work.
  assert.equal(turns, 50);
});
