/**
 * Is dist/ what src/ says? If not, compile src/ beside it and swap.
 * Owns: dist/ and its stamp (a hash of everything that decides what dist/ contains).
 * Never: leaves a half-written or mixed dist/; a failed compile leaves the old one.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const dist = join(root, "dist");
const stamp = join(dist, ".stamp");

function filesUnderSrc(): string[] {
  return readdirSync(join(root, "src"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function hashOfInputs(): string {
  const hash = createHash("sha256");
  const settings = ["tsconfig.json", "package-lock.json", "scripts/emit.ts"].map((name) => join(root, name));
  for (const file of [...settings, ...filesUnderSrc()]) {
    hash
      .update(`${file.slice(root.length)}\0`)
      .update(readFileSync(file))
      .update("\0");
  }
  return hash.digest("hex");
}

const wanted = hashOfInputs();
if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== wanted) {
  process.stderr.write("gatehouse: building\n");
  const fresh = join(root, ".cache", `dist.${process.pid}`);
  const old = join(root, ".cache", `dist-old.${process.pid}`);
  mkdirSync(fresh, { recursive: true });
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const compile = spawnSync(process.execPath, [tsc, "-p", join(root, "tsconfig.json"), "--outDir", fresh], {
    stdio: ["ignore", 2, 2],
  });
  if (compile.status !== 0) {
    rmSync(fresh, { recursive: true, force: true });
    process.stderr.write("gatehouse: the build failed; nothing was changed\n");
    process.exit(1);
  }
  for (const file of filesUnderSrc().filter((name) => !name.endsWith(".ts"))) {
    cpSync(file, join(fresh, file.slice(join(root, "src").length)));
  }
  const main = join(fresh, "cli/main.js");
  if (existsSync(main)) chmodSync(main, 0o755);
  writeFileSync(join(fresh, ".stamp"), wanted);
  if (existsSync(dist)) renameSync(dist, old);
  renameSync(fresh, dist);
  rmSync(old, { recursive: true, force: true });
}
