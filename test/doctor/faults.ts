/**
 * What can be wrong with a home: how it is broken and mended in the lab, and what the doctor has to call it.
 * Owns: the table. Faults that follow from another one (`brings`) may be named below it, never first.
 */
import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LAN, WAN } from "../lab/plan.ts";
import { allMapped, type Home, WELL } from "./home.ts";

export interface Fault {
  code: string;
  /** Said first when it is alone. */
  summary: RegExp;
  make(home: Home): Promise<unknown>;
  mend(home: Home): Promise<unknown>;
  /** Codes of what may follow from it. */
  brings?: readonly string[];
}

const STALE = "5.6.7.200";
const file = (add: (text: string) => string): Pick<Fault, "make" | "mend"> => ({
  make: async (home) => writeFile(home.file, add(home.text)),
  mend: async (home) => writeFile(home.file, home.text),
});
const machine = (manner: Parameters<Home["inside"]>[0]): Pick<Fault, "make" | "mend"> => ({
  make: (home) => home.inside(manner),
  mend: (home) => home.inside("well"),
});
const records = (...wrong: string[]): Pick<Fault, "make" | "mend"> => ({
  make: (home) => home.records(...wrong),
  mend: (home) => home.records(WELL),
});
/** Gatehouse begins anew with the address, so that its last one is not remembered. */
const wan = (kind: "cgnat" | "private"): Pick<Fault, "make" | "mend"> => ({
  async make(home) {
    await home.gatehouse().stop();
    await forgetPushes(home);
    await home.lab.router.setWan(kind, { isPlain: true });
    await home.startGatehouse();
    await home.untilRouter(
      "it sees the new router",
      (status) => status.externalAddress === WAN[kind].router && allMapped(status),
    );
  },
  async mend(home) {
    await home.gatehouse().stop();
    await forgetPushes(home);
    await home.lab.router.setWan("public");
    await home.startGatehouse();
    await home.untilRouter("all is mapped again", allMapped);
    await updateDdns(home);
  },
});
/** No service is told more than a few addresses in ten minutes, and this home moves more often. */
const forgetPushes = (home: Home): Promise<void> =>
  rm(join(home.file, "../state/ddns"), { recursive: true, force: true });
const updateDdns = (home: Home): Promise<unknown> => home.type("ddns", "update");

export const FAULTS = {
  "the file cannot be taken": {
    code: "CONFIG_INVALID",
    summary: /gatehouse\.yaml:\d+:1 +lissten .*Next: Change that line/s,
    ...file((text) => `${text}lissten: 1\n`),
  },
  "one site is written wrong": {
    code: "SITE_LEFT_OUT",
    summary: /gatehouse\.yaml:\d+:\d+ +sites\["bad\.example\.org"\]\.too/,
    ...file((text) => `${text}  bad.example.org: { too: demo }\n`),
  },
  "a packet filter of this machine keeps 443 shut": {
    code: "LISTENER_SILENT",
    summary: /^The https port 443 does not answer on this machine/,
    make: (home) =>
      home.on(
        "edge",
        "nft 'add table inet shut; add chain inet shut in { type filter hook input priority 0; }; add rule inet shut in tcp dport 443 reject with tcp reset'",
      ),
    mend: (home) => home.on("edge", "nft delete table inet shut"),
    brings: ["WEBSOCKET_LOST", "OUTSIDE_CLOSED", "TLS_FAILS", "LOOPBACK_MISSING"],
  },
  "Gatehouse is gone": {
    code: "NOT_RUNNING",
    summary: /^No Gatehouse answers at .*Next: Start it: gatehouse run/,
    make: (home) => home.gatehouse().stop(),
    async mend(home) {
      await home.startGatehouse();
      await home.untilRouter("all is mapped again", allMapped);
    },
    brings: ["OUTSIDE_CLOSED"],
  },
  "the clock is an hour ahead": {
    code: "CLOCK_WRONG",
    summary: /^The clock of this machine is 3[56]\d\d s ahead of acme\.example\.net:14000's.*set-ntp true$/,
    make: async (home) => home.setClockOff(3_600_000),
    mend: async (home) => home.setClockOff(0),
  },
  "the target is off": {
    code: "TARGET_REFUSES",
    summary: /^Nothing listens at 192\.168\.77\.20:8123\. Next: Start the service at port 8123 of 192\.168\.77\.20/,
    ...machine("off"),
  },
  "the target's cable is pulled": {
    code: "TARGET_UNREACHABLE",
    summary: /^192\.168\.77\.20:8123 cannot be reached .*Is 192\.168\.77\.20 switched on/,
    make: (home) => home.on("target", "ip link set eth0 down"),
    mend: (home) => home.on("target", `ip link set eth0 up; ip route replace default via ${LAN.router}`),
  },
  "the target takes connections and says nothing": {
    code: "TARGET_SILENT",
    summary: /^192\.168\.77\.20:8123 takes connections but answers nothing/,
    ...machine("silent"),
  },
  "the target speaks TLS": {
    code: "TARGET_SPEAKS_TLS",
    summary: /Next: Write https:\/\/192\.168\.77\.20:8123/,
    ...machine("TLS"),
  },
  "the target answers with errors": {
    code: "TARGET_FAILS",
    summary: /^192\.168\.77\.20:8123 answers with status 503/,
    ...machine("fails"),
  },
  "Home Assistant does not trust this machine": {
    code: "HOME_ASSISTANT_UNTRUSTED",
    summary: /add 192\.168\.77\.10 to the trusted proxies/,
    ...machine("distrusts"),
  },
  "Home Assistant's WebSocket is kept away": {
    code: "TARGET_NO_WEBSOCKET",
    summary: /shows Home Assistant's page but opens no WebSocket/,
    ...machine("without WebSocket"),
  },
  "this machine has no gateway": {
    code: "GATEWAY_NONE",
    summary: /^This machine has no default gateway.*Next: Plug in the cable/,
    make: (home) => home.on("edge", "ip route del default"),
    async mend(home) {
      await home.on("edge", `ip route replace default via ${LAN.router}`);
      await home.untilRouter("all is mapped again", allMapped);
      await updateDdns(home);
    },
    brings: ["ROUTER_NONE", "ROUTER_SILENT", "DDNS_FAILING", "ROUTER_PORT_SILENT"],
  },
  "the router answers no questions": {
    code: "ROUTER_SILENT",
    summary: /^The router 192\.168\.77\.1 does not answer .*Next: Turn on UPnP/,
    async make(home) {
      await home.lab.router.silence();
      await home.untilRouter("it is noticed", ({ error }) => error !== null);
    },
    async mend(home) {
      await home.lab.router.reboot();
      await home.untilRouter("all is mapped again", allMapped);
    },
    brings: ["OUTSIDE_CLOSED"],
  },
  "the provider has a NAT for everybody": {
    code: "CGNAT",
    summary: /^The router's outside address 100\.64\.0\.77 is shared by the provider/,
    ...wan("cgnat"),
    brings: ["DNS_STALE", "OUTSIDE_CLOSED", "DDNS_FAILING"],
  },
  "another router stands in front": {
    code: "DOUBLE_NAT",
    summary: /^The router's outside address 192\.168\.1\.77 is private.*forward 443 and 80 there to 192\.168\.1\.77/,
    ...wan("private"),
    brings: ["DNS_STALE", "OUTSIDE_CLOSED", "DDNS_FAILING"],
  },
  "the provider lets the home out by another address": {
    code: "WAN_DIFFERS",
    summary: /^The router says that its address is 5\.6\.7\.77; the world sees 1\.2\.3\.1/,
    make: (home) => home.lab.setCarrierNat(true),
    async mend(home) {
      await home.lab.setCarrierNat(false);
      await home.on("router", "conntrack -F");
      await updateDdns(home);
    },
    brings: ["DNS_STALE", "OUTSIDE_CLOSED", "DDNS_FAILING"],
  },
  "DuckDNS is out of order while the name is wrong": {
    code: "DDNS_FAILING",
    summary: /^DuckDNS could not be told the address of myhome\.duckdns\.org/i,
    async make(home) {
      home.lab.services?.setDuckFault("html");
      await home.duckRecord(STALE);
      await updateDdns(home);
    },
    async mend(home) {
      home.lab.services?.setDuckFault("none");
      await home.duckRecord(WAN.public.router);
      await updateDdns(home);
    },
    brings: ["DNS_STALE"],
  },
  "DuckDNS does not know the token": {
    code: "DDNS_REFUSED",
    summary: /^DuckDNS does not take the address of myhome\.duckdns\.org.*says KO.*gatehouse ddns update/i,
    async make(home) {
      home.lab.services?.setDuckFault("ko");
      await home.duckRecord(STALE);
      await updateDdns(home);
    },
    async mend(home) {
      home.lab.services?.setDuckFault("none");
      await home.duckRecord(WAN.public.router);
      await updateDdns(home);
    },
    brings: ["DNS_STALE"],
  },
  "DNS has the address of last week": {
    code: "DNS_STALE",
    summary:
      /has the address 5\.6\.7\.200 in DNS, and this home has 5\.6\.7\.77\. Next: Set its A record to 5\.6\.7\.77/,
    ...records(`A ${STALE}`),
  },
  "DNS has an inside address": {
    code: "DNS_PRIVATE",
    summary: /which only this network can reach\. Next: Set its A record to 5\.6\.7\.77/,
    ...records(`A ${LAN.edge}`),
  },
  "DNS has no address": {
    code: "DNS_NO_ADDRESS",
    summary: /Make an A record: ha\.example\.org A 5\.6\.7\.77/,
    ...records(),
  },
  "DNS has another machine's IPv6 address": {
    code: "DNS_IPV6_ELSEWHERE",
    summary: /Set its AAAA record to 2a00:1:77::10/,
    ...records(WELL, `AAAA ${LAN.client6}`),
  },
  "a CAA record forbids every CA": {
    code: "CAA_FORBIDS",
    summary: /^CAA of ha\.example\.org allows no CA at all to sign/,
    ...records(WELL, 'CAA 0 issue ";"'),
  },
  "port 80 leads to another machine": {
    code: "ACME_PATH_SHADOWED",
    summary: /^Another web server answers at 5\.6\.7\.77:80.*Forward port 80 of the router to port 80 of this machine/,
    make: (home) => home.lab.router.setShadow({ protocol: "tcp", port: 80, to: LAN.target, toPort: 80 }),
    mend: (home) => home.lab.router.setShadow(undefined),
  },
  "the provider blocks port 80": {
    code: "OUTSIDE_CLOSED",
    summary: /^From outside, port 80 of 5\.6\.7\.77 does not open .*the provider keeps it out/,
    make: (home) => home.lab.blockPorts([80]),
    mend: (home) => home.lab.blockPorts([]),
  },
  "the provider blocks port 443": {
    code: "OUTSIDE_CLOSED",
    summary: /^From outside, port 443 of 5\.6\.7\.77 does not open/,
    make: (home) => home.lab.blockPorts([443]),
    mend: (home) => home.lab.blockPorts([]),
  },
  "the CA has to be left alone": {
    code: "RATE_LIMIT_REACHED",
    summary: /^The CA is not asked for ha\.example\.org now: .*Next allowed at 20/,
    async make(home) {
      const until = Date.now() + 3_600_000;
      const holds = { ca: { until, why: "it said: too many certificates already issued" } };
      await writeFile(await ledgerOf(home), JSON.stringify({ version: 1, buckets: {}, holds }));
    },
    mend: async (home) => rm(await ledgerOf(home)),
  },
  "the router has no loopback": {
    code: "LOOPBACK_MISSING",
    summary: /no loopback.*let the DNS at home answer 192\.168\.77\.10/,
    make: (home) => home.lab.router.setLoopback(false),
    mend: (home) => home.lab.router.setLoopback(true),
  },
  "the router hides who comes": {
    code: "CLIENTS_HIDDEN",
    summary: /^Who comes from the internet seems to be 192\.168\.77\.1, the router/,
    make: (home) => home.lab.router.setMasquerade(true),
    mend: (home) => home.lab.router.setMasquerade(false),
  },
  "IPv6 is dead and the name has it": {
    code: "IPV6_DEAD",
    summary: /nothing outside is reached by it .*Remove the AAAA record of ha\.example\.org/,
    async make(home) {
      await home.lab.setIpv6(false);
      await home.records(WELL, `AAAA ${LAN.edge6}`);
    },
    async mend(home) {
      await home.lab.setIpv6(true);
      await home.records(WELL);
    },
  },
} satisfies Record<string, Fault>;

async function ledgerOf(home: Home): Promise<string> {
  const folder = join(home.file, "../state/acme");
  const [ca = ""] = await readdir(folder);
  return join(folder, ca, "ledger.json");
}

export type FaultName = keyof typeof FAULTS;

/** The one that is named first stands first: errors before warnings, then from the inside out. */
export const PAIRS: readonly (readonly [FaultName, FaultName])[] = [
  ["one site is written wrong", "the clock is an hour ahead"],
  ["the file cannot be taken", "the target is off"],
  ["a packet filter of this machine keeps 443 shut", "the target's cable is pulled"],
  ["Gatehouse is gone", "the CA has to be left alone"],
  ["the target takes connections and says nothing", "DNS has an inside address"],
  ["the target speaks TLS", "a CAA record forbids every CA"],
  ["Home Assistant does not trust this machine", "the router has no loopback"],
  ["Home Assistant's WebSocket is kept away", "the provider blocks port 80"],
  ["this machine has no gateway", "the target answers with errors"],
  ["the router answers no questions", "DNS has the address of last week"],
  ["a CAA record forbids every CA", "the provider blocks port 443"],
  ["the provider has a NAT for everybody", "DNS has no address"],
  ["another router stands in front", "DNS has another machine's IPv6 address"],
  ["the provider lets the home out by another address", "DuckDNS does not know the token"],
  ["DuckDNS is out of order while the name is wrong", "port 80 leads to another machine"],
  ["the router has no loopback", "the router hides who comes"],
  ["the target is off", "IPv6 is dead and the name has it"],
];
