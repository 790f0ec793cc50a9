/**
 * A home at DuckDNS whose address changes: the whole program in the lab, with a router, witnesses and the zone.
 */
import assert from "node:assert/strict";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Lab, type LabOptions, needsLab, startLab } from "../lab/lab.ts";
import { LAN, OUTSIDE, WAN } from "../lab/plan.ts";
import type { LabProgram } from "../lab/programs.ts";
import { DUCK, type LabServices } from "../lab/services.ts";
import { configText } from "../support/gatehouse.ts";

const MAIN = join(import.meta.dirname, "../../src/cli/main.ts");
const NAMES = DUCK.domains.map((name) => `${name}.duckdns.org`);
/** A little more than `check`. */
const FOLLOWS_WITHIN_MS = 20_000;

interface Home {
  lab: Lab;
  services: LabServices;
  gatehouse: LabProgram;
  /** Waits for a condition on what the world gets for a name. */
  worldGets(name: string, type: "A" | "AAAA", address: string, withinMs: number): Promise<void>;
  ddns(verb: "status" | "update"): Promise<{ code: number | null; json: Record<string, unknown> }>;
  statusText(): Promise<string>;
}

interface HomeOptions extends Pick<LabOptions, "speaks"> {
  witnesses?: readonly string[];
  check?: string;
  more?: string;
}

const WITNESSES = [
  "https://ip-a.example.net/",
  "https://ip-b.example.net/",
  `dns://${OUTSIDE.witness}/whoami-a.example.net`,
];

async function startHome(t: TestContext, options: HomeOptions = {}): Promise<Home> {
  const { speaks = [], witnesses = WITNESSES, check = "10s", more = "" } = options;
  const lab = await startLab(t, { services: true, speaks });
  const { services } = lab;
  assert.ok(services);
  const folder = join(lab.folder, "edge");
  await mkdir(folder);
  const [file, token] = [join(folder, "gatehouse.yaml"), join(folder, "token")];
  await writeFile(token, DUCK.token);
  await chmod(token, 0o600);
  await writeFile(
    file,
    configText(
      folder,
      `duckdns: { token: "file:${token}" }
ddns:
  names: [${NAMES.join(", ")}]
  ipv6: auto
  check: ${check}
  witnesses: ${JSON.stringify(witnesses)}
dns: { propagation: 10s }
sites: { home.localhost: demo }
${more}`,
    ),
  );
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: services.caFile, NO_COLOR: "1" };
  const program = ["--disable-warning=DEP0060", MAIN];
  const start = [...program, "run", "--config", file];
  const gatehouse = await lab.start("edge", process.execPath, start, { ready: /"edge\.ready"/, env });
  const cli = (...verb: string[]) =>
    lab.run("edge", process.execPath, [...program, ...verb, "--config", file], { env, withinMs: 70_000 });
  return {
    lab,
    services,
    gatehouse,
    async worldGets(name, type, address, withinMs) {
      const right = new RegExp(`"event":"ddns\\.right","name":"${name}"[^\n]*"${address}"`);
      await gatehouse.wrote(right, withinMs);
      const { stdout } = await lab.run("world", "dig", ["+short", "+tries=1", "+time=5", name, type]);
      assert.equal(stdout.trim(), address, `${name} ${type}\n${gatehouse.log()}`);
    },
    async ddns(verb) {
      const { code, stdout } = await cli("ddns", verb, "--json");
      return { code, json: JSON.parse(stdout) as Record<string, unknown> };
    },
    statusText: async () => (await cli("ddns", "status")).stdout,
  };
}

test(
  "names at DuckDNS follow the home's address, and DuckDNS hears of it once",
  { skip: needsLab({ services: true }) },
  async (t) => {
    const home = await startHome(t);
    const { router } = home.lab;
    const mine = home.services.duckCalls;
    for (const name of NAMES) {
      await home.worldGets(name, "A", WAN.public.router, 20_000);
      await home.worldGets(name, "AAAA", LAN.edge6, 5_000);
    }
    await router.setWanAddress(WAN.public.next);
    for (const name of NAMES) await home.worldGets(name, "A", WAN.public.next, FOLLOWS_WITHIN_MS);
    const { code, json } = await home.ddns("status");
    assert.equal(code, 0);
    const { names, address } = json as {
      names: { name: string; state: string; wanted: object }[];
      address: { ipv4: string; from: string };
    };
    assert.deepEqual([address.ipv4, address.from], [WAN.public.next, "witnesses"]);
    for (const one of names) assert.deepEqual(one.wanted, { ipv4: WAN.public.next, ipv6: LAN.edge6 });
    const text = await home.statusText();
    assert.match(text, /Public IPv4 +5\.6\.7\.99 \(from the witnesses\)/);
    assert.match(text, /myhome\.duckdns\.org +duckdns +right +5\.6\.7\.99, 2a00:1:77::10 +5\.6\.7\.99, 2a00:1:77::10/);
    assert.equal(mine.length, 2 * NAMES.length, JSON.stringify(mine));
    for (const { query, from } of mine) {
      assert.equal(query["ipv6"], LAN.edge6);
      assert.equal(query["verbose"], "true");
      assert.ok(query["ip"] === WAN.public.router || query["ip"] === WAN.public.next, from);
    }
    assert.doesNotMatch(home.gatehouse.log(), new RegExp(DUCK.token));
  },
);

test(
  "while DuckDNS is out of order it is asked a few times, and a person's request brings the names home",
  { skip: needsLab({ services: true }) },
  async (t) => {
    const home = await startHome(t, { check: "1d" });
    for (const one of NAMES) await home.worldGets(one, "A", WAN.public.router, 20_000);
    home.services.setDuckFault("html");
    const before = home.services.duckCalls.length;
    await home.lab.router.setWanAddress(WAN.public.next);
    assert.equal((await home.ddns("update")).code, 75);
    const failing = await home.statusText();
    assert.match(failing, /failing .*5\.6\.7\.99.*5\.6\.7\.77/);
    assert.match(failing, /DuckDNS answered <!doctype html>/);
    assert.equal(home.services.duckCalls.length - before, NAMES.length, "not again within a minute");
    for (const fault of ["empty", "404"] as const) {
      home.services.setDuckFault(fault);
      assert.equal((await home.ddns("update")).code, 75, fault);
    }
    home.services.setDuckFault("none");
    assert.equal((await home.ddns("update")).code, 0);
    for (const one of NAMES) await home.worldGets(one, "A", WAN.public.next, 30_000);
    assert.doesNotMatch(home.gatehouse.log(), new RegExp(DUCK.token));
  },
);

test(
  "the router's word is enough, and is noticed long before witnesses would be asked",
  { skip: needsLab({ services: true }) },
  async (t) => {
    const home = await startHome(t, {
      speaks: ["nat-pmp"],
      witnesses: [],
      check: "1d",
      more: "router: { map: nat-pmp, check: 5s }\n",
    });
    const [name = ""] = NAMES;
    await home.worldGets(name, "A", WAN.public.router, 30_000);
    await home.lab.router.setWanAddress(WAN.public.next);
    await home.worldGets(name, "A", WAN.public.next, 30_000);
    const { address } = (await home.ddns("status")).json as { address: { from: string } };
    assert.equal(address.from, "router");
  },
);
