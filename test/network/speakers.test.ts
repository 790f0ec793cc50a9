/**
 * Every protocol against a real router (Debian's miniupnpd in the lab) that speaks nothing else.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { needsLab, startLab, type Lab } from "../lab/lab.ts";
import { LAN, WAN } from "../lab/plan.ts";
import type { RouterSpeaks } from "../lab/router.ts";
import { needs } from "../support/programs.ts";
import type { Ask, Said, Script } from "./inside.ts";

const INSIDE = new URL("./inside.ts", import.meta.url).pathname;
const skip = needsLab();
const secret = "a secret of sixteen";
const port = {
  protocol: "tcp",
  internalPort: 8443,
  externalPort: 443,
  leaseSeconds: 600,
  description: "Gatehouse",
} as const;

async function asks(lab: Lab, by: Script["by"], list: readonly Ask[]) {
  const script: Script = { by, secret, asks: list };
  const { code, stdout, stderr } = await lab.run("edge", process.execPath, [INSIDE, JSON.stringify(script)], {
    withinMs: 60_000,
  });
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as Said[];
}

const codeOf = (said: Said | undefined): string => (said !== undefined && "code" in said ? said.code : "no error");
const valueOf = (said: Said | undefined): Record<string, unknown> => {
  assert.ok(said !== undefined && "value" in said, JSON.stringify(said));
  return said.value as Record<string, unknown>;
};

async function listens(lab: Lab, onPort: number): Promise<void> {
  const code = `require("net").createServer((s) => { s.on("error", () => {}); s.end("hello"); }).listen(${onPort}, "::", () => console.log("ready"))`;
  await lab.start("edge", process.execPath, ["-e", code], { ready: /ready/ });
}

async function answers(lab: Lab, address: string, onPort: number): Promise<boolean> {
  const code = `const s = require("net").connect({ host: "${address}", port: ${onPort} }); s.on("error", () => process.exit(1)); s.setTimeout(1500, () => process.exit(1)); s.on("data", () => process.exit(0))`;
  return (await lab.run("world", process.execPath, ["-e", code])).code === 0;
}

const alone: [name: string, by: Script["by"], speaks: readonly RouterSpeaks[], spoken: string][] = [
  ["PCP", "pcp", ["pcp"], "pcp"],
  ["NAT-PMP", "nat-pmp", ["nat-pmp"], "nat-pmp"],
  ["UPnP IGD v1", "upnp", ["igd1"], "upnp-igd1"],
  ["UPnP IGD v2", "upnp", ["igd2"], "upnp-igd2"],
];

describe("asking a real router", { concurrency: 4 }, () => {
  for (const [name, by, speaks, spoken] of alone) {
    test(`a router that speaks ${name} alone gives a port, renews it and takes it back`, { skip }, async (t) => {
      const lab = await startLab(t, { speaks });
      await listens(lab, 8443);
      const [gateway, state, first, again] = await asks(lab, by, [
        { ask: "gateway" },
        { ask: "state" },
        { ask: "map", port },
        { ask: "map", port },
      ]);
      const { address, ownAddress, ownMac, ipv6 } = valueOf(gateway);
      assert.deepEqual([address, ownAddress], [LAN.router, LAN.edge]);
      assert.match(String(ownMac), /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
      assert.deepEqual(ipv6, { address: LAN.router6, ownAddress: LAN.edge6 });
      assert.equal(valueOf(state)["speaks"], spoken);
      if (by !== "pcp") assert.equal(valueOf(state)["externalAddress"], WAN.public.router);
      for (const granted of [first, again]) {
        assert.equal(valueOf(granted)["externalPort"], 443);
        const lease = Number(valueOf(granted)["leaseSeconds"]);
        assert.ok(lease > 590 && lease <= 600, `a lease of ${lease} s`);
      }
      assert.ok(await answers(lab, WAN.public.router, 443), "the world comes in");
      // The second process has another life but the same secret, as Gatehouse after a restart.
      const [, gone] = await asks(lab, by, [
        { ask: "map", port },
        { ask: "unmap", port, externalPort: 443 },
      ]);
      assert.equal(valueOf(gone), null);
      assert.equal(await answers(lab, WAN.public.router, 443), false, "and no more");
    });
  }

  test("upnpc sees what was mapped by UPnP and by PCP", { skip: skip || needs("upnpc", "miniupnpc") }, async (t) => {
    const lab = await startLab(t, { speaks: ["igd1", "pcp"] });
    await asks(lab, "upnp", [{ ask: "map", port }]);
    await asks(lab, "pcp", [
      { ask: "map", port: { ...port, protocol: "udp", internalPort: 51_820, externalPort: 51_820 } },
    ]);
    const { stdout } = await lab.run("client", "upnpc", ["-l"]);
    assert.match(stdout, /TCP\s+443->192\.168\.77\.10:8443\s+'Gatehouse'/);
    assert.match(stdout, /UDP 51820->192\.168\.77\.10:51820/);
  });

  test("natpmpc renews a mapping that we made by NAT-PMP", { skip: skip || needs("natpmpc") }, async (t) => {
    const lab = await startLab(t, { speaks: ["nat-pmp"] });
    await asks(lab, "nat-pmp", [{ ask: "map", port }]);
    const own = await lab.run("edge", "natpmpc", ["-g", LAN.router, "-a", "443", "8443", "tcp", "300"]);
    assert.match(own.stdout, /Mapped public port 443 protocol TCP to local port 8443/);
    const other = await lab.run("client", "natpmpc", ["-g", LAN.router, "-a", "443", "443", "tcp", "300"]);
    assert.doesNotMatch(other.stdout, /Mapped public port 443 /, "nobody else gets it");
  });

  test(
    "a port that another machine has is not taken away, and UPnP says who has it",
    { skip: skip || needs("upnpc", "miniupnpc") },
    async (t) => {
      const lab = await startLab(t, { speaks: ["igd2", "pcp", "nat-pmp"] });
      await lab.run("client", "upnpc", ["-e", "games console", "-a", LAN.client, "443", "443", "TCP", "600"]);
      const [upnp] = await asks(lab, "upnp", [{ ask: "map", port }]);
      assert.equal(codeOf(upnp), "GATEHOUSE_ROUTER_CONFLICT");
      assert.match(JSON.stringify(upnp), /192\.168\.77\.30:443.*games console/);
      for (const by of ["pcp", "nat-pmp"] as const) {
        const [said] = await asks(lab, by, [{ ask: "map", port }]);
        const isOther = said !== undefined && "value" in said && valueOf(said)["externalPort"] !== 443;
        assert.ok(isOther || codeOf(said).startsWith("GATEHOUSE_ROUTER_"), `${by}: ${JSON.stringify(said)}`);
      }
      const { stdout } = await lab.run("client", "upnpc", ["-l"]);
      assert.match(stdout, / 443->192\.168\.77\.30:443 /);
    },
  );

  const pinholes: [name: string, by: Script["by"], speaks: readonly RouterSpeaks[]][] = [
    ["PCP", "pcp-ipv6", ["pcp"]],
    ["UPnP IGD v2", "upnp-ipv6", ["igd2"]],
  ];

  for (const [name, by, speaks] of pinholes) {
    test(`a router's IPv6 firewall lets one port in when asked by ${name}`, { skip }, async (t) => {
      const lab = await startLab(t, { speaks });
      await listens(lab, 8443);
      assert.equal(await answers(lab, LAN.edge6, 8443), false);
      const hole = { ...port, externalPort: 8443 };
      const [granted, again] = await asks(lab, by, [
        { ask: "map", port: hole },
        { ask: "map", port: hole },
      ]);
      assert.equal(valueOf(granted)["externalAddress"], LAN.edge6);
      assert.equal(valueOf(again)["externalPort"], 8443);
      assert.ok(await answers(lab, LAN.edge6, 8443));
    });
  }

  test("a router on a shared address refuses, and the refusal says so", { skip }, async (t) => {
    const lab = await startLab(t, { wan: "cgnat", speaks: ["igd2"] });
    const [state, mapped] = await asks(lab, "upnp", [{ ask: "state" }, { ask: "map", port }]);
    // miniupnpd tells no address then; others tell 100.64.0.77.
    assert.ok(["no error", "GATEHOUSE_ROUTER_REFUSED"].includes(codeOf(state)));
    assert.equal(codeOf(mapped), "GATEHOUSE_ROUTER_REFUSED");
  });

  test("a router that speaks nothing is silent to each protocol", { skip }, async (t) => {
    const lab = await startLab(t, { speaks: [] });
    await Promise.all(
      (["pcp", "nat-pmp", "upnp"] as const).map(async (by) => {
        const [said] = await asks(lab, by, [{ ask: "state" }]);
        assert.equal(codeOf(said), "GATEHOUSE_ROUTER_SILENT", by);
      }),
    );
  });
});
