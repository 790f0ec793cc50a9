/**
 * `gatehouse ddns` as a person and a script meet it.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { createAdminServer } from "../../src/admin/server.ts";
import type { DdnsNameReport, DdnsReport } from "../../src/network/ddns-report.ts";
import { adminActions } from "../support/admin-actions.ts";
import { runCli, temporaryFolder } from "../support/gatehouse.ts";
import { keptLog } from "../support/log-lines.ts";

const now = Date.now();

const name = (special: Partial<DdnsNameReport>): DdnsNameReport => ({
  name: "myhome.duckdns.org",
  service: "duckdns",
  state: "right",
  wanted: { ipv4: "5.6.7.8" },
  good: { ipv4: "5.6.7.8" },
  goodAt: now - 60_000,
  pushedAt: undefined,
  shown: [{ server: "1.2.3.4", ipv4: ["5.6.7.8"], ipv6: [] }],
  failures: 0,
  nextTryAt: undefined,
  error: undefined,
  ...special,
});

const report = (...names: DdnsNameReport[]): DdnsReport => ({
  isOn: true,
  address: {
    ipv4: "5.6.7.8",
    from: "witnesses",
    nat: "shared",
    routerAddress: "100.64.0.7",
    answers: [
      { witness: "https://ip.example.net/", address: "5.6.7.8", error: undefined },
      { witness: "whoami.example.net at 1.2.3.4", address: undefined, error: "no\u001b[2J answer" },
    ],
    ipv6: undefined,
  },
  checkedAt: now - 61_000,
  nextCheckAt: now + 240_500,
  names,
});

const stopped = name({
  name: "home.example.net",
  service: "dyndns2",
  state: "stopped",
  good: undefined,
  goodAt: undefined,
  shown: [],
  failures: 2,
  error: { code: "GATEHOUSE_DNS_REFUSED", message: "no such password (badauth)", hint: "Check dyndns2.password." },
});
const failing = name({ state: "failing", failures: 1, nextTryAt: now + 30_500 });

async function ask(t: TestContext, answer: DdnsReport | undefined, ...args: string[]) {
  const path = join(await temporaryFolder(t), "a.sock");
  const special = answer && { ddns: () => Promise.resolve(answer), updateDdns: () => Promise.resolve(answer) };
  const server = createAdminServer({ path, actions: adminActions(special), log: keptLog().log });
  t.after(() => server.close());
  await server.listen();
  return runCli(["ddns", ...args, "--admin", path]);
}

test("ddns status says the address, who told it, what stands in between, and what each name shows", async (t) => {
  const { code, stdout } = await ask(t, report(name({}), stopped), "status");
  assert.equal(code, 0);
  for (const expected of [
    /^Public IPv4 +5\.6\.7\.8 \(from the witnesses\)$/m,
    /^Router says +100\.64\.0\.7$/m,
    /^But +the router's address is in the provider's shared range \(CGNAT\)/m,
    /^Witnesses +https:\/\/ip\.example\.net\/: 5\.6\.7\.8$/m,
    /^Checked +1m \d+s ago$/m,
    /^myhome\.duckdns\.org +duckdns +right +5\.6\.7\.8 +5\.6\.7\.8 +1m( \d+s)? ago +-$/m,
    /^home\.example\.net +dyndns2 +stopped +5\.6\.7\.8 +- +never +-$/m,
    /^home\.example\.net: no such password \(badauth\) \(2 times in a row\)\nCheck dyndns2\.password\.$/m,
  ]) {
    assert.match(stdout, expected);
  }
  assert.doesNotMatch(stdout, /\u001b/);
});

test("ddns status --json has null for what is not known, and ISO times", async (t) => {
  const { stdout } = await ask(t, report(stopped), "status", "--json");
  const { format, address, names, checkedAt } = JSON.parse(stdout) as {
    format: number;
    address: Record<string, unknown>;
    names: Record<string, unknown>[];
    checkedAt: string;
  };
  assert.equal(format, 1);
  assert.match(checkedAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  assert.deepEqual([address["nat"], address["ipv6"]], ["shared", null]);
  const [only] = names;
  assert.deepEqual(
    [only?.["state"], only?.["good"], only?.["wanted"]],
    ["stopped", null, { ipv4: "5.6.7.8", ipv6: null }],
  );
});

const codes: [what: string, names: DdnsNameReport[], code: number][] = [
  ["every name leads here", [name({})], 0],
  ["one is tried again", [name({}), failing], 75],
  ["one wants a person", [failing, stopped], 1],
];
for (const [what, names, code] of codes) {
  test(`ddns update ends with ${code} when ${what}`, async (t) => {
    assert.equal((await ask(t, report(...names), "update")).code, code);
  });
}

test("without ddns in the configuration both say so", async (t) => {
  const { code, stderr } = await ask(t, undefined, "status");
  assert.deepEqual([code, stderr], [0, "dynamic DNS is not set up: the configuration has no ddns\n"]);
  assert.equal((await ask(t, undefined, "update")).code, 1);
});
