/**
 * A large file is read in a thread: with the same outcome as a small one, and without holding up the loop.
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { setImmediate } from "node:timers/promises";
import { ConfigInvalid } from "../../src/config/findings.ts";
import { loadAtPace, loadConfig, type LoadedConfig } from "../../src/config/load.ts";
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

test("10,000 sites that the thread has read are taken over a few at a time, and the loop serves between", async (t) => {
  const file = await fileOf(t, `sites:\n  bad.test-name.org: nowhere\n${sitesText(10_000)}`);
  let turns = 0;
  const { config } = await loadApart(file, ENV, async () => {
    turns++;
    await setImmediate();
  });
  assert.equal(config.sites.length, 10_000);
  assert.equal(config.quarantined.length, 1);
  // Timing says less: what a piece takes depends on who else is at work.
  assert.ok(turns >= 50, `${turns}`);
});

test("10,000 plain sites are read without a thread, and after each, at each stage, the loop may serve", async (t) => {
  const file = await fileOf(
    t,
    `trustedProxies: 0.0.0.0/0\nsites:\n${sitesText(10_000)}  h.test-name.org:\n    to: 10.0.0.1:80\n    names: [www.test-name.org]\n`,
  );
  const options = { env: ENV, quarantine: true };
  let asked = 0;
  let rests = 0;
  const atPace = await loadAtPace(file, options, () => {
    if (++asked % 100 !== 0) return undefined;
    rests++;
    return setImmediate();
  });
  assert.ok(atPace !== undefined);
  assert.deepEqual(plain(atPace), plain(await loadConfig(file, options)));
  assert.ok(Object.isFrozen(atPace.config.sites[5]?.routes[0]?.target));
  // Lines, put together, schema, meaning, frozen.
  assert.ok(asked >= 5 * 9_990, `${asked}`);
  assert.ok(rests >= 499, `${rests}`);
});

const NOT_PLAIN: Record<string, string> = {
  "a target that is none": `sites:\n${sitesText(3_000)}  bad.test-name.org: nowhere\n`,
  "an unknown key": `colour: red\nsites:\n${sitesText(3_000)}`,
  "a secret that is not there": `acme: { email: "env:NOBODY_SET_THIS" }\nsites:\n${sitesText(3_000)}`,
  "no YAML": `sites:\n${sitesText(3_000)}drain: [\n`,
  "a name twice": `sites:\n${sitesText(3_000)}  host7.test-name.org: 10.0.0.1:80\n`,
  "much that is written in other ways": `sites:\n${sitesText(3_000).replaceAll(": 10", ": !!str 10")}`,
};

for (const [name, text] of Object.entries(NOT_PLAIN)) {
  test(`who serves leaves it to the thread: ${name}`, async (t) => {
    assert.equal(await loadAtPace(await fileOf(t, text), { env: ENV, quarantine: true }, () => undefined), undefined);
  });
}
