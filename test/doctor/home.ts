/**
 * A home in the lab that has all the doctor looks at: Home Assistant, a name of its own zone, a DuckDNS name, a prober.
 * Owns: building it, and the hands of the person who lives there.
 */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type Lab, startLab } from "../lab/lab.ts";
import { LAN, OUTSIDE, WAN } from "../lab/plan.ts";
import type { LabProgram } from "../lab/programs.ts";
import { DUCK } from "../lab/services.ts";
import { eventually } from "../support/eventually.ts";
import type { Manner } from "./inside.ts";
import type { Shown } from "./person.ts";

const NAME = "ha.example.org";
const DUCK_NAME = `${DUCK.domains[0]}.duckdns.org`;
export const WELL = `A ${WAN.public.router}`;
const MAIN = join(import.meta.dirname, "../../src/cli/main.ts");
const WITNESSES = `https://ip-a.example.net/,https://ip-b.example.net/,dns://${OUTSIDE.witness}/whoami-a.example.net`;
/** The slowest answer of a machine under load is far from this. */
const WITHIN_MS = 120_000;

export interface Finding {
  check: string;
  code: string;
  severity: "ok" | "note" | "warning" | "error" | "unknown";
  seen: string;
  next: string | null;
  snippets: Record<string, string> | null;
}

export interface Report {
  ok: boolean;
  summary: string;
  findings: Finding[];
}

export interface Home {
  lab: Lab;
  file: string;
  text: string;
  gatehouse(): LabProgram;
  startGatehouse(): Promise<void>;
  inside(manner: Manner): Promise<void>;
  /** What the zone says of NAME, all of it: `A 1.2.3.4`, `CAA 0 issue "x"`. */
  records(...records: string[]): Promise<void>;
  /** What DuckDNS's zone says, behind its back. */
  duckRecord(address: string): Promise<void>;
  /** A verb of the command line, on Gatehouse's host. */
  type(...args: string[]): Promise<Shown>;
  doctor(...args: string[]): Promise<Report>;
  setClockOff(ms: number): void;
  on(host: "edge" | "router" | "target" | "client", command: string): Promise<void>;
  /** Asks Gatehouse about its router until it answers that. */
  untilRouter(what: string, holds: (status: RouterStatus) => boolean): Promise<void>;
}

export interface RouterStatus {
  error: { code: string } | null;
  externalAddress: string | null;
  ports: { externalPort: number; family: string; state: string }[];
}

export const allMapped = ({ error, ports }: RouterStatus): boolean =>
  error === null && ports.filter(({ family }) => family === "ipv4").every(({ state }) => state === "mapped");

export async function startHome(t: TestContext): Promise<Home> {
  const lab = await startLab(t, { services: true });
  const { services } = lab;
  assert.ok(services?.acmeDirectory !== undefined);
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: services.caFile, NO_COLOR: "1" };
  const folder = join(lab.folder, "edge");
  const file = join(folder, "gatehouse.yaml");
  await mkdir(folder);
  const text = `listen: { https: ":443", http: ":80" }
state: ${join(folder, "state")}
admin: ${join(folder, "a.sock")}
router: { map: auto, check: 5s }
acme: { ca: "${services.acmeDirectory}", caRoots: "file:${services.caFile}", challenge: http-01 }
duckdns: { token: "file:${join(folder, "token")}" }
ddns: { names: ${DUCK_NAME}, check: 10s, witnesses: [${WITNESSES.split(",")
    .map((one) => `"${one}"`)
    .join(", ")}] }
doctor: { prober: "https://ip-a.example.net/port/{port}" }
sites:
  ${NAME}: "${LAN.target}:8123"
  ${DUCK_NAME}: "${LAN.target}:8123"
`;
  await Promise.all([writeFile(file, text), writeFile(join(folder, "token"), DUCK.token)]);

  const update = async (zone: string, lines: readonly string[], key: readonly string[]): Promise<void> => {
    const input = [`server ${OUTSIDE.services}`, `zone ${zone}`, ...lines, "send", ""].join("\n");
    const { code, stderr } = await lab.run("services", "nsupdate", key, { input });
    assert.equal(code, 0, stderr);
  };
  const records: Home["records"] = (...wanted) => {
    const lines = ["A", "AAAA", "CAA"].map((type) => `update delete ${NAME} ${type}`);
    lines.push(...wanted.map((one) => `update add ${NAME} 60 ${one}`));
    return update("example.org", lines, ["-k", services.tsigFile]);
  };

  const args = [join(lab.folder, "web.key"), join(lab.folder, "web.pem")];
  const [machine, person] = await Promise.all([
    lab.start("target", process.execPath, [join(import.meta.dirname, "inside.ts"), ...args], {
      ready: /ready/,
      talk: true,
    }),
    lab.start("edge", process.execPath, ["--disable-warning=DEP0060", join(import.meta.dirname, "person.ts")], {
      ready: /ready/,
      talk: true,
      env,
    }),
    lab.router.setLoopback(true),
    records(WELL),
  ]);
  const waiting: (() => void)[] = [];
  machine.hear(() => waiting.shift()?.());
  const inside: Home["inside"] = (manner) =>
    new Promise((resolve) => {
      waiting.push(resolve);
      machine.say({ manner });
    });

  const answers = new Map<number, (shown: Shown) => void>();
  person.hear((message) => answers.get((message as Shown).id)?.(message as Shown));
  let typed = 0;
  let clockOff = 0;
  const type: Home["type"] = (...words) =>
    new Promise((resolve, reject) => {
      const id = ++typed;
      const late = setTimeout(() => reject(new Error(`${words.join(" ")}: no answer\n${person.log()}`)), WITHIN_MS);
      answers.set(id, (shown) => {
        clearTimeout(late);
        answers.delete(id);
        resolve(shown);
      });
      person.say({ id, args: [...words, "--config", file], clockOff });
    });

  let gatehouse: LabProgram | undefined;
  const startGatehouse = async (): Promise<void> => {
    const run = ["--disable-warning=DEP0060", MAIN, "run", "--config", file];
    gatehouse = await lab.start("edge", process.execPath, run, { ready: /"edge\.ready"/, env });
  };
  await startGatehouse();

  const home: Home = {
    lab,
    file,
    text,
    gatehouse: () => gatehouse ?? assert.fail("it does not run"),
    startGatehouse,
    inside,
    records,
    duckRecord: (address) =>
      update("duckdns.org", [`update delete ${DUCK_NAME} A`, `update add ${DUCK_NAME} 60 A ${address}`], []),
    type,
    async doctor(...more) {
      const { out, err } = await type("doctor", "--json", ...more);
      assert.notEqual(out, "", err);
      return JSON.parse(out) as Report;
    },
    setClockOff(ms) {
      clockOff = ms;
    },
    async on(host, command) {
      const { code, stderr } = await lab.run(host, "sh", ["-euc", command]);
      assert.equal(code, 0, stderr);
    },
    async untilRouter(what, holds) {
      let out = "";
      const look = async (): Promise<boolean> => {
        ({ out } = await type("router", "status", "--json"));
        return holds(JSON.parse(out) as RouterStatus);
      };
      await eventually(() => `${what}: ${out}`, look, { withinMs: WITHIN_MS, everyMs: 200 });
    },
  };
  return home;
}

/** Codes of errors, then of warnings, each from the inside out; the first is what the first sentence is about. */
export const trouble = ({ findings }: Report): string[] =>
  ["error", "warning"].flatMap((wanted) =>
    findings.filter(({ severity }) => severity === wanted).map(({ code }) => code),
  );

/** Mappings, certificates and records of a home that begins (again) are there after a while. */
export async function untilWell(home: Home): Promise<Report> {
  let report = await home.doctor();
  const look = async (): Promise<boolean> => report.ok || (report = await home.doctor()).ok;
  await eventually(() => JSON.stringify(report, undefined, 1), look, { withinMs: WITHIN_MS, everyMs: 100 });
  return report;
}
