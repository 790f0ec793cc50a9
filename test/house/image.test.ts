/**
 * Does the Dockerfile build, and does what it builds run as a plain user on a read-only root?
 * Owns: a base image of the Dockerfile's FROM name, made by debootstrap and kept in .cache/image while its inputs stay.
 * Never: pulls an image or needs a container daemon.
 */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { chmodSync, chownSync, copyFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test, type TestContext } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { needs, runProgram } from "../support/programs.ts";

const root = join(import.meta.dirname, "../..");
const cache = join(root, ".cache/image");
const dockerfile = readFileSync(join(root, "Dockerfile"), "utf8");
const baseName = /^FROM (\S+) AS build$/m.exec(dockerfile)?.[1] ?? "";
const FRESH_BASE_MS = 300_000;

const skip =
  process.getuid?.() === 0
    ? needs("buildah") || needs("debootstrap") || needs("tini")
    : "needs root: an image is built in a chroot";

async function must(program: string, args: string[], withinMs = FRESH_BASE_MS): Promise<string> {
  const { code, stdout, stderr } = await runProgram(program, args, { withinMs });
  assert.equal(code, 0, `${program} ${args.join(" ")}\n${stdout.slice(-4000)}\n${stderr.slice(-4000)}`);
  return stdout.trim();
}

function buildah(...args: string[]): Promise<string> {
  const place = ["--root", join(cache, "storage"), "--runroot", join(cache, "run"), "--storage-driver", "vfs"];
  return must("buildah", [...place, ...args]);
}

/** The archive this machine itself installs from. */
async function debianMirror(): Promise<string> {
  const found = await must("apt-get", ["indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"]);
  const line = found.split("\n").find((one) => one.endsWith(" bookworm") && /\/debian\/? /.test(one));
  return line?.split(" ")[0] ?? "http://deb.debian.org/debian";
}

/** Debian, Node and npm where the public image has them. */
async function makeBase(): Promise<void> {
  const npm = dirname(dirname(realpathSync(await must("sh", ["-c", "command -v npm"]))));
  const packages = "ca-certificates,tini";
  const inputs = [baseName, packages, process.version, readFileSync(join(npm, "package.json"), "utf8")];
  const key = createHash("sha256").update(inputs.join("\n")).digest("hex");
  const keyFile = join(cache, "base-key");
  if (existsSync(keyFile) && readFileSync(keyFile, "utf8") === key) return;

  rmSync(cache, { recursive: true, force: true });
  mkdirSync(cache, { recursive: true });
  const container = await buildah("from", "scratch");
  const tree = await buildah("mount", container);
  const mirror = await debianMirror();
  await must("debootstrap", ["--variant=minbase", `--include=${packages}`, "bookworm", tree, mirror]);
  rmSync(join(tree, "var/cache/apt"), { recursive: true, force: true });
  mkdirSync(join(tree, "usr/local/lib/node_modules"), { recursive: true });
  copyFileSync(process.execPath, join(tree, "usr/local/bin/node"));
  chmodSync(join(tree, "usr/local/bin/node"), 0o755);
  await must("cp", ["-rL", npm, join(tree, "usr/local/lib/node_modules/npm")]);
  await must("ln", ["-s", "../lib/node_modules/npm/bin/npm-cli.js", join(tree, "usr/local/bin/npm")]);
  await buildah("umount", container);
  await buildah("commit", "--rm", container, baseName);
  writeFileSync(keyFile, key);
}

/** npm in the build asks the registry that npm out here asks. */
async function npmSettings(folder: string): Promise<string[]> {
  const volumes: string[] = [];
  const lines: string[] = [];
  for (const key of ["registry", "proxy", "https-proxy"]) {
    const value = await must("npm", ["config", "get", key]);
    if (value !== "null") lines.push(`${key}=${value}`);
  }
  const trusted = [await must("npm", ["config", "get", "cafile"]), process.env["NODE_EXTRA_CA_CERTS"] ?? ""];
  const cafile = trusted.find((path) => existsSync(path));
  if (cafile !== undefined) {
    copyFileSync(cafile, join(folder, "ca.pem"));
    lines.push("cafile=/etc/npm-ca.pem");
    volumes.push("--volume", `${join(folder, "ca.pem")}:/etc/npm-ca.pem:ro`);
  }
  writeFileSync(join(folder, "npmrc"), `${lines.join("\n")}\n`);
  return [...volumes, "--volume", `${join(folder, "npmrc")}:/root/.npmrc:ro`];
}

interface ImageConfig {
  User: string;
  Env: string[];
  Entrypoint: string[];
  Cmd: string[];
  Volumes: Record<string, unknown>;
  Healthcheck: { Test: string[] };
}

interface Machine {
  /** The program of the image as PID 1 of its own, user 1000, nothing writable but /data and /tmp. */
  start(command: string[]): ChildProcess;
  data: string;
}

/** What a container runtime would do with the image, in four mounts. */
function makeMachine(t: TestContext, tree: string, config: ImageConfig): Machine {
  const data = mkdtempSync(join(tmpdir(), "gatehouse-data-"));
  t.after(() => rmSync(data, { recursive: true, force: true }));
  chownSync(data, 1000, 1000);
  const mounts = `set -e
    tree=$1 data=$2; shift 2
    mount --bind "$tree" "$tree"
    mount -o remount,bind,ro "$tree"
    mount --bind "$data" "$tree/data"
    mount -t tmpfs tmpfs "$tree/tmp"
    mount -t proc proc "$tree/proc"
    mount --bind /dev "$tree/dev"
    exec chroot --userspec=${config.User} "$tree" "$@"`;
  const env = Object.fromEntries(config.Env.map((one) => [one.slice(0, one.indexOf("=")), one.split("=")[1] ?? ""]));
  const cage = ["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", mounts, "sh", tree, data];
  return {
    data,
    start(command) {
      const child = spawn("unshare", [...cage, ...command], { env, stdio: ["ignore", "pipe", "pipe"] });
      t.after(() => child.kill("SIGKILL"));
      return child;
    },
  };
}

async function outcome(child: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const said = { stdout: "", stderr: "" };
  child.stdout?.on("data", (chunk: Buffer) => (said.stdout += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (said.stderr += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, ...said };
}

/** unshare does not pass signals on; its only child is the PID 1 inside. */
function signalInside(child: ChildProcess, signal: NodeJS.Signals): void {
  const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").trim();
  process.kill(Number(children), signal);
}

const CONFIG = `listen: { https: "127.0.0.1:0", http: "127.0.0.1:0" }
state: /data/state
admin: /data/admin.sock
acme: { ca: local }
sites:
  localhost: demo
`;

test("the Dockerfile's image runs as user 1000 on a read-only root", { skip, timeout: 600_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "gatehouse-image-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  await makeBase();
  await buildah("rm", "--all"); // what a run that was cut off left behind
  const build = ["--isolation", "chroot", "--pull-never", "--format", "docker", "--disable-compression"];
  const image = "localhost/gatehouse-test";
  await buildah("build", ...build, ...(await npmSettings(folder)), "-t", image, root);
  const container = await buildah("from", "--pull-never", image);
  t.after(async () => {
    await buildah("rm", container);
    await buildah("rmi", image);
  });
  const tree = await buildah("mount", container);
  const inspected = JSON.parse(await buildah("inspect", "--type", "image", image)) as {
    Docker: { config: ImageConfig };
  };
  const config = inspected.Docker.config;

  await t.test("it says how it is to be run", () => {
    assert.equal(config.User, "1000:1000");
    assert.deepEqual(config.Entrypoint.slice(0, 3), ["tini", "--", "node"]);
    assert.deepEqual(config.Cmd, ["run"]);
    assert.deepEqual(Object.keys(config.Volumes), ["/data"]);
    assert.equal(config.Healthcheck.Test[0], "CMD");
    assert.ok(config.Env.includes("GATEHOUSE_CONFIG=/data/gatehouse.yaml"));
  });

  await t.test("it holds what runs and nothing that builds", () => {
    assert.ok(existsSync(join(tree, "opt/gatehouse/dist/cli/main.js")));
    for (const name of ["src", "test", "node_modules/typescript", "node_modules/oxlint"]) {
      assert.equal(existsSync(join(tree, "opt/gatehouse", name)), false, `${name} is in the image`);
    }
    assert.equal(
      existsSync(join(tree, "root/.npmrc")) && readFileSync(join(tree, "root/.npmrc"), "utf8") !== "",
      false,
    );
  });

  const machine = makeMachine(t, tree, config);

  await t.test("version", async () => {
    const { code, stdout, stderr } = await outcome(machine.start([...config.Entrypoint, "version"]));
    assert.equal(code, 0, stderr);
    assert.match(stdout, /\d+\.\d+\.\d+/);
  });

  await t.test("the configuration it ships is one that it accepts", async () => {
    copyFileSync(join(tree, "data/gatehouse.yaml"), join(machine.data, "gatehouse.yaml"));
    const { code, stdout, stderr } = await outcome(machine.start([...config.Entrypoint, "check"]));
    assert.equal(code, 0, stdout + stderr);
  });

  await t.test("run is healthy soon, and SIGTERM to PID 1 ends it with 0", async () => {
    writeFileSync(join(machine.data, "gatehouse.yaml"), CONFIG);
    const running = machine.start([...config.Entrypoint, ...config.Cmd]);
    const ended = outcome(running);
    const health = config.Healthcheck.Test.slice(1);
    const deadline = Date.now() + 60_000;
    for (;;) {
      const { code, stderr } = await outcome(machine.start(health));
      if (code === 0) break;
      if (running.exitCode !== null) assert.fail(`it ended: ${JSON.stringify(await ended)}`);
      assert.ok(Date.now() < deadline, `not healthy after a minute: ${stderr}`);
      await wait(250);
    }
    signalInside(running, "SIGTERM");
    const { code, stdout, stderr } = await ended;
    assert.equal(code, 0, `${stdout.slice(-2000)}\n${stderr.slice(-2000)}`);
    assert.doesNotMatch(stderr, /Tini is not running as PID 1/);
  });
});
