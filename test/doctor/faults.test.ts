/**
 * A home in the lab: the doctor finds nothing wrong with it, then each fault is the first thing it names.
 */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Lab, needsLab, startLab } from "../lab/lab.ts";
import { LAN, OUTSIDE, WAN } from "../lab/plan.ts";
import type { LabProgram } from "../lab/programs.ts";
import { needs } from "../support/programs.ts";

const MAIN = join(import.meta.dirname, "../../src/cli/main.ts");
const NAME = "ha.example.org";
/** Answers as Home Assistant does (facts: steps 1 to 3), trusting its proxy or not. */
const HOME_ASSISTANT = `require("node:http").createServer((request, answer) => {
  const refused = process.argv[1] === "distrusts" && "x-forwarded-for" in request.headers;
  answer.statusCode = refused ? 400 : 200;
  answer.end(refused ? "400: Bad Request" : "home");
}).listen(8123, () => console.log("ready"));`;
const WITNESSES = `https://ip-a.example.net/,https://ip-b.example.net/,dns://${OUTSIDE.witness}/whoami-a.example.net`;

interface Finding {
  code: string;
  severity: string;
  next: string | null;
  snippets: Record<string, string> | null;
}

interface Report {
  ok: boolean;
  summary: string;
  findings: Finding[];
}

interface Home {
  lab: Lab;
  gatehouse: LabProgram;
  target(trusts: "trusts" | "distrusts" | "off"): Promise<void>;
  /** What the zone says of the name. */
  record(...records: string[]): Promise<void>;
  doctor(): Promise<Report>;
}

async function startHome(t: TestContext): Promise<Home> {
  const lab = await startLab(t, { services: true });
  const { services } = lab;
  assert.ok(services?.acmeDirectory !== undefined);
  const record: Home["record"] = async (...records) => {
    const lines = ["A", "AAAA"].map((type) => `update delete ${NAME} ${type}`);
    lines.push(...records.map((one) => `update add ${NAME} 60 ${one}`));
    const input = [`server ${OUTSIDE.services}`, "zone example.org", ...lines, "send", ""].join("\n");
    const { code, stderr } = await lab.run("services", "nsupdate", ["-k", services.tsigFile], { input });
    assert.equal(code, 0, stderr);
  };
  let inside: LabProgram | undefined;
  const target: Home["target"] = async (how) => {
    await inside?.stop();
    inside = undefined;
    if (how === "off") return;
    inside = await lab.start("target", process.execPath, ["-e", HOME_ASSISTANT, how], { ready: /ready/ });
  };
  await lab.router.setLoopback(true);
  await record(`A ${WAN.public.router}`);
  await target("trusts");
  const folder = join(lab.folder, "edge");
  await mkdir(folder);
  const file = join(folder, "gatehouse.yaml");
  await writeFile(
    file,
    `listen: { https: ":443", http: ":80" }
state: ${join(folder, "state")}
admin: ${join(folder, "a.sock")}
router: { map: auto, check: 5s }
acme: { ca: "${services.acmeDirectory}", caRoots: "file:${services.caFile}", challenge: http-01 }
sites: { ${NAME}: "${LAN.target}:8123" }
`,
  );
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: services.caFile, NO_COLOR: "1" };
  const program = ["--disable-warning=DEP0060", MAIN];
  const start = [...program, "run", "--config", file];
  const gatehouse = await lab.start("edge", process.execPath, start, { ready: /"certificate\.issued"/, env });
  const look = [...program, "doctor", "--config", file, "--json", "--witness", WITNESSES];
  return {
    lab,
    gatehouse,
    target,
    record,
    async doctor() {
      const { stdout, stderr } = await lab.run("edge", process.execPath, look, { env, withinMs: 60_000 });
      assert.notEqual(stdout, "", stderr);
      return JSON.parse(stdout) as Report;
    },
  };
}

const trouble = ({ findings }: Report): string[] =>
  ["error", "warning"].flatMap((wanted) =>
    findings.filter(({ severity }) => severity === wanted).map(({ code }) => code),
  );

interface Fault {
  what: string;
  make(home: Home): Promise<void>;
  mend(home: Home): Promise<void>;
  /** Errors first, each from the inside out; the first is what the first sentence names. */
  codes: string[];
  summary: RegExp;
}

const well = `A ${WAN.public.router}`;
const faults: Fault[] = [
  {
    what: "the target is off",
    make: (home) => home.target("off"),
    mend: (home) => home.target("trusts"),
    codes: ["TARGET_REFUSES"],
    summary: /^Nothing listens at 192\.168\.77\.20:8123\. Next: Start the service at port 8123 of 192\.168\.77\.20/,
  },
  {
    what: "Home Assistant does not trust this machine",
    make: (home) => home.target("distrusts"),
    mend: (home) => home.target("trusts"),
    codes: ["HOME_ASSISTANT_UNTRUSTED"],
    summary: /add 192\.168\.77\.10 to the trusted proxies/,
  },
  {
    what: "the router has no loopback",
    make: (home) => home.lab.router.setLoopback(false),
    mend: (home) => home.lab.router.setLoopback(true),
    codes: ["LOOPBACK_MISSING"],
    summary: /no loopback.*let the DNS at home answer 192\.168\.77\.10/,
  },
  {
    what: "DNS has the address of last week",
    make: (home) => home.record("A 5.6.7.200"),
    mend: (home) => home.record(well),
    codes: ["DNS_STALE"],
    summary:
      /has the address 5\.6\.7\.200 in DNS, and this home has 5\.6\.7\.77\. Next: Set its A record to 5\.6\.7\.77/,
  },
  {
    what: "DNS has an inside address",
    make: (home) => home.record(`A ${LAN.edge}`),
    mend: (home) => home.record(well),
    codes: ["DNS_PRIVATE"],
    summary: /which only this network can reach\. Next: Set its A record to 5\.6\.7\.77/,
  },
  {
    what: "DNS has no address",
    make: (home) => home.record(),
    mend: (home) => home.record(well),
    codes: ["DNS_NO_ADDRESS"],
    summary: /Make an A record: ha\.example\.org A 5\.6\.7\.77/,
  },
  {
    what: "DNS has another machine's IPv6 address",
    make: (home) => home.record(well, `AAAA ${LAN.client6}`),
    mend: (home) => home.record(well),
    codes: ["DNS_IPV6_ELSEWHERE"],
    summary: /Set its AAAA record to 2a00:1:77::10/,
  },
  {
    what: "the target is off and DNS is stale",
    make: async (home) => {
      await home.target("off");
      await home.record("A 5.6.7.200");
    },
    mend: async (home) => {
      await home.target("trusts");
      await home.record(well);
    },
    codes: ["TARGET_REFUSES", "DNS_STALE"],
    summary: /^Nothing listens at .* \(1 more below\)/,
  },
  {
    what: "the router has no loopback and DNS is stale",
    make: async (home) => {
      await home.lab.router.setLoopback(false);
      await home.record("A 5.6.7.200");
    },
    mend: async (home) => {
      await home.lab.router.setLoopback(true);
      await home.record(well);
    },
    codes: ["DNS_STALE", "LOOPBACK_MISSING"],
    summary: /^ha\.example\.org has the address 5\.6\.7\.200/,
  },
  {
    what: "Gatehouse is gone",
    make: (home) => home.gatehouse.stop(),
    mend: () => Promise.resolve(),
    codes: ["NOT_RUNNING"],
    summary: /^No Gatehouse answers at .*Next: Start it: gatehouse run/,
  },
];

test(
  "a home that is well gets no warning, and every fault is named by the first sentence",
  { skip: needsLab({ services: true }) || needs("pebble") },
  async (t) => {
    const home = await startHome(t);
    // The first mapping may be a question away.
    const until = performance.now() + 30_000;
    let first = await home.doctor();
    while (!first.ok && performance.now() < until) first = await home.doctor();
    assert.deepEqual(trouble(first), [], JSON.stringify(first, undefined, 1));
    assert.match(first.summary, /^Nothing is wrong with what could be looked at\. 1 thing could not be looked at\.$/);
    for (const { what, make, mend, codes, summary } of faults) {
      await t.test(what, async () => {
        await make(home);
        try {
          const report = await home.doctor();
          assert.deepEqual(trouble(report), codes, JSON.stringify(report, undefined, 1));
          assert.match(report.summary, summary);
        } finally {
          await mend(home);
        }
      });
    }
  },
);
