/**
 * Whose address is this?
 * Owns: private networks, the owner's own, and what counts as one client.
 * Never: counts.
 */
import { BlockList, isIP } from "node:net";

/** Is an address within these CIDRs? */
export function createNetworks(cidrs: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [network = "", bits] = cidr.split("/");
    list.addSubnet(network, Number(bits), network.includes(":") ? "ipv6" : "ipv4");
  }
  return (address) => {
    const family = isIP(address);
    return family !== 0 && list.check(address, family === 6 ? "ipv6" : "ipv4");
  };
}

/** Loopback, RFC 1918, unique and link-local: perhaps the router or a proxy in front, and with it everybody. */
export const isPrivate = createNetworks([
  "127.0.0.0/8",
  "10.0.0.0/8",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "169.254.0.0/16",
  "::1/128",
  "fc00::/7",
  "fe80::/10",
]);

/** An IPv4 address counts by itself; of an IPv6 address the /64, which is the least that one customer gets. */
export function networkOf(address: string): string {
  if (isIP(address) !== 6) return address;
  const [before = "", after] = address.split("::");
  const left = before === "" ? [] : before.split(":");
  const right = after === undefined || after === "" ? [] : after.split(":");
  // An embedded IPv4 tail (`::ffff:192.0.2.1`) fills two groups.
  const groups = left.length + right.length + (address.includes(".") ? 1 : 0);
  const zeros = after === undefined ? 0 : 8 - groups;
  const all = [...left, ...Array.from({ length: zeros }, () => "0"), ...right];
  return `${all
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":")}::/64`;
}
