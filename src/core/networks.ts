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
  const withoutZone = address.split("%", 1)[0] ?? "";
  if (!isIPv6(withoutZone)) return withoutZone;
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(withoutZone)?.[1] ?? withoutZone;
}

export interface NetworkSet {
  /** Plain addresses (see plainAddress); what is no address is in no set. */
  has(address: string): boolean;
}

/**
 * @param cidrs  `192.0.2.0/24`, `2001:db8::/32`, or single addresses; checked before they come here
 *
 * Every connection is asked for several times, and nearly all of them are IPv4: those are compared as numbers here.
 * BlockList makes an object for each question, which came to 3 µs of it.
 */
export function createNetworkSet(cidrs: readonly string[]): NetworkSet {
  const six = new BlockList();
  const four: { base: number; mask: number }[] = [];
  /** `::/0` holds IPv4 as well. */
  let holdsMapped = false;
  for (const cidr of cidrs) {
    const [address = "", bits] = cidr.split("/");
    if (!address.includes(":")) {
      const mask = maskOf(bits === undefined ? 32 : Number(bits));
      four.push({ base: ipv4Number(address) & mask, mask });
    } else {
      six.addSubnet(address, Number(bits ?? 128), "ipv6");
      holdsMapped ||= meetsMapped(address, Number(bits ?? 128));
    }
  }
  return {
    has(address) {
      const number = ipv4Number(address);
      if (Number.isNaN(number)) return isIPv6(address) && six.check(address, "ipv6");
      for (const { base, mask } of four) if ((number & mask) === base) return true;
      return holdsMapped && six.check(address, "ipv4");
    },
  };
}

/** Does this network hold any of `::ffff:0:0/96`, which is IPv4 in IPv6 (RFC 4291 §2.5.5.2)? */
function meetsMapped(address: string, bits: number): boolean {
  const shorter = new BlockList();
  shorter.addSubnet(bits > 96 ? "::ffff:0:0" : address, Math.min(bits, 96), "ipv6");
  return shorter.check(bits > 96 ? address : "::ffff:0:0", "ipv6");
}

/** In 32-bit arithmetic a shift by 32 is none. */
const maskOf = (bits: number): number => (bits === 0 ? 0 : -1 << (32 - bits));

const DOT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;

/** `192.0.2.1` as a number, strict as inet_pton(3): four parts, no leading zeros; NaN for anything else. */
function ipv4Number(address: string): number {
  let number = 0;
  let part = -1;
  let dots = 0;
  for (let at = 0; at < address.length; at++) {
    const code = address.charCodeAt(at);
    if (code === DOT) {
      if (part === -1 || ++dots > 3) return Number.NaN;
      number = (number << 8) | part;
      part = -1;
    } else if (code >= ZERO && code <= NINE && part !== 0) {
      part = part === -1 ? code - ZERO : part * 10 + code - ZERO;
      if (part > 255) return Number.NaN;
    } else return Number.NaN;
  }
  return dots === 3 && part !== -1 ? (number << 8) | part : Number.NaN;
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
