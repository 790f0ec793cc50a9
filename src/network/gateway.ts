/**
 * Which router is ours, and who are we to it?
 * Owns: reading the kernel's routing tables; our address and MAC on the interface that leads there.
 * Never: sends anything.
 *
 * /proc/self/net, not /proc/net: the former is there under systemd's ProcSubset=pid as well.
 */
import { readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { fromBytes, ownStableIpv6 } from "./addresses.ts";

export interface Gateway {
  /** The default gateway's IPv4 address: the only one whose answers count. */
  address: string;
  interface: string;
  /** Our IPv4 address on that interface, which mappings lead to. */
  ownAddress: string;
  /** For the router's address reservation; undefined on interfaces without one. */
  ownMac: string | undefined;
  /** For IPv6 firewalls: the default gateway with `%interface` when link-local, and our stable global address. */
  ipv6: { address: string; ownAddress: string } | undefined;
}

interface Route {
  interface: string;
  gateway: string;
  metric: number;
}

const RTF_UP = 0x1;
const RTF_GATEWAY = 0x2;
const RTF_REJECT = 0x200;

/** @param text  /proc/self/net/route; addresses are hexadecimal in the machine's byte order (little endian here) */
export function defaultRoutes(text: string): Route[] {
  return text
    .split("\n")
    .slice(1)
    .flatMap((line) => {
      const [name = "", to = "", via = "", flags = "0", , , metric = "0", mask = ""] = line.trim().split(/\s+/);
      const bits = Number.parseInt(flags, 16);
      const isDefault = to === "00000000" && mask === "00000000";
      if (!isDefault || (bits & RTF_UP) === 0 || (bits & RTF_GATEWAY) === 0 || (bits & RTF_REJECT) !== 0) return [];
      if (!/^[0-9a-f]{8}$/i.test(via)) return [];
      const gateway = [...Buffer.from(via, "hex").reverse()].join(".");
      return [{ interface: name, gateway, metric: Number(metric) }];
    })
    .sort((a, b) => a.metric - b.metric);
}

/** @param text  /proc/self/net/ipv6_route: destination, its prefix, source, its prefix, next hop, metric, …, flags, interface */
export function defaultRoutes6(text: string): Route[] {
  return text
    .split("\n")
    .flatMap((line) => {
      const [to = "", prefix = "", , , via = "", metric = "0", , , flags = "0", name = ""] = line.trim().split(/\s+/);
      const bits = Number.parseInt(flags, 16);
      if (!/^0{32}$/.test(to) || prefix !== "00" || !/^[0-9a-f]{32}$/i.test(via) || /^0{32}$/.test(via)) return [];
      if ((bits & RTF_UP) === 0 || (bits & RTF_GATEWAY) === 0 || (bits & RTF_REJECT) !== 0) return [];
      const address = fromBytes(Buffer.from(via, "hex"));
      const gateway = address.startsWith("fe80:") ? `${address}%${name}` : address;
      return [{ interface: name, gateway, metric: Number.parseInt(metric, 16) }];
    })
    .sort((a, b) => a.metric - b.metric);
}

/**
 * Undefined when this machine has no default route by IPv4 (or is not Linux): then there is no router to ask.
 * With several, the one of the lowest metric, as the kernel chooses.
 */
export async function findGateway(): Promise<Gateway | undefined> {
  const [table, table6] = await Promise.all(
    ["route", "ipv6_route"].map((name) => readFile(`/proc/self/net/${name}`, "latin1").catch(() => "")),
  );
  const [route] = defaultRoutes(table ?? "");
  if (route === undefined) return undefined;
  const own = networkInterfaces()[route.interface] ?? [];
  const ipv4 = own.filter((one) => one.family === "IPv4");
  const mine = ipv4.find((one) => isSameNetwork(one.address, route.gateway, one.netmask)) ?? ipv4[0];
  if (mine === undefined) return undefined;
  const [route6] = defaultRoutes6(table6 ?? "").filter((one) => one.interface === route.interface);
  const ownAddress6 = route6 && (await ownStableIpv6(route6.interface));
  return {
    address: route.gateway,
    interface: route.interface,
    ownAddress: mine.address,
    ownMac: mine.mac === "00:00:00:00:00:00" ? undefined : mine.mac,
    ipv6: route6 && ownAddress6 ? { address: route6.gateway, ownAddress: ownAddress6 } : undefined,
  };
}

const toNumber = (address: string): number => address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);

function isSameNetwork(a: string, b: string, mask: string): boolean {
  const bits = toNumber(mask);
  // Unsigned: a mask has its top bit set.
  return (toNumber(a) & bits) >>> 0 === (toNumber(b) & bits) >>> 0;
}
