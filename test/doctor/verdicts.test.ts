/**
 * What the doctor makes of what it saw: cases as data, no network.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { judgeName } from "../../src/doctor/addresses-of-names.ts";
import { type CheckName, note, reportOf, type Severity, underCheck } from "../../src/doctor/finding.ts";
import { type CaaSeen, judgeCaa } from "../../src/doctor/caa.ts";
import { judgeClients, lookAtClients } from "../../src/doctor/clients.ts";
import type { VisitorsReport } from "../../src/core/visitors.ts";
import { GatehouseError } from "../../src/core/errors.ts";
import { lookFromOutside } from "../../src/doctor/outside.ts";
import { proxyConfig } from "../support/proxy-lane.ts";
import { lookAtDynamicDns } from "../../src/doctor/dynamic-dns.ts";
import type { CaaRecord } from "../../src/dns/caa.ts";
import { type DdnsNameReport, type DdnsReport, NO_DDNS } from "../../src/network/ddns-report.ts";
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

const caa = (tag: string, issuer: string, parameters: [string, string][] = [], isCritical = false): CaaRecord => ({
  tag,
  issuer,
  parameters: new Map(parameters),
  isCritical,
});
const ours = ["letsencrypt.org"];
const dns01 = caa("issue", "letsencrypt.org", [["validationmethods", "dns-01, tls-alpn-01"]]);

const caas: [what: string, given: Partial<CaaSeen> & { records?: CaaRecord[] }, code: string, next?: RegExp][] = [
  ["none", {}, "CAA_FREE ok"],
  ["our CA", { records: [caa("issue", "letsencrypt.org")] }, "CAA_ALLOWS ok"],
  [
    "two CAs, ours among them",
    { records: [caa("issue", "x.example"), caa("issue", "letsencrypt.org")] },
    "CAA_ALLOWS ok",
  ],
  [
    "another CA",
    { records: [caa("issue", "x.example")] },
    "CAA_FORBIDS error",
    /example\.org CAA 0 issue "letsencrypt\.org"/,
  ],
  ["nobody", { records: [caa("issue", "")] }, "CAA_FORBIDS error"],
  ["nobody, asked for a CA that does not tell", { records: [caa("issue", "")], ours: [] }, "CAA_FORBIDS error"],
  [
    "somebody, for a CA that does not tell",
    { records: [caa("issue", "x.example")], ours: [] },
    "CAA_NOT_COMPARED unknown",
  ],
  ["where to complain", { records: [caa("iodef", "mailto:a@example.org")] }, "CAA_FREE ok"],
  [
    "a critical tag that nobody knows",
    { records: [caa("tbs", "x", [], true)] },
    "CAA_FORBIDS error",
    /Remove that record/,
  ],
  [
    "our CA, for names but not for wildcards",
    { records: [caa("issue", "letsencrypt.org"), caa("issuewild", "")], name: "*.lab.example.org" },
    "CAA_FORBIDS error",
    /issuewild/,
  ],
  ["our CA by another way", { records: [dns01], challenge: "http-01" }, "CAA_FORBIDS error", /challenge: dns-01/],
  ["our CA by the way of the file", { records: [dns01], challenge: "tls-alpn-01" }, "CAA_ALLOWS ok"],
];

for (const [what, { records, ...given }, code, next] of caas) {
  test(`CAA that allows ${what}: ${code}`, () => {
    const found = records && { at: "example.org", records };
    const seen = judgeCaa({ name: "ha.example.org", found, ours, challenge: "auto", ...given });
    assert.equal(`${seen.code} ${seen.severity}`, code);
    if (next !== undefined) assert.match(seen.next ?? "", next);
  });
}

const kept: DdnsNameReport = {
  name: "myhome.duckdns.org",
  service: "duckdns",
  state: "right",
  wanted: { ipv4: "5.6.7.8" },
  good: { ipv4: "5.6.7.8" },
  goodAt: 1,
  pushedAt: 1,
  shown: [{ server: "x", ipv4: ["5.6.7.8"], ipv6: [] }],
  failures: 0,
  nextTryAt: undefined,
  error: undefined,
};
const outage = { code: "GATEHOUSE_DNS_FAILED", message: "DuckDNS answered a page.", hint: undefined };
const refusal = { code: "GATEHOUSE_DNS_REFUSED", message: "It says KO.", hint: "Is the token right?" };
const elsewhere = { shown: [{ server: "x", ipv4: ["5.6.7.9"], ipv6: [] }] };
const ddns: [what: string, change: Partial<DdnsNameReport>, code: string][] = [
  ["has the address", {}, "DDNS_RIGHT ok"],
  ["was told", { state: "waiting" }, "DDNS_WAITING note"],
  ["is out of order, and the name is right", { state: "failing", error: outage }, "DDNS_FAILING warning"],
  ["is out of order, and the name is wrong", { state: "failing", error: outage, ...elsewhere }, "DDNS_FAILING error"],
  ["says no", { state: "failing", error: refusal, ...elsewhere }, "DDNS_REFUSED error"],
  ["says no for good", { state: "stopped", error: refusal }, "DDNS_STOPPED error"],
  ["is not asked, because nobody tells the address", { state: "unknown", wanted: {} }, "DDNS_UNKNOWN unknown"],
];

for (const [what, change, code] of ddns) {
  test(`a dynamic DNS service that ${what}: ${code}`, () => {
    const report: DdnsReport = { ...NO_DDNS, isOn: true, names: [{ ...kept, ...change }] };
    const [found] = lookAtDynamicDns([kept.name], report, undefined);
    assert.equal(`${found?.code} ${found?.severity}`, code);
    assert.equal(lookAtDynamicDns([kept.name], undefined, undefined)[0]?.severity, "unknown");
    assert.equal(lookAtDynamicDns([], NO_DDNS, undefined)[0]?.code, "DDNS_OFF");
  });
}

const visitors = (world: number, ...inside: [address: string, connections: number][]): VisitorsReport => ({
  fromWorld: { connections: world, lastAt: world === 0 ? undefined : 1 },
  fromInside: inside.map(([address, connections]) => ({ address, connections, lastAt: 1 })),
});
const ROUTER = "192.168.0.1";
const knocks: [what: string, before: VisitorsReport, after: VisitorsReport, code: string, next?: RegExp][] = [
  ["with its own address", visitors(3), visitors(4), "CLIENTS_SEEN ok"],
  [
    "as the router",
    visitors(0, [ROUTER, 5], ["192.168.0.7", 1]),
    visitors(0, [ROUTER, 6], ["192.168.0.7", 2]),
    "CLIENTS_HIDDEN warning",
    /masquerading/,
  ],
  ["as a container's bridge", visitors(0), visitors(0, ["172.17.0.1", 1]), "CLIENTS_HIDDEN warning", /host's network/],
  ["to somebody else", visitors(2, [ROUTER, 5]), visitors(2, [ROUTER, 5]), "CLIENTS_NOT_SEEN unknown"],
];

for (const [what, before, after, code, next] of knocks) {
  test(`a prober that comes in ${what}: ${code}`, () => {
    const seen = judgeClients(before, after, ROUTER);
    assert.equal(`${seen.code} ${seen.severity}`, code);
    if (next !== undefined) assert.match(seen.next ?? "", next);
  });
}

test("without a prober it is no riddle when visitors were seen, and no verdict when none were", async () => {
  const { signal } = new AbortController();
  const look = async (count: VisitorsReport | undefined): Promise<string | undefined> => {
    const ask = count && (() => Promise.resolve(count));
    const [found] = await lookAtClients({ prober: undefined, visitors: ask, router: ROUTER, signal });
    return found?.code;
  };
  assert.equal(await look(visitors(1)), "CLIENTS_SEEN");
  assert.equal(await look(visitors(0, [ROUTER, 99])), "CLIENTS_NOT_YET");
  assert.equal(await look(undefined), "CLIENTS_NOT_SEEN");
});

const rehearsals: [what: string, rehearse: () => Promise<{ name: string }>, code: string][] = [
  ["was satisfied", () => Promise.resolve({ name: "ha.example.org" }), "OUTSIDE_PROVED ok"],
  [
    "could not check the name",
    () =>
      Promise.reject(new GatehouseError("GATEHOUSE_ACME_CHALLENGE_FAILED", { message: "No.", hint: "Forward 80." })),
    "OUTSIDE_NOT_PROVED error",
  ],
  [
    "is none",
    () => Promise.reject(new GatehouseError("GATEHOUSE_ACME_REFUSED", { message: "No staging is known." })),
    "OUTSIDE_NOT_REHEARSED unknown",
  ],
];

for (const [what, rehearse, code] of rehearsals) {
  test(`a CA's staging that ${what}: ${code}`, async () => {
    const config = proxyConfig([]);
    const { signal } = new AbortController();
    const nothing = { ownAddress: undefined, publicAddress: undefined, running: undefined };
    const [found, ...rest] = await lookFromOutside({ config, ...nothing, rehearse, signal });
    assert.equal(`${found?.code} ${found?.severity}`, code);
    assert.equal(rest.length, 0);
    const [untried] = await lookFromOutside({ config, ...nothing, rehearse: undefined, signal });
    assert.equal(untried?.code, "OUTSIDE_NOT_TRIED");
  });
}

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
