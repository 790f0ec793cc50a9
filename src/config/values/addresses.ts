/**
 * How are listening addresses and networks of peers written?
 * Owns: `":443"`, `"127.0.0.1:8443"`, `"[::]:443"`, `"fd:3"`; addresses, CIDRs and the words for them.
 * Never: opens a socket.
 */
import { isIP, isIPv4, isIPv6 } from "node:net";
import { Refusal, shown } from "../findings.ts";
import type { ListenAddress } from "../model.ts";

const LISTEN_FORMS = 'write ":443", "127.0.0.1:8443", "[::1]:8443" or "fd:3"';

export function readListenAddress(value: unknown): ListenAddress | Refusal {
  if (typeof value === "number") return new Refusal(`${value} is not a listening address`, `write ":${value}"`);
  if (typeof value !== "string") return new Refusal(`${shown(value)} is not a listening address`, LISTEN_FORMS);
  const fd = /^fd:(\d{1,4})$/.exec(value);
  if (fd !== null) {
    const number = Number(fd[1]);
    return number >= 3 ? { fd: number } : new Refusal(`${shown(value)} is a standard stream`, "sockets begin at fd:3");
  }
  if (/^\d+$/.test(value)) return new Refusal(`${shown(value)} is not a listening address`, `write ":${value}"`);
  const parts = /^(?<host>\[[^\]]*\]|[^:]*):(?<port>\d{1,5})$/.exec(value)?.groups;
  if (parts === undefined) {
    const remedy = isIPv6(value.replace(/:\d+$/, "")) ? "put the IPv6 address in brackets" : LISTEN_FORMS;
    return new Refusal(`${shown(value)} is not a listening address`, remedy);
  }
  const port = Number(parts["port"]);
  if (port > 65_535) return new Refusal(`port ${port} does not exist`, "ports end at 65535");
  const host = (parts["host"] ?? "").replace(/^\[(.*)\]$/, "$1");
  if (host === "" && parts["host"] === "") return { host: undefined, port };
  if (isIP(host) === 0) {
    const example = host === "localhost" ? `write "127.0.0.1:${port}" or "[::1]:${port}"` : LISTEN_FORMS;
    return new Refusal(`${shown(host)} is not an address of this machine`, example);
  }
  return { host, port };
}

export function listenText(address: ListenAddress): string {
  if ("fd" in address) return `fd:${address.fd}`;
  const host = address.host ?? "";
  return `${host.includes(":") ? `[${host}]` : host}:${address.port}`;
}

const PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]; // RFC 1918, RFC 4193
const PEER_WORDS: Readonly<Record<string, readonly string[]>> = {
  loopback: ["127.0.0.0/8", "::1/128"],
  private: PRIVATE,
  lan: [...PRIVATE, "169.254.0.0/16", "fe80::/10"], // and link-local: RFC 3927, RFC 4291 §2.5.6
};

/** An address, a CIDR or a word → CIDRs. */
export function readPeers(value: unknown): readonly string[] | Refusal {
  const what = `${shown(value)} is not an address, a network or one of ${Object.keys(PEER_WORDS).join(", ")}`;
  if (typeof value !== "string") return new Refusal(what, "write 192.168.0.5 or 192.168.0.0/24");
  const words = Object.hasOwn(PEER_WORDS, value) ? PEER_WORDS[value] : undefined;
  if (words !== undefined) return words;
  const [address = "", bits, more] = value.split("/");
  if (
    isIP(address) === 0 ||
    address.includes("%") ||
    more !== undefined ||
    (bits !== undefined && !/^\d{1,3}$/.test(bits))
  ) {
    return new Refusal(what, "write 192.168.0.5 or 192.168.0.0/24; names are not looked up");
  }
  if (/^::ffff:/i.test(address))
    return new Refusal(`${shown(value)} is an IPv4 address in IPv6 clothes`, "write the IPv4 address");
  const width = isIPv4(address) ? 32 : 128;
  const length = bits === undefined ? width : Number(bits);
  if (length > width) return new Refusal(`/${length} is longer than the address`, `it ends at /${width}`);
  const network = networkOf(address, length);
  if (bits !== undefined && network !== canonical(address)) {
    return new Refusal(
      `${shown(value)} has bits set outside its network`,
      `write ${network}/${length}, or ${address} alone`,
    );
  }
  return [`${network}/${length}`];
}

/** The address with everything after the first `length` bits cleared, in its shortest spelling. */
function networkOf(address: string, length: number): string {
  const isV4 = isIPv4(address);
  const [width, perGroup] = isV4 ? [32n, 8n] : [128n, 16n];
  const kept = ((numberOf(address) >> (width - BigInt(length))) << (width - BigInt(length))) & ((1n << width) - 1n);
  const groups: string[] = [];
  for (let shift = width - perGroup; shift >= 0n; shift -= perGroup) {
    groups.push(((kept >> shift) & ((1n << perGroup) - 1n)).toString(isV4 ? 10 : 16));
  }
  return isV4 ? groups.join(".") : canonical(groups.join(":"));
}

function numberOf(address: string): bigint {
  if (isIPv4(address)) return address.split(".").reduce((sum, group) => (sum << 8n) + BigInt(group), 0n);
  const [head = "", tail] = canonical(address).split("::");
  const groups = (text: string | undefined) => (text === undefined || text === "" ? [] : text.split(":"));
  const filler = tail === undefined ? 0 : 8 - groups(head).length - groups(tail).length;
  const all = [...groups(head), ...Array.from({ length: filler }, () => "0"), ...groups(tail)];
  return all.reduce((sum, group) => (sum << 16n) + BigInt(`0x${group}`), 0n);
}

/** The URL parser knows RFC 5952 (`fd00:0::1` → `fd00::1`, dotted tails too); IPv4 has one spelling here. */
function canonical(address: string): string {
  return isIPv4(address) ? address : new URL(`http://[${address}]`).hostname.slice(1, -1);
}

/** Does this list of CIDRs believe everybody? */
export function coversEverybody(cidrs: readonly string[]): boolean {
  return cidrs.some((cidr) => cidr.endsWith("/0"));
}
