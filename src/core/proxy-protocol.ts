/**
 * How does one proxy tell the next who the client is?
 * Owns: the header of the PROXY protocol, versions 1 and 2 (haproxy.org, doc/proxy-protocol.txt, 2020-03-05).
 * Never: decides who may be believed.
 */
import { isIPv4, isIPv6 } from "node:net";

export interface ProxyEndpoints {
  /** Plain addresses: no zone, IPv4 not mapped. */
  sourceAddress: string;
  sourcePort: number;
  destinationAddress: string;
  destinationPort: number;
}

/** Begins every version 2 header (§2.2). */
const SIGNATURE = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);
/** Version 2, command PROXY. */
const PROXY = 0x21;
const UNSPECIFIED = 0x00;
const TCP_OVER_IPV4 = 0x11;
const TCP_OVER_IPV6 = 0x21;

/** For TCP. Where the two addresses are not of one family, it says that they are not known. */
export function proxyHeader(version: "v1" | "v2", endpoints: ProxyEndpoints): Buffer {
  return version === "v1" ? textHeader(endpoints) : binaryHeader(endpoints);
}

function familyOf({ sourceAddress, destinationAddress }: ProxyEndpoints): 4 | 6 | undefined {
  if (isIPv4(sourceAddress) && isIPv4(destinationAddress)) return 4;
  return isIPv6(sourceAddress) && isIPv6(destinationAddress) ? 6 : undefined;
}

function textHeader(endpoints: ProxyEndpoints): Buffer {
  const { sourceAddress, sourcePort, destinationAddress, destinationPort } = endpoints;
  const family = familyOf(endpoints);
  if (family === undefined) return Buffer.from("PROXY UNKNOWN\r\n", "latin1");
  const line = `PROXY TCP${family} ${sourceAddress} ${destinationAddress} ${sourcePort} ${destinationPort}\r\n`;
  return Buffer.from(line, "latin1");
}

function binaryHeader(endpoints: ProxyEndpoints): Buffer {
  const family = familyOf(endpoints);
  if (family === undefined) return Buffer.concat([SIGNATURE, Buffer.from([PROXY, UNSPECIFIED, 0, 0])]);
  const addresses = [endpoints.sourceAddress, endpoints.destinationAddress].map((one) => bytesOf(one, family));
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(endpoints.sourcePort, 0);
  ports.writeUInt16BE(endpoints.destinationPort, 2);
  const body = Buffer.concat([...addresses, ports]);
  const head = Buffer.from([PROXY, family === 4 ? TCP_OVER_IPV4 : TCP_OVER_IPV6, 0, body.length]);
  return Buffer.concat([SIGNATURE, head, body]);
}

function bytesOf(address: string, family: 4 | 6): Buffer {
  if (family === 4) return Buffer.from(address.split(".").map(Number));
  // The URL parser knows every spelling of RFC 4291 §2.2 and gives one back, with at most one `::`.
  const [before = "", after] = new URL(`http://[${address}]`).hostname.slice(1, -1).split("::");
  const groups = (text: string): string[] => (text === "" ? [] : text.split(":"));
  const [left, right] = [groups(before), groups(after ?? "")];
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => "0");
  const bytes = Buffer.alloc(16);
  for (const [at, group] of [...left, ...zeros, ...right].entries()) {
    bytes.writeUInt16BE(Number.parseInt(group, 16), at * 2);
  }
  return bytes;
}
