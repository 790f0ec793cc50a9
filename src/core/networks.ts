/**
 * Whose address is this: our own network's or a stranger's?
 * Owns: private ranges, what counts as one client, sets of networks.
 * Never: looks a name up or touches a socket.
 */
import { BlockList, isIP, isIPv6 } from "node:net";

/** `::ffff:192.0.2.1` → `192.0.2.1` (a dual-stack listener sees IPv4 peers so); a zone (`fe80::1%eth0`) is cut off. */
export function plainAddress(address: string): string {
  // Most are IPv4, and isIPv6 takes microseconds to say so.
  if (!address.includes(":")) return address;
  // Most are IPv4, and isIPv6 takes microseconds to say so.
  if (!address.includes(":")) return address;
  const withoutZone = address.split("%", 1)[0] ?? "";
  if (!isIPv6(withoutZone)) return withoutZone;
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(withoutZone)?.[1] ?? withoutZone;
}

export interface NetworkSet {
  /** Plain addresses (see plainAddress); what is no address is in no set. */
  has(address: string): boolean;
}

/** @param cidrs  `192.0.2.0/24`, `2001:db8::/32`, or single addresses; checked before they come here */
export function createNetworkSet(cidrs: readonly string[]): NetworkSet {
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [address = "", bits] = cidr.split("/");
    const family = address.includes(":") ? "ipv6" : "ipv4";
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  return {
    has(address) {
      const family = isIP(address);
      return family !== 0 && list.check(address, family === 6 ? "ipv6" : "ipv4");
    },
  };
}

/**
 * Loopback, RFC 1918, RFC 6598 (shared address space, which overlay networks such as Tailscale use), link-local and
 * unique local (RFC 4193): what a machine inside a home can have.
 */
const INSIDE = createNetworkSet([
  "127.0.0.0/8",
  "10.0.0.0/8",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "100.64.0.0/10",
  "169.254.0.0/16",
  "::1",
  "fc00::/7",
  "fe80::/10",
]);

/**
 * Loopback, RFC 1918, unique and link-local: a client from here is perhaps the router or a proxy in front, and with it
 * everybody. Not RFC 6598: behind a provider's NAT strangers have such addresses.
 */
const NEIGHBOURS = createNetworkSet([
  "127.0.0.0/8",
  "10.0.0.0/8",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "169.254.0.0/16",
  "::1",
  "fc00::/7",
  "fe80::/10",
]);

/** @param address  plain */
export const isNeighbour = (address: string): boolean => NEIGHBOURS.has(address);

/** Can this be a machine inside? */
export const isInsideAddress = (address: string): boolean => INSIDE.has(plainAddress(address));

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
