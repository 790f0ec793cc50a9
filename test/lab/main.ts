/**
 * `npm run lab`: a small internet to walk around in, until Ctrl-C.
 * Owns: its arguments, the list of doors, the switches typed at it.
 * Never: leaves anything behind.
 */
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { needsLab, startLab, type Lab } from "./lab.ts";
import { HOSTS, LAN, OUTSIDE, WAN, type HostName, type Wan } from "./plan.ts";
import type { RouterSpeaks } from "./router.ts";
import { DUCK } from "./services.ts";

const SPEAKS: readonly RouterSpeaks[] = ["pcp", "nat-pmp", "igd1", "igd2"];
const usage = `npm run lab -- [--wan public|cgnat|private] [--speaks pcp,nat-pmp,igd1,igd2|none] [--bare]

  --wan     what the provider gives the router (public)
  --speaks  what the router can be asked by (pcp,nat-pmp,igd2)
  --bare    without bind9, pebble, DuckDNS and the witnesses
`;

const say = (text: string): void => void process.stdout.write(text);

const { values } = parseArgs({
  options: {
    wan: { type: "string", default: "public" },
    speaks: { type: "string", default: "pcp,nat-pmp,igd2" },
    bare: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
const isWan = (text: string): text is Wan => text in WAN;
const speaks = values.speaks === "none" ? [] : values.speaks.split(",");
const isSpoken = (list: readonly string[]): list is readonly RouterSpeaks[] =>
  list.every((one) => (SPEAKS as readonly string[]).includes(one));
if (values.help || !isWan(values.wan) || !isSpoken(speaks)) {
  say(usage);
  process.exit(values.help ? 0 : 64);
}
const options = { wan: values.wan, speaks, services: !values.bare };
const missing = needsLab(options);
if (missing !== false) {
  say(`lab: ${missing}\n`);
  process.exit(69);
}

const addresses: Record<HostName, string> = {
  isp: `${OUTSIDE.isp}, ${WAN[values.wan].isp}`,
  world: OUTSIDE.world,
  services: OUTSIDE.services,
  router: `${LAN.router}, ${WAN[values.wan].router}`,
  edge: LAN.edge,
  target: LAN.target,
  client: LAN.client,
};

const switches: Record<string, { about: string; act(lab: Lab, word: string): Promise<void> }> = {
  loopback: { about: "on|off", act: (lab, word) => lab.router.setLoopback(word === "on") },
  block: {
    about: "80,443|none   inbound at the provider",
    act: (lab, word) => lab.blockPorts(word === "none" ? [] : word.split(",").map(Number)),
  },
  ipv6: { about: "alive|dead", act: (lab, word) => lab.setIpv6(word !== "dead") },
  loss: { about: "PERCENT       at the provider, each way", act: (lab, word) => lab.setLoss(Number(word)) },
  wan: { about: "ADDRESS       the router's next one", act: (lab, word) => lab.router.setWanAddress(word) },
  forward: {
    about: "tcp/443=8443  by hand, to the edge",
    async act(lab, word) {
      const [, protocol, port, toPort] = /^(tcp|udp)\/(\d+)=(\d+)$/.exec(word) ?? [];
      if (protocol !== "tcp" && protocol !== "udp") return;
      await lab.router.forwardByHand([{ protocol, port: Number(port), to: LAN.edge, toPort: Number(toPort) }]);
    },
  },
  reboot: { about: "              the router forgets its mappings", act: (lab) => lab.router.reboot() },
  silence: { about: "              the router answers no questions", act: (lab) => lab.router.silence() },
};

const lab = await startLab(undefined, options);
const doors = HOSTS.map((host) => `  ${host.padEnd(9)}${addresses[host].padEnd(26)}${lab.inside(host).join(" ")} bash`);
say(`The lab stands. Enter a host with:\n${doors.join("\n")}\n`);
if (lab.services !== undefined) {
  say(`DuckDNS: domains ${DUCK.domains.join(", ")}, token ${DUCK.token}\n`);
  say(`CA of everything outside: ${lab.services.caFile}\nACME: ${lab.services.acmeDirectory ?? "needs pebble"}\n`);
}
say("Switches, typed here:\n");
for (const [name, { about }] of Object.entries(switches)) say(`  ${name.padEnd(9)}${about}\n`);
say("Ctrl-C removes it all.\n");

const input = createInterface({ input: process.stdin });
const end = async (): Promise<void> => {
  input.close();
  await lab.stop();
  process.exit(0);
};
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void end());
input.once("SIGINT", () => void end());
input.on("line", (line) => {
  const [name = "", word = ""] = line.trim().split(/\s+/);
  const one = switches[name];
  if (one === undefined) return;
  one.act(lab, word).then(
    () => say(`${name} ${word}: done\n`),
    (error: unknown) => say(`${name}: ${String(error)}\n`),
  );
});
// Keeps it standing when nothing is typed at it.
setInterval(() => {}, 3_600_000);
