/**
 * What comes from others comes as it was chosen: exact versions, with digests, and without programs of theirs at install
 * (S51 of the list of attacks: axios 1.14.1 and 0.30.4 were malicious for some hours).
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const read = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), "utf8");

interface Package {
  version?: string;
  integrity?: string;
  optional?: boolean;
  hasInstallScript?: boolean;
}

const lock = JSON.parse(read("package-lock.json")) as { packages: Record<string, Package> };
const MALICIOUS = new Set(["axios@1.14.1", "axios@0.30.4"]);

test("S51 every dependency has one exact version, and every package a digest", () => {
  const { dependencies, devDependencies } = JSON.parse(read("package.json")) as Record<string, Record<string, string>>;
  for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
    assert.match(version, /^\d+\.\d+\.\d+$/, name);
    assert.equal(lock.packages[`node_modules/${name}`]?.version, version, `${name} in the lock`);
  }
  for (const [path, { version, integrity, optional, hasInstallScript }] of Object.entries(lock.packages)) {
    if (path === "") continue;
    // Programs for other machines than the one that wrote the lock have none there, and are not installed here.
    if (optional !== true) assert.match(integrity ?? "", /^sha512-/, path);
    assert.ok(!MALICIOUS.has(`${path.split("node_modules/").at(-1)}@${version}`), path);
    assert.notEqual(hasInstallScript, true, `${path} wants to run a program at install`);
  }
});

test("S51 packages are installed as the lock says, and no program of theirs runs meanwhile", () => {
  assert.match(read("scripts/install.sh"), /npm ci [^\n]*--ignore-scripts/);
  assert.match(read("Dockerfile"), /(?:scripts\/install\.sh|npm ci [^\n]*--ignore-scripts)/);
});
