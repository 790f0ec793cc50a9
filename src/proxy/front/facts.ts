/**
 * What does the listener know of a connection?
 * Owns: addresses and ports of both ends, and what the TLS handshake has settled.
 * Never: reads a byte.
 */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { plainAddress } from "../../core/networks.ts";
import type { ProxyEndpoints } from "../../core/proxy-protocol.ts";
import type { Seat } from "./bounds.ts";
import type { ConnectionFacts } from "../lanes/check-request.ts";

export function endpointsOf(socket: Socket): ProxyEndpoints {
  return {
    sourceAddress: plainAddress(socket.remoteAddress ?? ""),
    sourcePort: socket.remotePort ?? 0,
    destinationAddress: plainAddress(socket.localAddress ?? ""),
    destinationPort: socket.localPort ?? 0,
  };
}

/** @param secure  of a connection under TLS */
export function factsOf(
  client: ProxyEndpoints,
  scheme: "http" | "https",
  seat: Seat,
  secure: TLSSocket | undefined,
): ConnectionFacts {
  // `false` without SNI; the types know it as string or null.
  const name: unknown = secure?.servername;
  return {
    peerAddress: client.sourceAddress,
    peerPort: client.sourcePort,
    localPort: client.destinationPort,
    serverName: typeof name === "string" && name !== "" ? name.toLowerCase() : undefined,
    tlsVersion: secure?.getProtocol() ?? undefined,
    scheme,
    seat,
    device: undefined,
  };
}
