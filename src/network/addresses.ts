/**
 * What kind of address is this, and which of ours will still be ours tomorrow?
 * Owns: the ranges of RFC 6890 that matter at a home's edge; reading /proc/self/net/if_inet6.
 * Never: asks anybody.
 */
import { readFile } from "node:fs/promises";
import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";

/**
 * `shared`: a provider's NAT (RFC 6598). `private`: RFC 1918, so another router or a provider's NAT.
 * `special`: loopback, link-local, documentation, multicast, unspecified; for IPv6, all that is not 2000::/3 and ULA.
 */
export type AddressKind = "public" | "private" | "shared" | "special" | "none";

const RANGES: Record<"private" | "shared" | "special", readonly [string, number, "ipv4" | "ipv6"][]> = {
  private: [
    ["10.0.0.0", 8, "ipv4"],
    ["172.16.0.0", 12, "ipv4"],
    ["192.168.0.0", 16, "ipv4"],
    ["fc00::", 7, "ipv6"],
  ],
  shared: [["100.64.0.0", 10, "ipv4"]],
  special: [
    ["0.0.0.0", 8, "ipv4"],
    ["127.0.0.0", 8, "ipv4"],
    ["169.254.0.0", 16, "ipv4"],
    ["192.0.0.0", 24, "ipv4"],
    ["192.0.2.0", 24, "ipv4"],
    ["198.18.0.0", 15, "ipv4"],
    ["198.51.100.0", 24, "ipv4"],
    ["203.0.113.0", 24, "ipv4"],
    ["224.0.0.0", 3, "ipv4"],
    ["2001:db8::", 32, "ipv6"],
    ["3fff::", 20, "ipv6"],
    ["::", 3, "ipv6"],
    ["4000::", 2, "ipv6"],
    ["8000::", 1, "ipv6"],
  ],
};

type Family = "ipv4" | "ipv6";

/** One list for each family: a list of both takes 1.2.3.4 for ::ffff:1.2.3.4. */
function blockList(kind: keyof typeof RANGES, wanted: Family): BlockList {
  const list = new BlockList();
  for (const [network, prefix, family] of RANGES[kind]) if (family === wanted) list.addSubnet(network, prefix, family);
  return list;
}

const KINDS = ["private", "shared", "special"] as const;
const LISTS: Record<Family, ReadonlyMap<AddressKind, BlockList>> = {
  ipv4: new Map(KINDS.map((kind) => [kind, blockList(kind, "ipv4")])),
  ipv6: new Map(KINDS.map((kind) => [kind, blockList(kind, "ipv6")])),
};

/** `none` for what is no address at all. */
export function kindOf(address: string): AddressKind {
  const family = isIP(address);
  if (family === 0) return "none";
  const name = family === 4 ? "ipv4" : "ipv6";
  for (const [kind, list] of LISTS[name]) if (list.check(address, name)) return kind;
  return "public";
}

const isPublic = (address: string): boolean => kindOf(address) === "public";

/** 16 bytes, IPv4 as ::ffff:a.b.c.d, as PCP carries both (RFC 6887 §5). The scope of a link-local address is left out. */
export function toBytes(address: string): Buffer {
  const bytes = Buffer.alloc(16);
  if (isIPv4(address)) {
    bytes.writeUInt16BE(0xffff, 10);
    address.split(".").forEach((part, at) => bytes.writeUInt8(Number(part), 12 + at));
    return bytes;
  }
  const [text = ""] = address.split("%");
  if (!isIPv6(text)) throw new RangeError(`${address} is not an address`);
  // An embedded IPv4 tail becomes two groups first.
  const plain = text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, a: string, b: string, c: string, d: string) =>
    [(Number(a) << 8) | Number(b), (Number(c) << 8) | Number(d)].map((group) => group.toString(16)).join(":"),
  );
  const [head = "", tail] = plain.split("::");
  const groups = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const [front, back] = [groups(head), groups(tail ?? "")];
  const all =
    tail === undefined ? front : [...front, ...Array<string>(8 - front.length - back.length).fill("0"), ...back];
  all.forEach((group, at) => bytes.writeUInt16BE(Number.parseInt(group, 16), at * 2));
  return bytes;
}

/** The other way; an IPv4-mapped address comes out as IPv4. */
export function fromBytes(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes);
  if (buffer.subarray(0, 12).equals(toBytes("0.0.0.0").subarray(0, 12))) return [...buffer.subarray(12, 16)].join(".");
  const groups = Array.from({ length: 8 }, (_none, at) => buffer.readUInt16BE(at * 2).toString(16));
  // The URL parser writes it as RFC 5952 does.
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}

export interface OwnIpv6 {
  address: string;
  interface: string;
  /** Made anew every day or so (RFC 8981): of no use in a DNS record. */
  isTemporary: boolean;
  /** On its way out: still receives, is not chosen for new connections. */
  isDeprecated: boolean;
}

const FLAG = { temporary: 0x01, dadFailed: 0x08, deprecated: 0x20, tentative: 0x40 };

/** @param text  the kernel's /proc/self/net/if_inet6: address, index, prefix, scope, flags (hex), interface */
export function readIfInet6(text: string): OwnIpv6[] {
  const found: OwnIpv6[] = [];
  for (const line of text.split("\n")) {
    const [hex = "", , , , flagText = "", name = ""] = line.trim().split(/\s+/);
    if (!/^[0-9a-f]{32}$/i.test(hex) || name === "") continue;
    const flags = Number.parseInt(flagText, 16);
    if ((flags & (FLAG.tentative | FLAG.dadFailed)) !== 0) continue;
    found.push({
      address: fromBytes(Buffer.from(hex, "hex")),
      interface: name,
      isTemporary: (flags & FLAG.temporary) !== 0,
      isDeprecated: (flags & FLAG.deprecated) !== 0,
    });
  }
  return found;
}

/** The global address that stays: neither temporary nor deprecated, first as the kernel lists them. */
export function stableGlobal(addresses: readonly OwnIpv6[], wantedInterface?: string): string | undefined {
  return addresses.find(
    (one) =>
      !one.isTemporary &&
      !one.isDeprecated &&
      isPublic(one.address) &&
      (wantedInterface === undefined || one.interface === wantedInterface),
  )?.address;
}

/** Linux alone tells which address is temporary; elsewhere, and without IPv6, undefined. */
export async function ownStableIpv6(wantedInterface?: string): Promise<string | undefined> {
  const text = await readFile("/proc/self/net/if_inet6", "latin1").catch(() => "");
  return stableGlobal(readIfInet6(text), wantedInterface);
}
