/**
 * What does the small internet offer to those who ask it?
 * Owns: bind9 with the zones, pebble as the CA, DuckDNS and the witnesses; their files and certificates.
 * Never: knows who asks.
 */
import { copyFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makeCa } from "../support/certificates.ts";
import { hasProgram } from "../support/programs.ts";
import type { DuckCall, DuckFault, InternetSettings } from "./internet.ts";
import { OUTSIDE, type HostName } from "./plan.ts";
import type { LabProgram, ProgramOptions } from "./programs.ts";

/** The account at the DuckDNS of the lab. */
export const DUCK = { token: "7f1c62a4-2b1d-4b7e-9d0a-3f5e8c6b9a10", domains: ["myhome", "myhome2"] } as const;

/** For `acme.caRoots` and the like: signs the HTTPS of everything outside. */
export interface LabServices {
  /** Trusts DuckDNS, the witnesses and pebble's own HTTPS. A file, for NODE_EXTRA_CA_CERTS as well. */
  caFile: string;
  /** Undefined without Debian's pebble. */
  acmeDirectory: string | undefined;
  /** HMAC-SHA256 key that may update example.org (RFC 2136), as nsupdate -k wants it. */
  tsigFile: string;
  /** Every call to DuckDNS so far. */
  duckCalls: readonly DuckCall[];
  setDuckFault(fault: DuckFault): void;
  /** The end of what each wrote. */
  logs(): string;
}

type Start = (host: HostName, program: string, args: readonly string[], options: ProgramOptions) => Promise<LabProgram>;

const zone = (name: string, records: readonly string[]): string =>
  [
    "$TTL 60",
    `@ SOA ns1.${name}. hostmaster.${name}. 1 3600 600 86400 5`,
    `@ NS ns1.${name}.`,
    `ns1 A ${OUTSIDE.services}`,
    ...records,
    "",
  ].join("\n");

const ZONES: Record<string, { records: readonly string[]; update: string }> = {
  org: { records: [], update: "none;" },
  net: { records: [], update: "none;" },
  "duckdns.org": { records: [`www A ${OUTSIDE.services}`], update: `${OUTSIDE.services}; 127.0.0.1;` },
  "example.org": { records: [], update: "key gatehouse;" },
  "example.net": {
    records: [
      `ip-a A ${OUTSIDE.services}`,
      `ip-b A ${OUTSIDE.services}`,
      `ip-a AAAA ${OUTSIDE.services6}`,
      `acme A ${OUTSIDE.services}`,
      `whoami NS witness`,
      `witness A ${OUTSIDE.witness}`,
    ],
    update: "none;",
  },
};

async function startBind(folder: string, start: Start): Promise<LabProgram> {
  const secret = "c21hbGwgaW50ZXJuZXQgb2YgZ2F0ZWhvdXNlIGxhYnM=";
  await writeFile(join(folder, "tsig.key"), `key gatehouse { algorithm hmac-sha256; secret "${secret}"; };\n`);
  const zones = await Promise.all(
    Object.entries(ZONES).map(async ([name, { records, update }]) => {
      await writeFile(join(folder, `${name}.zone`), zone(name, records));
      return `zone "${name}" { type primary; file "${name}.zone"; allow-update { ${update} }; };`;
    }),
  );
  await writeFile(
    join(folder, "named.conf"),
    `include "${join(folder, "tsig.key")}";
options {
  directory "${folder}";
  listen-on { ${OUTSIDE.services}; 127.0.0.1; };
  listen-on-v6 { ${OUTSIDE.services6}; };
  pid-file none;
  session-keyfile none;
  recursion no;
  allow-query { any; };
  notify no;
  dnssec-validation no;
};
controls { };
${zones.join("\n")}
`,
  );
  // Debian's AppArmor profile is bound to the path of the program and would keep it out of this folder.
  const named = join(folder, "named");
  await copyFile("/usr/sbin/named", named);
  return start("services", named, ["-g", "-n", "1", "-c", join(folder, "named.conf")], { ready: /\brunning$/m });
}

async function startPebble(folder: string, start: Start): Promise<LabProgram> {
  const config = {
    pebble: {
      listenAddress: `${OUTSIDE.services}:14000`,
      managementListenAddress: `${OUTSIDE.services}:15000`,
      certificate: join(folder, "web.pem"),
      privateKey: join(folder, "web.key"),
      httpPort: 80,
      tlsPort: 443,
      ocspResponderURL: "",
      externalAccountBindingRequired: false,
    },
  };
  await writeFile(join(folder, "pebble.json"), JSON.stringify(config));
  const args = ["-config", join(folder, "pebble.json"), "-dnsserver", `${OUTSIDE.services}:53`];
  const env = { ...process.env, PEBBLE_VA_NOSLEEP: "1", PEBBLE_WFE_NONCEREJECT: "0", PEBBLE_AUTHZREUSE: "0" };
  return start("services", "pebble", args, { ready: /ACME directory available at/, env });
}

export async function startServices(folder: string, start: Start): Promise<LabServices> {
  const ca = await makeCa({ name: "The small internet" });
  const names = ["www.duckdns.org", "ip-a.example.net", "ip-b.example.net", "acme.example.net", OUTSIDE.services];
  const web = await ca.issue({ names });
  const settings: InternetSettings = { keyPem: web.keyPem, chainPem: web.chainPem, ...DUCK };
  await Promise.all([
    writeFile(join(folder, "ca.pem"), ca.caPem),
    writeFile(join(folder, "web.key"), web.keyPem),
    writeFile(join(folder, "web.pem"), web.chainPem),
    writeFile(join(folder, "internet.json"), JSON.stringify(settings)),
  ]);
  const program = new URL("./internet.ts", import.meta.url).pathname;
  const node = process.execPath;
  const [bind, internet, pebble] = await Promise.all([
    startBind(folder, start),
    start("services", node, [program, join(folder, "internet.json")], { ready: /^ready$/m, talk: true }),
    hasProgram("pebble") ? startPebble(folder, start) : undefined,
  ]);
  const duckCalls: DuckCall[] = [];
  internet.hear((message) => duckCalls.push(message as DuckCall));
  return {
    caFile: join(folder, "ca.pem"),
    acmeDirectory: pebble && "https://acme.example.net:14000/dir",
    tsigFile: join(folder, "tsig.key"),
    duckCalls,
    setDuckFault: (fault) => internet.say({ fault }),
    logs: () => [bind, internet, pebble].map((one) => one?.log() ?? "").join("\n"),
  };
}
