/**
 * Does bin/gatehouse run the right Node, and get out of its way?
 * Owns: a temporary copy of the launcher with made-up Nodes, a made-up npm and a made-up dist/.
 * Never: touches the checkout or the network.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { chmodSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test, type TestContext } from "node:test";

const root = join(import.meta.dirname, "../..");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { config: { runtime: string } };
const runtime = manifest.config.runtime;
const runtimePackage = `node-${process.platform}-${process.arch}`;

const MAIN = `
if (process.argv.includes("wait")) {
  process.on("SIGTERM", () => process.exit(7));
  setInterval(() => {}, 1000);
}
console.log(JSON.stringify({ args: process.argv.slice(2), pid: process.pid, execArgv: process.execArgv }));
if (process.argv.includes("fail")) process.exitCode = 78;
`;

function writeProgram(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  chmodSync(path, 0o755);
}

/** A Node that knows its version and otherwise tells its own name. */
const nodeSaying = (version: string, name: string): string =>
  `#!/bin/sh\nif [ "$1" = -v ]; then echo v${version}; else echo "${name}"; fi\n`;

interface House {
  dir: string;
  run(args: string[], env?: NodeJS.ProcessEnv): { status: number | null; stdout: string; stderr: string };
  /** The programs `node` and `npm` of the made-up machine. */
  putOnPath(name: string, text: string): void;
}

function makeHouse(t: TestContext, { isBuilt = true } = {}): House {
  const dir = mkdtempSync(join(tmpdir(), "gatehouse-launcher-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  for (const file of ["bin/gatehouse", "scripts/runtime.sh", "package.json"]) cpSync(join(root, file), join(dir, file));
  if (isBuilt) writeProgram(join(dir, "dist/cli/main.js"), MAIN);
  const path = `${join(dir, "path")}:/usr/bin:/bin`;
  return {
    dir,
    putOnPath: (name, text) => writeProgram(join(dir, "path", name), text),
    run: (args, env = {}) =>
      spawnSync(join(dir, "bin/gatehouse"), args, { env: { PATH: path, HOME: dir, ...env }, encoding: "utf8" }),
  };
}

const own = { GATEHOUSE_NODE: process.execPath };

test("arguments and the exit code go through untouched, and http-proxy's warning is silenced", (t) => {
  const house = makeHouse(t);
  const result = house.run(["fail", "two words", "--", "$HOME"], own);
  assert.equal(result.status, 78);
  const said = JSON.parse(result.stdout) as { args: string[]; execArgv: string[] };
  assert.deepEqual(said.args, ["fail", "two words", "--", "$HOME"]);
  assert.deepEqual(said.execArgv, [
    "--disable-warning=DEP0060",
    "--initial-old-space-size=64",
    "--max-semi-space-size=8",
  ]);
});

test("the image and the bench give V8 the memory that the launcher gives it", () => {
  const [launcher, ...others] = ["bin/gatehouse", "Dockerfile", "bench/rivals/gatehouse.ts"].map((file) => {
    const text = readFileSync(join(root, file), "utf8");
    return text.match(/--[a-z-]+-size=\d+/g);
  });
  assert.ok(launcher);
  for (const other of others) assert.deepEqual(other, launcher);
});

test("the launcher becomes Node: same process, so a signal reaches the program", async (t) => {
  const house = makeHouse(t);
  const child = spawn(join(house.dir, "bin/gatehouse"), ["wait"], { env: { ...process.env, ...own } });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  assert.equal((JSON.parse(line.toString()) as { pid: number }).pid, child.pid);
  child.kill("SIGTERM");
  const [status] = (await once(child, "exit")) as [number | null];
  assert.equal(status, 7);
});

test("it finds its house through links, relative and absolute", (t) => {
  const house = makeHouse(t);
  symlinkSync("bin/gatehouse", join(house.dir, "relative"));
  symlinkSync(join(house.dir, "relative"), join(house.dir, "absolute"));
  for (const link of ["relative", "absolute"]) {
    const result = spawnSync(`./${link}`, ["x"], { cwd: house.dir, env: { ...process.env, ...own }, encoding: "utf8" });
    assert.equal(result.status, 0, result.stderr);
  }
});

test("without dist/ it says what to do, and ends with 69", (t) => {
  const result = makeHouse(t, { isBuilt: false }).run(["run"], own);
  assert.equal(result.status, 69);
  assert.match(result.stderr, /run npm run build first/);
  assert.equal(result.stdout, "");
});

const machines: [version: string, isSupported: boolean][] = [
  ["20.20.2", false],
  ["22.23.1", false],
  ["22.23.2", true],
  ["22.100.0", true],
  ["23.11.0", false],
  ["24.18.0", false],
  ["24.18.1", true],
  ["24.18.10", true],
  ["24.18.1-rc.1", false],
  ["25.9.9", false],
  ["26.5.0", false],
  ["26.5.1", true],
  ["27.0.0", true],
];

for (const [version, isSupported] of machines) {
  test(`on a machine with Node ${version} it runs on ${isSupported ? "that" : "the one in .runtime"}`, (t) => {
    const house = makeHouse(t);
    house.putOnPath("node", nodeSaying(version, "machine"));
    const fetched = join(house.dir, ".runtime/node_modules", runtimePackage, "bin/node");
    writeProgram(fetched, nodeSaying(runtime, "fetched"));
    assert.equal(house.run(["x"]).stdout.trim(), isSupported ? "machine" : "fetched");
  });
}

test("GATEHOUSE_NODE comes before the machine's Node, and a wrong one is an error", (t) => {
  const house = makeHouse(t);
  house.putOnPath("node", nodeSaying("24.18.1", "machine"));
  house.putOnPath("mine", nodeSaying("1.0.0", "mine"));
  assert.equal(house.run(["x"], { GATEHOUSE_NODE: "mine" }).stdout.trim(), "mine");
  const wrong = house.run(["x"], { GATEHOUSE_NODE: "/nowhere/node" });
  assert.equal(wrong.status, 69);
  assert.match(wrong.stderr, /GATEHOUSE_NODE is \/nowhere\/node/);
});

/** npm as far as the launcher knows it: puts a package under --prefix. */
const npmBringing = (node: string): string => `#!/bin/sh
while [ "$1" != --prefix ]; do shift; done
mkdir -p "$2/node_modules/${runtimePackage}/bin"
cat >"$2/node_modules/${runtimePackage}/bin/node" <<'END'
${node}END
chmod +x "$2/node_modules/${runtimePackage}/bin/node"
`;

test("a missing runtime is fetched once, and a broken one again", (t) => {
  const house = makeHouse(t);
  house.putOnPath("node", nodeSaying("20.0.0", "machine"));
  house.putOnPath("npm", npmBringing(nodeSaying(runtime, "fetched")));
  const first = house.run(["x"]);
  assert.equal(first.stdout.trim(), "fetched", first.stderr);
  assert.match(first.stderr, new RegExp(`fetching Node ${runtime}`));
  assert.equal(house.run(["x"]).stderr, "");
  writeProgram(join(house.dir, ".runtime/node_modules", runtimePackage, "bin/node"), "#!/bin/sh\nkill -SEGV $$\n");
  const mended = house.run(["x"]);
  assert.equal(mended.stdout.trim(), "fetched");
  assert.match(mended.stderr, /^gatehouse: fetching Node [\d.]+ \(once\)\n$/);
});

test("a download that broke off leaves nothing behind and says what to do", (t) => {
  const house = makeHouse(t);
  house.putOnPath("node", nodeSaying("20.0.0", "machine"));
  house.putOnPath("npm", npmBringing("#!/bin/sh\nexit 1\n"));
  const result = house.run(["x"]);
  assert.equal(result.status, 69);
  assert.match(result.stderr, /could not be fetched.*install one of .*24\.18\.1.*GATEHOUSE_NODE/);
  assert.deepEqual(readdirSync(join(house.dir, ".runtime")), ["node_modules"]);
  assert.equal(existsSync(join(house.dir, ".runtime/node_modules", runtimePackage)), false);
});
