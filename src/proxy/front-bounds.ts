/**
 * May one more connection come in?
 * Owns: how many connections there are, in all and per network of clients.
 * Never: touches a socket.
 */
import { BlockList, isIP } from "node:net";
import { plainAddress } from "./rules/client-identity.ts";

/**
 * A home edge, with about 60 KB for an idle TLS connection: 1,024 of them cost 60 MB and stay far below the usual
 * limit of 1,048,576 (systemd) or 1,024 × 64 open files. Two descriptors each, client and target.
 */
export const MAX_CONNECTIONS = 1_024;
/** A browser keeps 6 per name over HTTP/1.1 and 1 over HTTP/2: a family behind one address fits in 64. */
const MAX_PER_STRANGER = 64;
/**
 * A private address can be the router (hairpin NAT, Docker's user-land proxy: everybody at once) or a proxy in front.
 * Half of the whole, so that one of them cannot lock out the rest.
 */
const MAX_PER_NEIGHBOUR = 512;

export interface ConnectionBounds {
  /** Counts the connection in and returns how to count it out (idempotent); undefined when there is no room. */
  admit(peerAddress: string): (() => void) | undefined;
  open(): number;
}

const PRIVATE = new BlockList();
for (const [address, bits] of [
  ["127.0.0.0", 8],
  ["10.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["169.254.0.0", 16],
] as const) {
  PRIVATE.addSubnet(address, bits, "ipv4");
}
PRIVATE.addAddress("::1", "ipv6");
PRIVATE.addSubnet("fc00::", 7, "ipv6");
PRIVATE.addSubnet("fe80::", 10, "ipv6");

export function createConnectionBounds(
  limits: { total?: number; perStranger?: number; perNeighbour?: number } = {},
): ConnectionBounds {
  const total = limits.total ?? MAX_CONNECTIONS;
  const perStranger = limits.perStranger ?? MAX_PER_STRANGER;
  const perNeighbour = limits.perNeighbour ?? MAX_PER_NEIGHBOUR;
  /** Never more entries than open connections. */
  const networks = new Map<string, number>();
  let open = 0;

  return {
    admit(peerAddress) {
      const address = plainAddress(peerAddress);
      const network = networkOf(address);
      const here = networks.get(network) ?? 0;
      if (open >= total || here >= (isPrivate(address) ? perNeighbour : perStranger)) return undefined;
      open++;
      networks.set(network, here + 1);
      let isOut = false;
      return () => {
        if (isOut) return;
        isOut = true;
        open--;
        const left = (networks.get(network) ?? 1) - 1;
        if (left === 0) networks.delete(network);
        else networks.set(network, left);
      };
    },
    open: () => open,
  };
}

function isPrivate(address: string): boolean {
  const family = isIP(address);
  return family !== 0 && PRIVATE.check(address, family === 6 ? "ipv6" : "ipv4");
}

/** An IPv4 address counts by itself; of an IPv6 address the /64, which is the least that one customer gets. */
function networkOf(address: string): string {
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
