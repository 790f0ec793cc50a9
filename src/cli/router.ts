/**
 * `gatehouse router status` and `router checklist`: does the router lead our ports here, and what would a person enter?
 * Owns: their words and their JSON.
 * Never: asks a router; the running Gatehouse does.
 */
import type { AdminClient, Checklist, RouterReport } from "../admin/client.ts";
import { EXIT } from "./exit-codes.ts";
import { span } from "./span.ts";
import { table, type Cell } from "./table.ts";
import { harmless, isoTime, paint, printJson, type Style, type Terminal } from "./terminal.ts";

export async function showRouter(client: AdminClient, json: boolean, terminal: Terminal): Promise<number> {
  const { report } = await client.router();
  if (json) printJson(terminal, asJson(report));
  else terminal.out.write(asText(report, terminal));
  return EXIT.ok;
}

export async function showChecklist(client: AdminClient, json: boolean, terminal: Terminal): Promise<number> {
  const { checklist } = await client.router();
  const { router = null, forwards, reservation = null, ipv6 = null } = checklist;
  if (json) printJson(terminal, { router, forwards, reservation, ipv6 });
  else terminal.out.write(checklistText(checklist, terminal));
  return EXIT.ok;
}

type Port = RouterReport["ports"][number];

function asJson(report: RouterReport): Record<string, unknown> {
  const { gateway, speaks, speaksIpv6, externalAddress, externalKind, error } = report;
  return {
    map: report.map,
    gateway: gateway ?? null,
    speaks: speaks ?? null,
    speaksIpv6: speaksIpv6 ?? null,
    externalAddress: externalAddress ?? null,
    externalKind: externalKind ?? null,
    lastAnswerAt: isoTime(report.lastAnswerAt) ?? null,
    ports: report.ports.map((port) => ({ ...port, until: isoTime(port.until) ?? null, error: port.error ?? null })),
    error: error ?? null,
  };
}

const SPOKEN: Readonly<Record<string, string>> = {
  pcp: "PCP",
  "nat-pmp": "NAT-PMP",
  "upnp-igd1": "UPnP (IGD v1)",
  "upnp-igd2": "UPnP (IGD v2)",
};

const NOT_PUBLIC: Readonly<Record<string, string>> = {
  shared: "the provider's shared range (CGNAT): nothing comes in from outside",
  private: "private: there is another router in front, and nothing comes in through it by itself",
  special: "not an address of the internet",
};

function asText(report: RouterReport, { out }: Terminal): string {
  const { gateway, externalAddress: outside, externalKind: kind = "none" } = report;
  const speaks = SPOKEN[report.speaks ?? ""];
  const ipv6 = SPOKEN[report.speaksIpv6 ?? ""];
  const here = gateway && `${gateway.ownAddress}${gateway.ownMac === undefined ? "" : `, ${gateway.ownMac}`}`;
  const facts: [string, string | undefined][] = [
    ["Router", gateway === undefined ? "none: this machine has no default gateway" : gateway.address],
    ["This machine", gateway && `${here} on ${gateway.interface}`],
    ["Asked by", report.map === "off" ? "nothing: router.map is off" : (speaks ?? "nothing answers")],
    ["IPv6 firewall", ipv6 && `asked by ${ipv6}`],
    ["Outside", outside && `${outside}${kind === "public" ? "" : `: ${NOT_PUBLIC[kind] ?? kind}`}`],
    ["Last answer", report.lastAnswerAt === undefined ? undefined : `${span(Date.now() - report.lastAnswerAt)} ago`],
    ["Problem", report.error?.message],
    ["What to do", report.error?.hint],
  ];
  let text = "";
  for (const [name, value] of facts) if (value !== undefined) text += `${name.padEnd(13)} ${harmless(value)}\n`;
  if (report.ports.length > 0) {
    const rows = report.ports.map((port) => row(port, gateway?.ownAddress ?? "here"));
    text += `\n${table(out, ["PORT", "LEADS TO", "STATE", "LEASE", "NOTE"], rows)}`;
  }
  if (report.map === "off") text += "\nTo enter the forwards by hand: gatehouse router checklist\n";
  return text;
}

function row(port: Port, here: string): Cell[] {
  const styles: Record<string, Style> = { mapped: "green", waiting: "yellow" };
  const note = [
    port.error?.message,
    port.error?.hint,
    port.repairs > 0 ? `made again ${port.repairs} times` : undefined,
  ].filter((one) => one !== undefined);
  return [
    `${port.protocol} ${port.externalPort}${port.family === "ipv6" ? " (IPv6)" : ""}`,
    port.family === "ipv6" ? `port ${port.internalPort}` : `${here}:${port.internalPort}`,
    { text: port.state, style: styles[port.state] ?? "red" },
    port.state !== "mapped" ? "" : port.until === undefined ? "without end" : span(port.until - Date.now()),
    note.join(" "),
  ];
}

function checklistText({ router, forwards, reservation, ipv6 }: Checklist, { out }: Terminal): string {
  if (router === undefined) return "This machine has no default gateway, so there is no router to fill a form of.\n";
  const title = (text: string): string => `${paint(out, "bold", text)}\n`;
  let text = title(`1. In the router, http://${router}/, under "Port forwarding", "Virtual server" or "NAT":`);
  const rows = forwards.map((one) => [
    one.serviceName,
    one.portRange,
    one.localIp,
    String(one.localPort),
    one.protocol as string,
  ]);
  text += `\n${table(out, ["SERVICE NAME", "PORT RANGE", "LOCAL IP", "LOCAL PORT", "PROTOCOL"], rows)}`;
  if (forwards.length === 0) text += "nothing: no port is listened on for the LAN\n";
  text += `\n${title(`2. Under "LAN", "DHCP" or "Address reservation", so that the local IP stays what it is:`)}`;
  text += `\n${table(out, ["MAC ADDRESS", "IP ADDRESS"], [[reservation?.mac ?? "unknown", reservation?.ip ?? ""]])}`;
  if (ipv6 !== undefined && ipv6.ports.length > 0) {
    text += `\n${title(`3. Under "IPv6 firewall" or "Pinholes", for visitors by IPv6:`)}`;
    const holes = ipv6.ports.map((one) => [ipv6.address, String(one.port), one.protocol as string]);
    text += `\n${table(out, ["IPV6 ADDRESS", "PORT", "PROTOCOL"], holes)}`;
  }
  return text;
}
