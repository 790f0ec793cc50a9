/**
 * The whole Gatehouse behind a real router (Debian's miniupnpd in the lab): are the ports led here, and do they stay?
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { describe, test, type TestContext } from "node:test";
import { needsLab, startLab, type Lab } from "../lab/lab.ts";
import { LAN, WAN } from "../lab/plan.ts";
import type { RouterSpeaks } from "../lab/router.ts";
import { runCli, startGatehouse, temporaryFolder, type RunningGatehouse } from "../support/gatehouse.ts";
import { needs } from "../support/programs.ts";

const skip = needsLab();
const ALL: readonly RouterSpeaks[] = ["pcp", "nat-pmp", "igd2"];

const configOf = (folder: string, router: string, listen = '{ https: ":443", http: ":80" }'): string =>
  `listen: ${listen}
state: ${folder}/state
admin: ${folder}/a.sock
metrics: { listen: "127.0.0.1:0" }
acme: { ca: local }
${router === "" ? "" : `router: ${router}\n`}sites: { home.example.org: demo }
`;

async function home(t: TestContext, lab: Lab, router: string, listen?: string): Promise<RunningGatehouse> {
  const folder = await temporaryFolder(t);
  return startGatehouse(t, { folder, config: configOf(folder, router, listen), inside: lab.inside("edge") });
}

/**
 * Does the world get through to Gatehouse at the WAN address?
 * @param withinSeconds  for a no, a moment; a yes is waited for on a busy machine
 */
async function isOpen(lab: Lab, address: string, port: number, withinSeconds = 15): Promise<boolean> {
  const dial = `exec 3<>/dev/tcp/${address}/${port}`;
  return (await lab.run("world", "timeout", [String(withinSeconds), "bash", "-c", dial])).code === 0;
}

const isShut = async (lab: Lab, address: string, port: number): Promise<boolean> =>
  !(await isOpen(lab, address, port, 2));

/** A router without the mapping refuses at once, and nothing tells the world when it has it again: the world asks on. */
async function opens(lab: Lab, address: string, port: number): Promise<boolean> {
  const dial = `until (exec 3<>/dev/tcp/${address}/${port}) 2>/dev/null; do sleep 0.3; done`;
  return (await lab.run("world", "timeout", ["120", "bash", "-c", dial])).code === 0;
}

interface Port {
  name: string;
  family: string;
  externalPort: number;
  internalPort: number;
  state: string;
  repairs: number;
  error: { code: string; message: string } | null;
}

interface Status {
  map: string;
  gateway: { address: string } | null;
  speaks: string | null;
  externalAddress: string | null;
  externalKind: string | null;
  ports: Port[];
  error: { code: string } | null;
}

async function status(gatehouse: RunningGatehouse): Promise<Status> {
  const { code, stdout, stderr } = await gatehouse.cli("router", "status", "--json");
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as Status;
}

const mapped = (gatehouse: RunningGatehouse, port: number, family = "ipv4", withinMs?: number) =>
  gatehouse.line("router.mapped", (line) => line["port"] === port && line["family"] === family, withinMs);

const count = (gatehouse: RunningGatehouse, event: string): number =>
  gatehouse.lines.filter((line) => line.event === event).length;

/** Resolves once this was said of this port so many times. */
async function saidTimes(gatehouse: RunningGatehouse, event: string, port: number, times: number): Promise<void> {
  const isIt = (line: Record<string, unknown>): boolean => line["port"] === port && line["family"] === "ipv4";
  const enough = () => gatehouse.lines.filter((line) => line.event === event && isIt(line)).length >= times;
  await gatehouse.line(event, enough);
}

describe("Gatehouse and its router", { concurrency: 2 }, () => {
  const alone: [speaks: readonly RouterSpeaks[], spoken: readonly string[]][] = [
    [["pcp"], ["pcp"]],
    [["nat-pmp"], ["nat-pmp"]],
    [["igd1"], ["upnp-igd1"]],
    [["igd2"], ["upnp-igd2"]],
    // The better one is waited for a second: PCP, unless a busy machine loses its first answer.
    [ALL, ["pcp", "nat-pmp"]],
  ];

  for (const [speaks, spoken] of alone) {
    test(
      `auto finds a router that speaks ${speaks.join(", ")}, opens both ports, and gives them back at the end`,
      { skip },
      async (t) => {
        const lab = await startLab(t, { speaks });
        const gatehouse = await home(t, lab, "{ map: auto, unmap: true }");
        await Promise.all([mapped(gatehouse, 443), mapped(gatehouse, 80)]);
        assert.ok(await isOpen(lab, WAN.public.router, 80));
        assert.ok(await isOpen(lab, WAN.public.router, 443));
        const seen = await status(gatehouse);
        assert.ok(spoken.includes(seen.speaks ?? ""), `it speaks ${seen.speaks}`);
        assert.deepEqual([seen.externalAddress, seen.externalKind], [WAN.public.router, "public"]);
        const ours = seen.ports.filter((port) => port.family === "ipv4");
        assert.deepEqual(
          ours.map((port) => [port.name, port.externalPort, port.internalPort, port.state]),
          [
            ["https", 443, 443, "mapped"],
            ["http", 80, 80, "mapped"],
          ],
        );
        assert.equal(await gatehouse.stop(), 0, JSON.stringify(gatehouse.lines.slice(-8)));
        assert.ok(await isShut(lab, WAN.public.router, 80));
        assert.ok(count(gatehouse, "router.unmapped") >= 2, JSON.stringify(gatehouse.lines.slice(-8)));
      },
    );
  }

  test("the IPv6 firewall is opened as well, by PCP", { skip }, async (t) => {
    const lab = await startLab(t, { speaks: ["pcp"] });
    assert.ok(await isShut(lab, LAN.edge6, 443));
    const gatehouse = await home(t, lab, "{ map: auto }");
    await mapped(gatehouse, 443, "ipv6");
    assert.ok(await isOpen(lab, LAN.edge6, 443));
  });

  const forgetful: [speaks: readonly RouterSpeaks[], how: string][] = [
    [["pcp"], "its announcement or its clock"],
    [["nat-pmp"], "its announcement or its clock"],
    [["igd1"], "asking who has the port"],
  ];
  for (const [speaks, how] of forgetful) {
    test(
      `a router that speaks ${speaks.join()} and restarted is noticed by ${how}, and has the ports again`,
      { skip },
      async (t) => {
        const lab = await startLab(t, { speaks });
        const gatehouse = await home(t, lab, "{ map: auto }");
        await Promise.all([mapped(gatehouse, 443), mapped(gatehouse, 80)]);
        await lab.router.reboot();
        assert.ok(await opens(lab, WAN.public.router, 80));
        assert.ok(await opens(lab, WAN.public.router, 443));
      },
    );
  }

  test(
    "a router that restarts again and again within a moment has the ports again after each time",
    { skip },
    async (t) => {
      const lab = await startLab(t, { speaks: ["pcp"] });
      const gatehouse = await home(t, lab, "{ map: auto }");
      await Promise.all([mapped(gatehouse, 443), mapped(gatehouse, 80)]);
      for (const time of ["first", "second", "third"]) {
        await lab.router.reboot();
        assert.ok(await opens(lab, WAN.public.router, 443), time);
      }
    },
  );

  test("a new WAN address is noticed and the ports stay open", { skip }, async (t) => {
    const lab = await startLab(t, { speaks: ["nat-pmp", "igd1"] });
    const gatehouse = await home(t, lab, "{ map: auto, check: 5s }");
    await Promise.all([mapped(gatehouse, 443), mapped(gatehouse, 80)]);
    await lab.router.setWanAddress(WAN.public.next);
    await gatehouse.line("router.address", (line) => line["address"] === WAN.public.next);
    assert.ok(await isOpen(lab, WAN.public.next, 80));
  });

  test(
    "a mapping that somebody removed is made again, one that somebody took over is left to them and named",
    { skip: skip || needs("upnpc", "miniupnpc") },
    async (t) => {
      const lab = await startLab(t, { speaks: ["igd1"] });
      const gatehouse = await home(t, lab, "{ map: upnp, check: 5s }");
      await Promise.all([mapped(gatehouse, 443), mapped(gatehouse, 80)]);
      await lab.run("edge", "upnpc", ["-d", "80", "TCP"]);
      await gatehouse.line("router.drift", (line) => line["port"] === 80);
      await saidTimes(gatehouse, "router.mapped", 80, 2);
      // In one go, so that no check comes in between.
      const swap = `upnpc -d 443 TCP; upnpc -e console -a ${LAN.edge} 9 443 TCP 600`;
      await lab.run("edge", "sh", ["-c", swap]);
      const refused = await gatehouse.line("router.refused", (line) => line["port"] === 443);
      assert.match(String(refused["reason"]), /192\.168\.77\.10:9 \("console"\)/);
      const port = (await status(gatehouse)).ports.find((one) => one.externalPort === 443);
      assert.deepEqual([port?.state, port?.error?.code], ["conflict", "GATEHOUSE_ROUTER_CONFLICT"]);
    },
  );

  test(
    "a router that gives another port than the one asked for gets it back, and it is said",
    { skip: skip || needs("upnpc", "miniupnpc") },
    async (t) => {
      const lab = await startLab(t, { speaks: ["nat-pmp", "igd1"] });
      await lab.run("client", "upnpc", ["-a", LAN.client, "443", "443", "TCP", "600"]);
      const gatehouse = await home(t, lab, "{ map: nat-pmp }");
      await mapped(gatehouse, 80);
      await gatehouse.line("router.refused", (line) => line["port"] === 443);
      const { stdout } = await lab.run("client", "upnpc", ["-l"]);
      assert.match(stdout, / 443->192\.168\.77\.30:443 /);
      assert.doesNotMatch(stdout, /->192\.168\.77\.10:443 /, "what was given instead is given back");
    },
  );

  test("a reload takes and leaves ports, and off gives everything back", { skip }, async (t) => {
    const lab = await startLab(t);
    const gatehouse = await home(t, lab, "{ map: auto }");
    await Promise.all([mapped(gatehouse, 443), mapped(gatehouse, 80)]);
    const rewrite = async (router: string, listen?: string) => {
      await writeFile(gatehouse.configFile, configOf(gatehouse.folder, router, listen));
      assert.equal((await gatehouse.cli("reload")).code, 0);
    };
    await rewrite("{ map: auto }", '{ https: ":8443", http: ":80" }');
    await gatehouse.line("router.mapped", (line) => line["to"] === 8443);
    assert.ok(await isOpen(lab, WAN.public.router, 443));
    const given = [saidTimes(gatehouse, "router.unmapped", 443, 2), saidTimes(gatehouse, "router.unmapped", 80, 1)];
    await rewrite("", '{ https: ":8443", http: ":80" }');
    await Promise.all(given);
    assert.ok(await isShut(lab, WAN.public.router, 443));
    assert.ok(await isShut(lab, WAN.public.router, 80));
    assert.equal((await status(gatehouse)).map, "off");
  });

  test(
    "off, which is the default, sends the router nothing; the checklist is there all the same",
    { skip },
    async (t) => {
      const lab = await startLab(t);
      await lab.router.countQuestions();
      const gatehouse = await home(t, lab, "", '{ https: ":8443", http: ":80" }');
      // The admin socket has no network of its own, but what it tells comes from the one that Gatehouse is in.
      const { code, stdout } = await gatehouse.cli("router", "checklist", "--json");
      assert.equal(code, 0);
      const checklist = JSON.parse(stdout) as Record<string, unknown>;
      assert.equal(checklist["router"], LAN.router);
      assert.deepEqual(checklist["forwards"], [
        { serviceName: "Gatehouse https", portRange: "443", localIp: LAN.edge, localPort: 8443, protocol: "TCP" },
        { serviceName: "Gatehouse http", portRange: "80", localIp: LAN.edge, localPort: 80, protocol: "TCP" },
      ]);
      assert.match(JSON.stringify(checklist["reservation"]), /"mac":"[0-9a-f:]{17}","ip":"192\.168\.77\.10"/);
      assert.deepEqual(await lab.router.countQuestions(), { pcp: 0, natPmp: 0, searches: 0 });
      const text = await runCli(["router", "checklist", "--config", gatehouse.configFile]);
      assert.match(
        text.stdout,
        /SERVICE NAME +PORT RANGE +LOCAL IP +LOCAL PORT +PROTOCOL\nGatehouse https +443 +192\.168\.77\.10 +8443 +TCP\n/,
      );
    },
  );

  test("a router that answers nothing is said to, and asked within bounds", { skip }, async (t) => {
    const lab = await startLab(t, { speaks: ALL });
    await lab.router.loseAnswers(true);
    await lab.router.countQuestions();
    const gatehouse = await home(t, lab, "{ map: auto }");
    const silent = await gatehouse.line("router.silent");
    assert.match(String(silent["reason"]), /PCP, NAT-PMP, UPnP/);
    const { pcp, natPmp, searches } = await lab.router.countQuestions();
    // One look takes ten seconds: PCP at 0 and 3 s, NAT-PMP at 0, 0.25, 0.75, 1.75, 3.75, 7.75 s, two searches of two.
    assert.ok(pcp >= 1 && pcp <= 2, `${pcp} by PCP`);
    assert.ok(natPmp >= 3 && natPmp <= 6, `${natPmp} by NAT-PMP`);
    assert.ok(searches >= 2 && searches <= 4, `${searches} searches`);
    assert.equal((await status(gatehouse)).error?.code, "GATEHOUSE_ROUTER_SILENT");
    await lab.router.loseAnswers(false);
    await Promise.all([mapped(gatehouse, 443, "ipv4", 40_000), mapped(gatehouse, 80, "ipv4", 40_000)]);
  });

  test(
    "a router on a shared address is called one behind another NAT, and its refusals are shown",
    { skip },
    async (t) => {
      const lab = await startLab(t, { wan: "cgnat", speaks: ALL });
      const gatehouse = await home(t, lab, "{ map: auto }");
      await gatehouse.line("router.refused", (line) => line["port"] === 443);
      const { ports } = await status(gatehouse);
      assert.ok(ports.filter((port) => port.family === "ipv4").every((port) => port.state !== "mapped"));
    },
  );

  test("the numbers of the router are there to be scraped", { skip: skip || needs("curl") }, async (t) => {
    const lab = await startLab(t, { speaks: ["pcp"] });
    const gatehouse = await home(t, lab, "{ map: auto }");
    await Promise.all([mapped(gatehouse, 443), mapped(gatehouse, 80)]);
    const { stdout } = await lab.run("edge", "curl", ["-s", `http://127.0.0.1:${gatehouse.metricsPort}/metrics`]);
    assert.match(stdout, /^gatehouse_router_answers 1$/m);
    assert.match(stdout, /^gatehouse_router_port_mapped\{protocol="tcp",port="443",family="ipv4"\} 1$/m);
    assert.match(stdout, /^gatehouse_router_requests_total\{outcome="ok"\} [2-4]$/m);
  });
});
