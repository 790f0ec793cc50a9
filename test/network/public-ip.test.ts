/**
 * Which address the world sees: the verdict as cases, the asking in the lab.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { judge, type PublicAddress } from "../../src/network/public-ip.ts";
import { needsLab, startLab } from "../lab/lab.ts";
import { LAN, OUTSIDE, WAN, type Wan } from "../lab/plan.ts";
import type { Look } from "./outside.ts";

const PROGRAM = new URL("./outside.ts", import.meta.url).pathname;

const cases: [
  router: string | undefined,
  seen: string[],
  ipv4: string | undefined,
  from: string | undefined,
  nat: string,
][] = [
  ["5.6.7.8", ["5.6.7.8", "5.6.7.8"], "5.6.7.8", "router", "none"],
  ["5.6.7.8", [], "5.6.7.8", "router", "unknown"],
  ["5.6.7.8", ["9.9.9.9"], "5.6.7.8", "router", "unknown"],
  ["5.6.7.8", ["9.9.9.9", "9.9.9.9"], "9.9.9.9", "witnesses", "different"],
  ["100.64.0.9", ["9.9.9.9", "9.9.9.9"], "9.9.9.9", "witnesses", "shared"],
  ["100.64.0.9", [], undefined, undefined, "shared"],
  ["192.168.1.2", ["9.9.9.9", "9.9.9.9", "8.8.8.8"], "9.9.9.9", "witnesses", "private"],
  [undefined, ["9.9.9.9", "9.9.9.9"], "9.9.9.9", "witnesses", "unknown"],
  [undefined, ["9.9.9.9"], undefined, undefined, "unknown"],
  [undefined, ["9.9.9.9", "9.9.9.9", "8.8.8.8", "8.8.8.8"], undefined, undefined, "unknown"],
  [undefined, ["10.0.0.1", "10.0.0.1"], undefined, undefined, "unknown"],
  [undefined, ["2a00::1", "2a00::1"], undefined, undefined, "unknown"],
];

for (const [router, seen, ipv4, from, nat] of cases) {
  test(`the router says ${router ?? "nothing"} and witnesses say ${seen.join(", ") || "nothing"}: ${ipv4 ?? "unknown"}, NAT ${nat}`, () => {
    const answers = seen.map((address, at) => ({ witness: String(at), address, error: undefined }));
    assert.deepEqual(judge(router, answers), { ipv4, from, nat });
  });
}

const homes: [wan: Wan, nat: string, ipv4: string][] = [
  ["public", "none", WAN.public.router],
  ["cgnat", "shared", OUTSIDE.isp],
  ["private", "private", OUTSIDE.isp],
];

for (const [wan, nat, ipv4] of homes) {
  test(
    `witnesses by HTTPS and DNS are asked from a home with a ${wan} address, and one that fails is named`,
    { skip: needsLab({ services: true }) },
    async (t) => {
      const lab = await startLab(t, { wan, services: true });
      const look: Look = {
        routerAddress: WAN[wan].router,
        caFile: lab.services?.caFile ?? "",
        witnesses: [
          { kind: "https", url: "https://ip-a.example.net/" },
          { kind: "dns", server: OUTSIDE.witness, name: "whoami.example.net" },
          { kind: "https", url: "https://ip-c.example.net/" },
          { kind: "https", url: "https://www.duckdns.org/" },
        ],
      };
      const { stdout, stderr } = await lab.run("edge", process.execPath, [PROGRAM, JSON.stringify(look)]);
      assert.match(stdout, /^\{/, stderr);
      const found = JSON.parse(stdout) as PublicAddress;
      assert.deepEqual([found.ipv4, found.nat, found.ipv6], [ipv4, nat, LAN.edge6]);
      const failures = found.answers.filter((one) => one.error !== undefined).map((one) => one.witness);
      assert.deepEqual(failures, ["https://ip-c.example.net/", "https://www.duckdns.org/"]);
    },
  );
}
