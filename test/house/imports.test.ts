/**
 * Does the house keep its own rules: who imports whom, how files are named, how long they may be?
 * Owns: the direction table of DESIGN.md ("Who may import whom") as data.
 * Never: judges what is inside a room.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix, relative } from "node:path";
import { test } from "node:test";

const root = join(import.meta.dirname, "../..");

/** A room imports only from lower levels. */
const LEVELS: Record<string, number> = Object.fromEntries(
  [
    ["core"],
    ["config", "storage", "observe", "dns"],
    ["tls", "acme", "proxy", "forward", "network"],
    ["admin", "cluster", "doctor"],
    // Joins tls and acme for the keeping half.
    ["issuing"],
    // The two halves of an edge, which meet in edge alone: the only file that sees every room.
    ["keeping", "serving"],
    ["edge", "worker", "stand-in"],
    ["cli"],
  ].flatMap((rooms, level) => rooms.map((room) => [room, level])),
);

/** What the command line may know; everything else it asks of the edge or of the admin socket. */
const OPEN_TO_CLI = [
  "edge.ts",
  "stand-in.ts",
  "admin/client",
  "doctor/",
  "config/",
  "core/",
  "observe/",
  "tls/portable.ts",
];

/** Libraries that one door alone may touch. */
const GUARDED: Record<string, { door: RegExp; named: string }> = {
  "acme-client": { door: /^acme\/wire\//, named: "src/acme/wire/" },
  "http-proxy": { door: /^proxy\/lanes\/compat\//, named: "src/proxy/lanes/compat/" },
  "node-forge": { door: /^tls\/pkcs12\.ts$/, named: "src/tls/pkcs12.ts" },
};

const MAX_LINES = 300;

interface Import {
  specifier: string;
  isTypeOnly: boolean;
}

function importsOf(text: string): Import[] {
  const found: Import[] = [];
  const withoutComments = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
  const statement = /^\s*(?:import|export)\b(\s+type\b)?([^;'"`()=]*?)\bfrom\s*["']([^"']+)["']/gm;
  for (const [, type, names = "", specifier = ""] of withoutComments.matchAll(statement)) {
    const inBraces = /^\s*\{([\s\S]*)\}\s*$/
      .exec(names)?.[1]
      ?.split(",")
      .map((name) => name.trim());
    const everyNameIsType = inBraces?.filter((name) => name !== "").every((name) => name.startsWith("type ")) ?? false;
    found.push({ specifier, isTypeOnly: type !== undefined || everyNameIsType });
  }
  const forEffect = /^\s*import\s*["']([^"']+)["']/gm;
  const dynamic = /\bimport\(\s*["']([^"']+)["']/g;
  for (const pattern of [forEffect, dynamic]) {
    for (const [, specifier = ""] of withoutComments.matchAll(pattern)) found.push({ specifier, isTypeOnly: false });
  }
  return found;
}

const roomOf = (file: string): string => file.split("/")[0]?.replace(/\.ts$/, "") ?? "";

/** What is wrong with one room knowing another, or undefined when it may. Paths are relative to src. */
function whyNot(from: string, to: string, isTypeOnly: boolean): string | undefined {
  const [here, there] = [roomOf(from), roomOf(to)];
  if (here === there) return undefined;
  const [hereLevel, thereLevel] = [LEVELS[here], LEVELS[there]];
  if (hereLevel === undefined) return `${here} is not a room of DESIGN.md; write it there and in LEVELS first`;
  if (thereLevel === undefined) return `${there} is not a room of DESIGN.md`;
  if (here === "cli") {
    const isOpen = OPEN_TO_CLI.some((door) => to.startsWith(door));
    return isOpen ? undefined : `cli knows only ${OPEN_TO_CLI.join(", ")}`;
  }
  const isLogType = isTypeOnly && to === "observe/log.ts";
  if (hereLevel === 1 && thereLevel === 1) {
    return isLogType ? undefined : "rooms of level 1 do not know each other (only observe/log.ts, and its types alone)";
  }
  if (hereLevel === thereLevel) return `${here} and ${there} are both on level ${hereLevel}; they meet in edge.ts`;
  if (hereLevel < thereLevel) return `${here} (level ${hereLevel}) is below ${there} (level ${thereLevel})`;
  if (there === "config" && hereLevel <= 3 && !isTypeOnly) return "of config, levels 2 and 3 take types alone";
  return undefined;
}

function findingsIn(file: string, text: string): string[] {
  const findings: string[] = [];
  for (const { specifier, isTypeOnly } of importsOf(text)) {
    const guarded = GUARDED[specifier.split("/")[0] ?? ""];
    if (guarded !== undefined && !guarded.door.test(file)) {
      findings.push(`src/${file} imports ${specifier}, which only ${guarded.named} may touch.`);
    }
    if (!specifier.startsWith(".")) continue;
    const target = posix.normalize(posix.join(dirname(file), specifier));
    if (target.startsWith("../")) {
      if (!target.endsWith("package.json")) findings.push(`src/${file} imports ${specifier}, which lies outside src/.`);
      continue;
    }
    const reason = whyNot(file, target, isTypeOnly);
    if (reason !== undefined) findings.push(`src/${file} may not import ${specifier}: ${reason}.`);
  }
  if (file.split("/").some((part) => /^(utils?|common|helpers?|types)(\.ts)?$/.test(part))) {
    findings.push(`src/${file} has a name that says nothing; a shared thing has a name or it is not shared.`);
  }
  if (/^export\s+default\b|^export\s*\{[^}]*\bas\s+default\b/m.test(text)) {
    findings.push(`src/${file} has a default export; name it.`);
  }
  const lines = text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
  if (lines > MAX_LINES) {
    findings.push(
      `src/${file} has ${lines} lines; past ${MAX_LINES} a file holds two ideas, so give the second its own.`,
    );
  }
  return findings;
}

function sourceFiles(): string[] {
  return readdirSync(join(root, "src"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => relative(join(root, "src"), join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
    .sort();
}

test("every file of src/ keeps the rules of the house", () => {
  const files = sourceFiles();
  assert.ok(files.length > 10, "src/ was not read");
  const findings = files.flatMap((file) => findingsIn(file, readFileSync(join(root, "src", file), "utf8")));
  assert.equal(findings.join("\n"), "");
});

const allowed: [file: string, line: string][] = [
  ["edge.ts", 'import { startFront } from "./proxy/front.ts";'],
  ["edge.ts", 'import { loadConfig } from "./config/load.ts";'],
  ["proxy/front.ts", 'import type { Config } from "../config/model.ts";'],
  ["proxy/front.ts", 'import { type Config, type SiteConfig } from "../config/model.ts";'],
  ["proxy/lanes/compat/forward.ts", 'import httpProxy from "http-proxy";'],
  ["acme/wire/http.ts", 'import acme from "acme-client";'],
  ["storage/files.ts", 'import type { Log } from "../observe/log.ts";'],
  ["storage/files.ts", 'import { GatehouseError } from "../core/errors.ts";'],
  ["cli/run.ts", 'import { startEdge } from "../edge.ts";'],
  ["cli/status.ts", 'import { ask } from "../admin/client.ts";'],
  ["core/names.ts", "// import { x } from '../edge.ts'"],
];

for (const [file, line] of allowed) {
  test(`src/${file} may say ${line}`, () => assert.deepEqual(findingsIn(file, line), []));
}

const refused: [file: string, text: string, because: RegExp][] = [
  ["core/names.ts", 'import { log } from "../observe/log.ts";', /core \(level 0\) is below observe/],
  ["tls/sni.ts", 'import { front } from "../proxy/front.ts";', /both on level 2; they meet in edge\.ts/],
  ["tls/sni.ts", 'import type { Front } from "../proxy/front.ts";', /both on level 2/],
  ["serving.ts", 'import { createKeeping } from "./keeping/keeping.ts";', /both on level 5; they meet in edge\.ts/],
  ["admin/server.ts", 'import { doctor } from "../doctor/checks.ts";', /both on level 3/],
  ["proxy/front.ts", 'import { loadConfig } from "../config/load.ts";', /types alone/],
  ["proxy/front.ts", 'import { type Config, loadConfig } from "../config/load.ts";', /types alone/],
  ["proxy/front.ts", 'import {\n  loadConfig,\n} from "../config/load.ts";', /types alone/],
  ["proxy/front.ts", 'const x = await import("../edge.ts");', /proxy \(level 2\) is below edge/],
  ["proxy/lanes/fast.ts", 'export { sni } from "../../tls/sni.ts";', /both on level 2/],
  ["config/load.ts", 'import { files } from "../storage/files.ts";', /level 1 do not know each other/],
  ["config/load.ts", 'import { createLog } from "../observe/log.ts";', /types alone/],
  ["cli/run.ts", 'import { front } from "../proxy/front.ts";', /cli knows only/],
  ["cli/run.ts", 'import { server } from "../admin/server.ts";', /cli knows only/],
  ["garden/shed.ts", 'import { x } from "../core/names.ts";', /garden is not a room/],
  ["core/names.ts", 'import { x } from "../../bench/x.ts";', /outside src/],
  ["core/names.ts", 'import "../edge.ts";', /is below edge/],
  ["acme/order.ts", 'import acme from "acme-client";', /only src\/acme\/wire\//],
  ["proxy/front.ts", 'import httpProxy from "http-proxy";', /only src\/proxy\/lanes\/compat\//],
  ["tls/local-ca.ts", 'import forge from "node-forge";', /only src\/tls\/pkcs12\.ts/],
  ["core/utils/strings.ts", "export const a = 1;", /a name that says nothing/],
  ["proxy/types.ts", "export const a = 1;", /a name that says nothing/],
  ["core/names.ts", "export default 1;", /default export/],
  ["core/names.ts", "x;\n".repeat(MAX_LINES + 1), /301 lines/],
];

for (const [file, text, because] of refused) {
  test(`src/${file} may not say ${text.split("\n").slice(0, 3).join(" ").slice(0, 80)}`, () => {
    const findings = findingsIn(file, text);
    assert.equal(findings.length, 1, findings.join("\n"));
    assert.match(findings[0] ?? "", because);
  });
}
