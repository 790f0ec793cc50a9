/**
 * The router of the small internet: what does it let through, and what does it speak?
 * Owns: its nftables rules, miniupnpd, forwards set by hand, loopback, a reboot, what it counts and loses.
 * Never: knows Gatehouse.
 */
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LAN, WAN, type HostName, type Wan } from "./plan.ts";
import type { ProgramResult } from "../support/programs.ts";
import type { LabProgram } from "./programs.ts";

/** Each alone or together; none of them is a router that nothing can be asked of. */
export type RouterSpeaks = "pcp" | "nat-pmp" | "igd1" | "igd2";

export interface Forward {
  protocol: "tcp" | "udp";
  port: number;
  to: string;
  toPort: number;
}

export interface RouterOptions {
  folder: string;
  wan: Wan;
  speaks: readonly RouterSpeaks[];
  run(host: HostName, program: string, args: readonly string[], input?: string): Promise<ProgramResult>;
  start(host: HostName, program: string, args: readonly string[], ready: RegExp): Promise<LabProgram>;
}

export interface LabRouter {
  start(): Promise<void>;
  /** Like pulling the plug: every mapping, connection and the daemon's clock is forgotten. Forwards by hand stay. */
  reboot(): Promise<void>;
  /** The daemon goes away and stays away, as when somebody turns UPnP off. */
  silence(): Promise<void>;
  /** What a person enters in the router's form. */
  forwardByHand(forwards: readonly Forward[]): Promise<void>;
  /** Can the LAN reach the WAN address and come back in? Off at the start. */
  setLoopback(on: boolean): Promise<void>;
  /**
   * The provider gives another kind of address from now on, and the router begins anew. miniupnpd refuses every port behind an address that is not
   * public; `isPlain`: another router stands here then, which tells its address and promises ports.
   */
  setWan(kind: Wan, options?: { isPlain: boolean }): Promise<void>;
  /** This port of the WAN address leads to another machine, before all that was asked for. Undefined: no more. */
  setShadow(forward: Forward | undefined): Promise<void>;
  /** Whoever comes in from outside seems to be the router itself. */
  setMasquerade(on: boolean): Promise<void>;
  /** The WAN interface gets another address, as after a night at many providers. */
  setWanAddress(address: string): Promise<void>;
  wanAddress(): string;
  /** Its answers to port mapping questions are lost on the way, every one; questions still arrive and are counted. */
  loseAnswers(on: boolean): Promise<void>;
  /** Port mapping questions that reached it since the last call: datagrams to 5351 and M-SEARCHes to 1900. */
  countQuestions(): Promise<{ pcp: number; natPmp: number; searches: number }>;
  /** The end of what miniupnpd wrote. */
  log(): string;
}

const FORWARDED = "ct status dnat accept";

function rules(): string {
  return `flush ruleset
table inet filter {
  counter pcp { }
  counter natPmp { }
  counter searches { }
  chain miniupnpd { }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
  chain by_hand { }
  chain shadow { }
  chain hidden { }
  chain lost { }
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "lan" accept
    ${FORWARDED}
    jump miniupnpd
  }
  chain own {
    type filter hook prerouting priority -300;
    iifname "wan" meta nfproto ipv4 fib daddr type unicast drop comment "an address that it has no more"
  }
  chain prerouting {
    type nat hook prerouting priority -100;
    iifname "wan" jump shadow
    jump prerouting_miniupnpd
    iifname "wan" jump by_hand
  }
  chain postrouting {
    type nat hook postrouting priority 100;
    jump hidden
    jump postrouting_miniupnpd
    oifname "wan" meta nfproto ipv4 masquerade
    ip saddr ${LAN.network} ip daddr ${LAN.network} ct status dnat masquerade
  }
  chain output { type filter hook output priority 0; jump lost; }
  chain counted {
    type filter hook input priority -10;
    udp dport 5351 @th,64,8 2 counter name pcp
    udp dport 5351 @th,64,8 0 counter name natPmp
    udp dport 1900 counter name searches
    jump deaf
  }
  chain deaf { }
}
`;
}

/** miniupnpd answers PCP and NAT-PMP both or neither; the one that this router does not speak falls on deaf ears. */
function deafness(speaks: readonly RouterSpeaks[]): string {
  const lines = ["flush chain inet filter deaf"];
  // Neither: then the port is closed, and the kernel says so.
  if (!speaks.includes("pcp") && !speaks.includes("nat-pmp")) return lines.join("\n");
  if (!speaks.includes("pcp")) lines.push("add rule inet filter deaf udp dport 5351 @th,64,8 2 drop");
  if (!speaks.includes("nat-pmp")) lines.push("add rule inet filter deaf udp dport 5351 @th,64,8 0 drop");
  return lines.join("\n");
}

const PLAIN = new URL("./plain-router.ts", import.meta.url).pathname;

const forwardRule = ({ protocol, port, to, toPort }: Forward): string =>
  `${protocol} dport ${port} dnat ip to ${to}:${toPort}`;

export function createRouter(options: RouterOptions): LabRouter {
  const { folder, speaks, run, start } = options;
  const config = join(folder, "miniupnpd.conf");
  const leases = [join(folder, "leases"), join(folder, "leases6")];
  let address: string = WAN[options.wan].router;
  let gateway: string = WAN[options.wan].isp;
  let daemon: LabProgram | undefined;
  let plain: LabProgram | undefined;

  const must = async (program: string, args: readonly string[], input?: string): Promise<string> => {
    const { code, stdout, stderr } = await run("router", program, args, input);
    if (code !== 0) throw new Error(`${program} ${args.join(" ")} in the router: ${stderr}${stdout}`);
    return stdout;
  };
  const nft = (text: string): Promise<string> => must("nft", ["-f", "-"], text);

  async function startDaemon(): Promise<void> {
    if (speaks.length === 0) return;
    const upnp = speaks.includes("igd1") || speaks.includes("igd2");
    await writeFile(
      config,
      `ext_ifname=wan
listening_ip=lan
http_port=5000
enable_natpmp=${speaks.includes("pcp") || speaks.includes("nat-pmp") ? "yes" : "no"}
enable_upnp=${upnp ? "yes" : "no"}
force_igd_desc_v1=${speaks.includes("igd2") ? "no" : "yes"}
secure_mode=yes
system_uptime=no
notify_interval=3600
uuid=6a617465-686f-7573-652d-6c61622d3031
lease_file=${leases[0]}
lease_file6=${leases[1]}
min_lifetime=1
max_lifetime=86400
allow 1-65535 ${LAN.network} 1-65535
deny 0-65535 0.0.0.0/0 0-65535
`,
    );
    const ready = upnp ? /HTTP listening on port/ : /Listening for NAT-PMP\/PCP traffic/;
    daemon = await start("router", "miniupnpd", ["-d", "-f", config, "-P", join(folder, "miniupnpd.pid")], ready);
  }

  async function silence(): Promise<void> {
    await daemon?.stop();
    daemon = undefined;
    await nft("flush chain inet filter miniupnpd\nflush chain inet filter prerouting_miniupnpd\n");
  }

  const redirect = async (on: boolean): Promise<void> => {
    // As if it had come in by the WAN: then every forward applies, whoever made it.
    await run("router", "tc", ["qdisc", "del", "dev", "lan", "clsact"]);
    if (!on) return;
    await must("tc", ["qdisc", "add", "dev", "lan", "clsact"]);
    const match = ["protocol", "ip", "u32", "match", "ip", "dst", `${address}/32`];
    const action = ["action", "mirred", "ingress", "redirect", "dev", "wan"];
    await must("tc", ["filter", "add", "dev", "lan", "ingress", ...match, ...action]);
  };
  let hasLoopback = false;

  async function setAddress(next: string, via: string): Promise<void> {
    // In this order: with the first address of a network go all further ones of it.
    await must("ip", ["addr", "del", `${address}/24`, "dev", "wan"]);
    await must("ip", ["addr", "add", `${next}/24`, "dev", "wan"]);
    await must("ip", ["route", "replace", "default", "via", via]);
    await run("router", "conntrack", ["-F"]);
    address = next;
    gateway = via;
    if (hasLoopback) await redirect(true);
  }

  return {
    async start() {
      await nft(rules());
      await nft(deafness(speaks));
      await startDaemon();
    },
    async reboot() {
      await silence();
      await Promise.all(leases.map((file) => rm(file, { force: true })));
      await run("router", "conntrack", ["-F"]);
      await startDaemon();
    },
    silence,
    async forwardByHand(forwards) {
      const lines = forwards.map((one) => `add rule inet filter by_hand ${forwardRule(one)}`);
      await nft(["flush chain inet filter by_hand", ...lines].join("\n"));
    },
    async setLoopback(on) {
      hasLoopback = on;
      await redirect(on);
    },
    setWanAddress: (next) => setAddress(next, gateway),
    async setWan(kind, { isPlain } = { isPlain: false }) {
      await plain?.stop();
      plain = undefined;
      await silence();
      await Promise.all(leases.map((file) => rm(file, { force: true })));
      await setAddress(WAN[kind].router, WAN[kind].isp);
      if (isPlain) plain = await start("router", process.execPath, [PLAIN, LAN.router, WAN[kind].router], /ready/);
      else await startDaemon();
    },
    async setShadow(forward) {
      const lines = forward === undefined ? [] : [`add rule inet filter shadow ${forwardRule(forward)}`];
      await nft(["flush chain inet filter shadow", ...lines].join("\n"));
      await run("router", "conntrack", ["-F"]);
    },
    async setMasquerade(on) {
      const rule = 'add rule inet filter hidden oifname "lan" ct status dnat masquerade';
      await nft(["flush chain inet filter hidden", ...(on ? [rule] : [])].join("\n"));
      await run("router", "conntrack", ["-F"]);
    },
    wanAddress: () => address,
    async loseAnswers(on) {
      const lost = ["5351", "1900"].map((port) => `add rule inet filter lost udp sport ${port} drop`);
      await nft(["flush chain inet filter lost", ...(on ? lost : [])].join("\n"));
    },
    async countQuestions() {
      const text = await must("nft", ["reset", "counters"]);
      const count = (name: string): number =>
        Number(new RegExp(`counter ${name} {\\s+packets (\\d+)`).exec(text)?.[1] ?? Number.NaN);
      return { pcp: count("pcp"), natPmp: count("natPmp"), searches: count("searches") };
    },
    log: () => daemon?.log() ?? "",
  };
}
