/**
 * What a new user does: clone, one command, and it serves. In a network namespace of its own, because the shipped
 * configuration has fixed ports; the build before it needs the registry and so runs outside.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, cpSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryFolder } from "../support/gatehouse.ts";
import { needs, runProgram } from "../support/programs.ts";

const REPOSITORY = new URL("../..", import.meta.url).pathname;
const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;

/** The files git knows or would take; not the installed and built ones. */
function cloneInto(folder: string): void {
  const files = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
    cwd: REPOSITORY,
  });
  for (const file of files.toString().split("\0").filter(Boolean)) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    cpSync(join(REPOSITORY, file), join(folder, file));
  }
}

/** Resolves to what it printed once the curl line is there. */
async function startIn(
  t: TestContext,
  clone: string,
  home: string,
  who: readonly string[],
): Promise<{ pid: number; printed: string }> {
  const child = spawn(
    "unshare",
    [
      "--net",
      "sh",
      "-c",
      'ip link set lo up && exec "$@"',
      "sh",
      ...who,
      "env",
      `HOME=${home}`,
      "npm",
      "start",
      "--silent",
    ],
    { cwd: clone, stdio: ["ignore", "ignore", "pipe"], detached: true },
  );
  const closed = new Promise((resolve) => child.once("close", resolve));
  const { pid } = child;
  assert.ok(pid !== undefined);
  t.after(async () => {
    try {
      process.kill(-pid, "SIGKILL");
    } catch {
      // gone already
    }
    await closed;
  });
  let printed = "";
  await new Promise<void>((resolve, reject) => {
    child.stderr.on("data", (chunk: Buffer) => {
      printed += chunk.toString();
      if (/^ *curl .*\n/m.test(printed)) resolve();
    });
    child.once("error", reject);
    child.once("close", (code) => reject(new Error(`npm start ended with ${code}\n${printed}`)));
  });
  return { pid, printed };
}

for (const [user, who] of [
  ["root", []],
  ["a plain user", ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"]],
] as const) {
  test(
    `a fresh clone serves after npm start as ${user} with HOME elsewhere, and the printed curl line works`,
    {
      skip: isRoot ? needs("curl") || needs("unshare", "util-linux") : "needs root for a network namespace",
      timeout: 240_000,
    },
    async (t) => {
      const folder = await temporaryFolder(t);
      const clone = join(folder, "gatehouse");
      const home = join(folder, "home");
      mkdirSync(home);
      cloneInto(clone);
      if (user !== "root") {
        chmodSync(folder, 0o755);
        execFileSync("chown", ["-R", `${NOBODY}:${NOBODY}`, folder]);
      }
      const [program = "env", ...args] = [...who, "env", `HOME=${home}`, "npm", "run", "build", "--silent"];
      const built = await runProgram(program, args, { cwd: clone, withinMs: 180_000 });
      assert.equal(built.code, 0, built.stdout + built.stderr);

      const { pid, printed } = await startIn(t, clone, home, who);
      const line = /^ *(curl .*)$/m.exec(printed)?.[1] ?? "";
      assert.match(printed, /https:\/\/home\.localhost:8443\//);
      for (const [flag, version] of [
        ["--http2", "2"],
        ["--http1.1", "1.1"],
      ]) {
        const { stdout, stderr } = await runProgram("nsenter", [
          `--net=/proc/${pid}/ns/net`,
          "sh",
          "-c",
          // --retry: the line is printed when the listeners are open, a moment before the first certificate.
          `${line} -sS --retry 5 --retry-all-errors --retry-delay 1 ${flag} -o /dev/null -w '%{http_code} %{http_version}'`,
        ]);
        assert.equal(stdout, `200 ${version}`, stderr);
      }
    },
  );
}
