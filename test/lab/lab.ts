/**
 * A small internet of network namespaces: a home behind a router, a provider, a world that looks in.
 * Owns: making it, its switches, and removing it, also after a crash of whoever made it.
 * Never: touches a network of the machine, or what another lab made.
 */
import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { hasProgram, needs, runProgram, type ProgramResult } from "../support/programs.ts";
import { namespaceOf, removalScript, wiringScript, type HostName, type Wan } from "./plan.ts";
import { startProgram, type LabProgram, type ProgramOptions } from "./programs.ts";
import { createRouter, type LabRouter, type RouterSpeaks } from "./router.ts";
import { startServices, type LabServices } from "./services.ts";

export interface LabOptions {
  /** Default: all that miniupnpd can as IGD v2. [] is a router that nothing can be asked of. */
  speaks?: readonly RouterSpeaks[];
  /** Default public. */
  wan?: Wan;
  /** bind9, pebble, DuckDNS and witnesses. Default false: a second saved. */
  services?: boolean;
}

export interface Lab {
  /** Namespaces are called `ID-HOST`. */
  id: string;
  /** Gone with the lab. */
  folder: string;
  router: LabRouter;
  /** Only when asked for. */
  services: LabServices | undefined;
  namespace(host: HostName): string;
  /** What to put before a command so that it runs there. */
  inside(host: HostName): readonly string[];
  /** @param options.withinMs default 30_000 */
  run(
    host: HostName,
    program: string,
    args?: readonly string[],
    options?: { input?: string; withinMs?: number; env?: NodeJS.ProcessEnv },
  ): Promise<ProgramResult>;
  /** Ended with the lab at the latest. */
  start(host: HostName, program: string, args: readonly string[], options?: ProgramOptions): Promise<LabProgram>;
  /** The provider lets nothing in on these TCP ports. [] opens them again. */
  blockPorts(ports: readonly number[]): Promise<void>;
  /** IPv6 addresses and routes stay, and nothing comes through: the usual way for it to be dead. */
  setIpv6(alive: boolean): Promise<void>;
  /** The provider lets the home out by an address of its own, though the router's looks public. */
  setCarrierNat(on: boolean): Promise<void>;
  /** Percent of what the provider carries that it drops, each way. */
  setLoss(percent: number): Promise<void>;
  stop(): Promise<void>;
}

const canMakeNamespaces = (): boolean => {
  const name = `gatehouse-lab-${process.pid}-probe`;
  if (spawnSync("ip", ["netns", "add", name]).status !== 0) return false;
  return spawnSync("ip", ["netns", "del", name]).status === 0;
};

/** For node:test's `skip`: false when a lab can be made here, else the reason. */
export function needsLab(options: LabOptions = {}): string | false {
  const missing =
    needs("ip", "iproute2") ||
    needs("nft", "nftables") ||
    needs("conntrack") ||
    needs("miniupnpd", "miniupnpd-nftables") ||
    (options.services === true && (needs("nsupdate", "bind9-dnsutils") || needsBind()));
  if (missing !== false) return missing;
  if (process.getuid?.() !== 0) return "needs root, for network namespaces";
  return canMakeNamespaces() ? false : "needs a kernel that lets root make network namespaces";
}

const needsBind = (): string | false => (hasProgram("named") || existsSync("/usr/sbin/named") ? false : "needs bind9");

const PREFIX = "gatehouse-lab-";
let made = 0;

async function script(text: string): Promise<void> {
  const { code, stderr } = await runProgram("sh", ["-eu"], { input: text });
  if (code !== 0) throw new Error(`the lab's script failed: ${stderr}`);
}

/** What a killed test left behind: namespaces and folders whose maker is no more. */
export async function sweepLabs(): Promise<void> {
  const names = existsSync("/run/netns") ? readdirSync("/run/netns") : [];
  const folders = readdirSync(tmpdir()).filter((name) => name.startsWith(PREFIX));
  const ids = new Set([...names, ...folders].map((name) => /^(gatehouse-lab-\d+-\d+)-/.exec(name)?.[1] ?? ""));
  for (const id of ids) {
    const maker = /^gatehouse-lab-(\d+)-/.exec(id)?.[1];
    if (maker === undefined || existsSync(`/proc/${maker}`)) continue;
    await script(removalScript(id));
    for (const folder of folders) {
      if (folder.startsWith(`${id}-`)) await rm(join(tmpdir(), folder), { recursive: true, force: true });
    }
  }
}

/** @param t  ends it, when given; else call `stop`. */
export async function startLab(
  t: { after(work: () => Promise<void>): void } | undefined,
  options: LabOptions = {},
): Promise<Lab> {
  const { speaks = ["pcp", "nat-pmp", "igd2"], wan = "public" } = options;
  await sweepLabs();
  const id = `${PREFIX}${process.pid}-${made++}`;
  const folder = await mkdtemp(join(tmpdir(), `${id}-`));
  const programs: LabProgram[] = [];
  const switches = { blocked: [] as readonly number[], isIpv6Alive: true, loss: 0, isCarrierNat: false };

  const inside = (host: HostName): string[] => ["ip", "netns", "exec", namespaceOf(id, host)];
  const run: Lab["run"] = (host, program, args = [], { input, withinMs = 30_000, env } = {}) => {
    const [ip = "", ...before] = inside(host);
    const rest = { ...(input === undefined ? {} : { input }), ...(env === undefined ? {} : { env }) };
    return runProgram(ip, [...before, program, ...args], { withinMs, ...rest });
  };
  const start: Lab["start"] = async (host, program, args, how = {}) => {
    const started = await startProgram(namespaceOf(id, host), program, args, how);
    programs.push(started);
    return started;
  };
  const stop = async (): Promise<void> => {
    await Promise.all(programs.map((program) => program.stop()));
    await script(removalScript(id));
    await rm(folder, { recursive: true, force: true });
  };

  async function provider(): Promise<void> {
    const { blocked, isIpv6Alive, loss, isCarrierNat } = switches;
    const rules = [
      ...(isIpv6Alive ? [] : ["meta nfproto ipv6 drop"]),
      ...(loss > 0 ? [`numgen random mod 1000 < ${Math.min(999, loss * 10)} drop`] : []),
      ...(blocked.length > 0 ? [`iifname "core" tcp dport { ${blocked.join(", ")} } drop`] : []),
      // Nobody outside can reach an address of a provider's NAT or of somebody's LAN.
      'iifname "core" ip daddr { 10.0.0.0/8, 100.64.0.0/10, 192.168.0.0/16 } ct state new drop',
    ];
    const text = `flush ruleset
table inet provider {
  chain forward {
    type filter hook forward priority 0;
    ${rules.join("\n    ")}
  }
  chain postrouting {
    type nat hook postrouting priority 100;
    oifname "core" ip saddr { 100.64.0.0/10, 192.168.0.0/16${isCarrierNat ? ", 5.6.7.0/24" : ""} } masquerade
  }
}
`;
    const { code, stderr } = await run("isp", "nft", ["-f", "-"], { input: text });
    if (code !== 0) throw new Error(`nft at the provider: ${stderr}`);
  }

  const router = createRouter({
    folder,
    wan,
    speaks,
    run: (host, program, args, input) => run(host, program, args, input === undefined ? {} : { input }),
    start: (host, program, args, ready) => start(host, program, args, { ready }),
  });
  let services: LabServices | undefined;
  try {
    await script(wiringScript(id, wan));
    await provider();
    [services] = await Promise.all([
      options.services === true ? startServices(folder, start) : undefined,
      router.start(),
    ]);
  } catch (error) {
    await stop();
    throw error;
  }
  t?.after(stop);

  return {
    id,
    folder,
    router,
    services,
    namespace: (host) => namespaceOf(id, host),
    inside,
    run,
    start,
    async blockPorts(ports) {
      switches.blocked = ports;
      await provider();
    },
    async setIpv6(alive) {
      switches.isIpv6Alive = alive;
      await provider();
    },
    async setCarrierNat(on) {
      switches.isCarrierNat = on;
      await provider();
    },
    async setLoss(percent) {
      switches.loss = percent;
      await provider();
    },
    stop,
  };
}
