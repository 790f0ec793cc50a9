/**
 * `gatehouse ddns status` and `ddns update`: do our names lead here?
 * Owns: their words, their JSON and their exit codes.
 * Never: asks a service or a witness; the running Gatehouse does.
 */
import type { AdminClient, DdnsReport } from "../admin/client.ts";
import { EXIT } from "./exit-codes.ts";
import { span } from "./span.ts";
import { type Cell, table } from "./table.ts";
import { harmless, isoTime, printJson, type Style, type Terminal } from "./terminal.ts";

export async function showDdns(client: AdminClient, json: boolean, terminal: Terminal): Promise<number> {
  show(await client.ddns(), json, terminal);
  return EXIT.ok;
}

/** 0: every name leads here; 75: not yet, and it is tried again; 1: a person is wanted. */
export async function updateDdns(client: AdminClient, json: boolean, terminal: Terminal): Promise<number> {
  const report = await client.updateDdns();
  show(report, json, terminal);
  if (!report.isOn || report.names.some(({ state }) => state === "stopped")) return EXIT.failed;
  return report.names.every(({ state }) => state === "right") ? EXIT.ok : EXIT.tryLater;
}

function show(report: DdnsReport, json: boolean, terminal: Terminal): void {
  if (json) printJson(terminal, asJson(report));
  else if (!report.isOn) terminal.err.write("dynamic DNS is not set up: the configuration has no ddns\n");
  else terminal.out.write(asText(report, terminal));
}

function asJson({ isOn, address, checkedAt, nextCheckAt, names }: DdnsReport): Record<string, unknown> {
  return {
    isOn,
    address:
      address === undefined
        ? null
        : {
            ipv4: address.ipv4 ?? null,
            from: address.from ?? null,
            nat: address.nat,
            routerAddress: address.routerAddress ?? null,
            ipv6: address.ipv6 ?? null,
            witnesses: address.answers.map(({ witness, address: told, error }) => ({
              witness,
              address: told ?? null,
              error: error ?? null,
            })),
          },
    checkedAt: isoTime(checkedAt) ?? null,
    nextCheckAt: isoTime(nextCheckAt) ?? null,
    names: names.map((one) => ({
      name: one.name,
      service: one.service,
      state: one.state,
      wanted: pair(one.wanted),
      good: one.good === undefined ? null : pair(one.good),
      goodAt: isoTime(one.goodAt) ?? null,
      pushedAt: isoTime(one.pushedAt) ?? null,
      shown: one.shown,
      failures: one.failures,
      nextTryAt: isoTime(one.nextTryAt) ?? null,
      error: one.error === undefined ? null : { ...one.error, hint: one.error.hint ?? null },
    })),
  };
}

type Pair = DdnsReport["names"][number]["wanted"];
const pair = ({ ipv4, ipv6 }: Pair) => ({ ipv4: ipv4 ?? null, ipv6: ipv6 ?? null });

const NAT: Readonly<Record<string, string>> = {
  shared: "the router's address is in the provider's shared range (CGNAT): nothing comes in from outside by IPv4",
  private: "the router's address is private: another router is in front of it, and has to lead the ports on",
  different: "the router's address is not the one the world sees: another NAT or a VPN is in between",
};

const STYLES: Record<DdnsReport["names"][number]["state"], Style> = {
  right: "green",
  waiting: "yellow",
  failing: "red",
  stopped: "red",
  unknown: "yellow",
};

function asText({ address, checkedAt, nextCheckAt, names }: DdnsReport, { out }: Terminal): string {
  const now = Date.now();
  const witnesses = (address?.answers ?? []).map(({ witness, address: told, error }) => `${witness}: ${told ?? error}`);
  const facts: [string, string | undefined][] = [
    ["Public IPv4", address?.ipv4 === undefined ? "not known" : `${address.ipv4} (from the ${address.from})`],
    ["Public IPv6", address?.ipv6],
    ["Router says", address?.routerAddress],
    ["But", NAT[address?.nat ?? ""]],
    ...witnesses.map((text, at): [string, string] => [at === 0 ? "Witnesses" : "", text]),
    ["Checked", checkedAt === undefined ? "not yet" : `${span(now - checkedAt)} ago`],
    ["Next check", nextCheckAt === undefined || nextCheckAt <= now ? "now" : `in ${span(nextCheckAt - now)}`],
  ];
  let text = "";
  for (const [name, value] of facts) if (value !== undefined) text += `${name.padEnd(12)} ${harmless(value)}\n`;
  const rows = names.map((one): Cell[] => [
    one.name,
    one.service,
    { text: one.state, style: STYLES[one.state] },
    listed(one.wanted),
    shownText(one.shown),
    one.goodAt === undefined ? "never" : `${span(now - one.goodAt)} ago`,
    one.nextTryAt === undefined ? "-" : span(Math.max(0, one.nextTryAt - now)),
  ]);
  text += `\n${table(out, ["NAME", "KEPT BY", "STATE", "HERE IS", "ZONE SHOWS", "LAST RIGHT", "NEXT TRY"], rows)}`;
  for (const { name, error, failures } of names) {
    if (error === undefined) continue;
    text += `\n${harmless(`${name}: ${error.message}${failures > 1 ? ` (${failures} times in a row)` : ""}`)}\n`;
    if (error.hint !== undefined) text += `${harmless(error.hint)}\n`;
  }
  return text;
}

const listed = ({ ipv4, ipv6 }: Pair): string => [ipv4, ipv6].filter((one) => one !== undefined).join(", ") || "-";

/** One line where all servers agree, and they nearly always do. */
function shownText(shown: DdnsReport["names"][number]["shown"]): string {
  const texts = new Set(shown.map(({ ipv4, ipv6 }) => [...ipv4, ...ipv6].join(", ") || "nothing"));
  return [...texts].join(" or ") || "-";
}
