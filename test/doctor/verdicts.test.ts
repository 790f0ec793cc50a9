/**
 * What the doctor makes of what it saw: cases as data, no network.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { judgeName } from "../../src/doctor/addresses-of-names.ts";
import { type CheckName, note, reportOf, type Severity, underCheck } from "../../src/doctor/finding.ts";
import { lookAtGateway, lookAtPublic, lookAtRouter } from "../../src/doctor/home.ts";
import { splitDns } from "../../src/doctor/loopback.ts";
import type { Config } from "../../src/config/model.ts";
import { judge } from "../../src/network/public-ip.ts";
import type { RouterReport } from "../../src/network/router-report.ts";
import { adminActions } from "../support/admin-actions.ts";

const finding = (check: CheckName, severity: Severity, seen: string, next?: string) =>
  underCheck(check, [note(severity, "X", { seen, next })]);

const sentences: [what: string, findings: ReturnType<typeof finding>[], summary: string, ok: boolean][] = [
  [
    "all is well",
    [finding("dns", "ok", "a."), finding("lan", "note", "b.")],
    "Nothing is wrong with what could be looked at.",
    true,
  ],
  [
    "some could not be looked at",
    [finding("outside", "unknown", "a.")],
    "Nothing is wrong with what could be looked at. 1 thing could not be looked at.",
    true,
  ],
  [
    "two links are broken: the inner one comes first",
    [
      finding("dns", "error", "DNS is stale.", "mend it."),
      finding("target", "error", "The target is off.", "switch it on."),
    ],
    "The target is off (1 more below). Next: switch it on.",
    false,
  ],
  [
    "an error outside outranks a warning inside",
    [finding("target", "warning", "It fails."), finding("public-address", "error", "CGNAT.", "ask.")],
    "CGNAT (1 more below). Next: ask.",
    false,
  ],
  [
    "a port is taken: that is why nothing runs",
    [finding("running", "error", "None."), finding("listening", "error", "Taken.")],
    "Taken (1 more below).",
    false,
  ],
];

for (const [what, findings, summary, ok] of sentences) {
  test(`the first sentence when ${what}`, () => {
    const report = reportOf(findings.flat());
    assert.equal(report.summary, summary);
    assert.equal(report.ok, ok);
  });
}

const homes: [router: string | undefined, witnesses: string[], code: string, severity: Severity][] = [
  ["5.6.7.8", ["5.6.7.8", "5.6.7.8"], "PUBLIC_ADDRESS", "ok"],
  ["100.64.0.9", ["9.9.9.9", "9.9.9.9"], "CGNAT", "error"],
  ["100.64.0.9", [], "CGNAT", "error"],
  ["192.168.1.2", ["9.9.9.9", "9.9.9.9"], "DOUBLE_NAT", "error"],
  ["5.6.7.8", ["9.9.9.9", "9.9.9.9"], "WAN_DIFFERS", "error"],
  ["5.6.7.8", [], "PUBLIC_ADDRESS_UNCONFIRMED", "unknown"],
  [undefined, ["9.9.9.9", "9.9.9.9"], "PUBLIC_ADDRESS_UNCONFIRMED", "unknown"],
  [undefined, ["9.9.9.9"], "PUBLIC_ADDRESS_UNKNOWN", "unknown"],
];

for (const [routerAddress, seen, code, severity] of homes) {
  test(`the router has ${routerAddress ?? "an unknown address"}, witnesses see ${seen.join(", ") || "nothing"}: ${code}`, () => {
    const answers = seen.map((address, at) => ({ witness: String(at), address, error: undefined }));
    const [found] = lookAtPublic({ ...judge(routerAddress, answers), routerAddress, answers, ipv6: undefined });
    assert.equal(found?.code, code);
    assert.equal(found.severity, severity);
    if (severity === "error") assert.ok(found.seen.includes(routerAddress ?? "") && found.next !== undefined);
  });
}

interface NameCase {
  a?: string[];
  aaaa?: string[];
  second?: string[];
  ours?: string;
  ours6?: string;
  isAtHome?: boolean;
}
const names: [what: string, given: NameCase, codes: string[]][] = [
  ["leads here", { a: ["5.6.7.8"], ours: "5.6.7.8" }, ["DNS_RIGHT ok"]],
  ["leads here by both", { a: ["5.6.7.8"], aaaa: ["2a00::1"], ours: "5.6.7.8", ours6: "2a00::1" }, ["DNS_RIGHT ok"]],
  ["has the address of last week", { a: ["5.6.7.9"], ours: "5.6.7.8" }, ["DNS_STALE error"]],
  ["has an inside address", { a: ["192.168.0.5"], ours: "5.6.7.8" }, ["DNS_PRIVATE error"]],
  ["has an inside address, for this home alone", { a: ["192.168.0.5"], isAtHome: true }, ["DNS_PRIVATE note"]],
  ["has no address", { a: [], ours: "5.6.7.8" }, ["DNS_NO_ADDRESS error"]],
  [
    "has an AAAA of another machine",
    { a: ["5.6.7.8"], aaaa: ["2a00::9"], ours: "5.6.7.8", ours6: "2a00::1" },
    ["DNS_IPV6_ELSEWHERE warning"],
  ],
  [
    "has an AAAA where there is no IPv6",
    { a: ["5.6.7.8"], aaaa: ["2a00::9"], ours: "5.6.7.8" },
    ["DNS_IPV6_ELSEWHERE warning"],
  ],
  ["differs between its servers", { a: ["5.6.7.8"], second: [], ours: "5.6.7.8" }, ["DNS_SERVERS_DISAGREE warning"]],
  ["cannot be compared", { a: ["5.6.7.8"] }, ["DNS_NOT_COMPARED unknown"]],
  ["has servers that do not answer", { ours: "5.6.7.8" }, ["DNS_SILENT unknown"]],
  [
    "is wrong twice",
    { a: ["5.6.7.9"], aaaa: ["2a00::9"], ours: "5.6.7.8" },
    ["DNS_STALE error", "DNS_IPV6_ELSEWHERE warning"],
  ],
];

for (const [what, { a, aaaa = [], second, ours, ours6, isAtHome = false }, codes] of names) {
  test(`a name that ${what}: ${codes.join(", ")}`, () => {
    const shown = a === undefined ? [] : [{ server: "x", ipv4: a, ipv6: aaaa }];
    if (second !== undefined) shown.push({ server: "y", ipv4: second, ipv6: aaaa });
    const seen = { ipv4: ours, ipv6: ours6 };
    const found = judgeName({ name: "ha.example.org", shown, seen, isAtHome });
    assert.deepEqual(
      found.map(({ code, severity }) => `${code} ${severity}`),
      codes,
    );
  });
}

const mapping = (map: "off" | "auto"): Config => ({ router: { map } }) as unknown as Config;

test("the router's conflict and silence are named in its own words, and what nobody asked is not guessed", async () => {
  const { report } = await adminActions().router();
  const [conflict, ...rest] = lookAtRouter(mapping("auto"), report, undefined);
  assert.equal(conflict?.code, "ROUTER_PORT_CONFLICT");
  assert.match(conflict.seen, /192\.168\.0\.9:80/);
  assert.match(conflict.next ?? "", /Remove that forward/);
  assert.equal(rest.length, 0);
  const error = { code: "GATEHOUSE_ROUTER_SILENT", message: "It does not answer.", hint: "Turn it on." };
  const silent: RouterReport = { ...report, error };
  assert.deepEqual(
    lookAtRouter(mapping("auto"), silent, undefined).map(({ code }) => code),
    ["ROUTER_SILENT"],
  );
  const well: RouterReport = { ...report, ports: report.ports.slice(0, 1) };
  assert.equal(lookAtRouter(mapping("auto"), well, undefined)[0]?.severity, "ok");
  const speaking = { speaks: "pcp", externalAddress: undefined, error: undefined };
  const [off] = lookAtRouter(mapping("off"), undefined, undefined);
  assert.equal(off?.severity, "unknown");
  const [notYet] = lookAtRouter(mapping("auto"), undefined, speaking);
  assert.equal(notYet?.code, "ROUTER_NOT_ASKED_YET");
  const mute = { speaks: undefined, externalAddress: undefined, error: "It is silent." };
  assert.equal(lookAtRouter(mapping("auto"), undefined, mute)[0]?.code, "ROUTER_SILENT");
  assert.equal(lookAtGateway(undefined)[0]?.code, "GATEWAY_NONE");
});

test("split DNS is written for five programs, wildcards where the program can say them", () => {
  const texts = splitDns(["ha.example.org", "*.lab.example.org"], "192.168.0.50");
  assert.deepEqual(texts, {
    dnsmasq: "host-record=ha.example.org,192.168.0.50\naddress=/lab.example.org/192.168.0.50\n",
    "Pi-hole (Settings > Local DNS Records)": "192.168.0.50 ha.example.org\n",
    "AdGuard Home (Filters > DNS rewrites)": "ha.example.org → 192.168.0.50\n*.lab.example.org → 192.168.0.50\n",
    unbound:
      'server:\n  local-data: "ha.example.org. A 192.168.0.50"\n' +
      '  local-zone: "lab.example.org." redirect\n  local-data: "lab.example.org. A 192.168.0.50"\n',
    "hosts file": "192.168.0.50 ha.example.org\n",
  });
});
