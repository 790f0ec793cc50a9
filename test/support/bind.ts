/**
 * A real name server: Debian's bind9 on a loopback port, with one zone that takes signed updates, and recursion for nobody.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "./target.ts";
import { needs, runProgram } from "./programs.ts";

/** For node:test's `skip`. */
export const needsBind: string | false = needs("named", "bind9") || needs("dig", "dnsutils");

const READY_WITHIN_MS = 20_000;

export interface Bind {
  port: number;
  /** For `-y` of nsupdate, and the settings of ours. */
  key: { name: string; algorithm: "hmac-sha256" | "hmac-sha384" | "hmac-sha512"; secret: string };
  /** What dig reads: the short form, sorted. */
  dig(name: string, type: string): Promise<string[]>;
  log(): string;
}

export interface BindOptions {
  zone: string;
  /** Lines of a zone file, beside SOA, NS and the address of the zone. */
  records?: readonly string[];
  algorithm?: Bind["key"]["algorithm"];
  /** A further zone that nobody may update. */
  frozen?: string;
}

const SECRET = Buffer.from("thirty-two bytes of no secret!!!").toString("base64");

export async function startBind(t: { after(work: () => Promise<void>): void }, options: BindOptions): Promise<Bind> {
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-bind-"));
  const port = await freePort();
  const key = { name: "gatehouse", algorithm: options.algorithm ?? "hmac-sha256", secret: SECRET } as const;
  const zoneText = (lines: readonly string[]): string =>
    [
      "$TTL 60",
      "@ IN SOA ns hostmaster 1 3600 600 86400 60",
      "@ IN NS ns",
      "ns IN A 127.0.0.1",
      "@ IN A 127.0.0.1",
      "* IN A 127.0.0.1",
      ...lines,
      "",
    ].join("\n");
  await writeFile(join(folder, "zone.db"), zoneText(options.records ?? []));
  await writeFile(join(folder, "frozen.db"), zoneText([]));
  await writeFile(
    join(folder, "named.conf"),
    `key "${key.name}" { algorithm ${key.algorithm}; secret "${key.secret}"; };
options {
  directory "${folder}"; pid-file "${folder}/pid"; session-keyfile "${folder}/session.key";
  listen-on port ${port} { 127.0.0.1; }; listen-on-v6 { none; };
  recursion no; allow-query { any; }; dnssec-validation no; minimal-responses no;
};
controls {};
zone "${options.zone}" { type master; file "${folder}/zone.db"; allow-update { key "${key.name}"; }; };
${options.frozen === undefined ? "" : `zone "${options.frozen}" { type master; file "${folder}/frozen.db"; };`}
`,
  );
  let log = "";
  const child = await new Promise<ChildProcess>((resolve, reject) => {
    const named = spawn("named", ["-g", "-c", join(folder, "named.conf"), "-n", "1"], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    const late = setTimeout(() => reject(new Error(`named was not ready:\n${log}`)), READY_WITHIN_MS);
    createInterface(named.stderr).on("line", (line) => {
      log = `${log}${line}\n`.slice(-100_000);
      if (!line.endsWith(" running")) return;
      clearTimeout(late);
      resolve(named);
    });
    named.on("error", reject);
    named.on("exit", (code) => {
      clearTimeout(late);
      reject(new Error(`named ended with ${code}:\n${log}`));
    });
  });
  t.after(async () => {
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
    await rm(folder, { recursive: true, force: true });
  });
  return {
    port,
    key,
    log: () => log,
    async dig(name, type) {
      const { stdout } = await runProgram("dig", ["@127.0.0.1", "-p", String(port), "+short", "+norec", name, type]);
      return stdout.split("\n").filter(Boolean).sort();
    },
  };
}
