/**
 * How is a router asked for a port by PCP?
 * Owns: MAP and ANNOUNCE requests and answers of RFC 6887, for IPv4 mappings and IPv6 pinholes alike.
 * Never: decides when; remembers nothing but the secret that its nonces come from.
 *
 * A router gives a mapping back only to the nonce that made it. Nonces are derived from a secret that is kept, so that
 * Gatehouse after a restart renews its mappings instead of being refused until they run out.
 */
import { createHmac } from "node:crypto";
import { GatehouseError } from "../core/errors.ts";
import { fromBytes, toBytes } from "./addresses.ts";
import { askGateway, pcpWaits } from "./ask-gateway.ts";
import type { Granted, PortRequest, RouterSpeaker, RouterState } from "./speaker.ts";

const VERSION = 2;
const ANNOUNCE = 0;
const MAP = 1;
const HEADER_BYTES = 24;
const MAP_BYTES = 60;
const PROTOCOLS = { tcp: 6, udp: 17 } as const;

/** RFC 6887 §7.4. */
const RESULTS: Readonly<Record<number, { word: string; hint: string }>> = {
  1: { word: "UNSUPP_VERSION", hint: "It speaks NAT-PMP or UPnP at best; router.map: auto finds that out." },
  2: {
    word: "NOT_AUTHORIZED",
    hint: "The router does not let this machine map that port, or still has a mapping that somebody else made here.",
  },
  7: { word: "NETWORK_FAILURE", hint: "The router has no connection itself." },
  8: { word: "NO_RESOURCES", hint: "The router's table is full, or it has no public address to map on." },
  10: { word: "USER_EX_QUOTA", hint: "The router gives this machine no more mappings." },
  11: { word: "CANNOT_PROVIDE_EXTERNAL", hint: "Somebody else has that port." },
  12: { word: "ADDRESS_MISMATCH", hint: "There is another NAT between this machine and the router that answered." },
};

export interface PcpOptions {
  gateway: string;
  /** Our IPv4 address for a mapping, our global IPv6 address for a pinhole. */
  ownAddress: string;
  /** At least 16 bytes, the same after a restart. */
  secret: Buffer;
  /** Default 5351. */
  port?: number;
  /** Sendings of one question. Default 4, which takes 45 s. */
  sendings?: number;
}

interface Answer {
  lifetimeSeconds: number;
  epochSeconds: number;
  body: Buffer;
}

export function createPcp(options: PcpOptions): RouterSpeaker {
  const { gateway, ownAddress, secret, port, sendings = 4 } = options;
  const nothing = toBytes(ownAddress.includes(":") ? "::" : "0.0.0.0");

  function nonceFor({ protocol, internalPort }: PortRequest): Buffer {
    return createHmac("sha256", secret).update(`${ownAddress} ${protocol} ${internalPort}`).digest().subarray(0, 12);
  }

  function ask<T>(packet: Buffer, signal: AbortSignal, read: (answer: Answer) => T | undefined): Promise<T> {
    const [opcode = 0] = packet.subarray(1);
    const accept = (bytes: Buffer): T | undefined => {
      const answer = readAnswer(bytes, opcode, gateway);
      return answer && read(answer);
    };
    const where = port === undefined ? {} : { port };
    return askGateway({
      gateway,
      ownAddress,
      ...where,
      protocol: "PCP",
      packet,
      waitsMs: pcpWaits(sendings),
      accept,
      signal,
    });
  }

  /** @param suggested external port; 0 when none is wanted */
  function mapRequest(wanted: PortRequest, leaseSeconds: number, suggested: number): Buffer {
    const packet = Buffer.alloc(MAP_BYTES);
    packet.writeUInt8(VERSION, 0);
    packet.writeUInt8(MAP, 1);
    packet.writeUInt32BE(leaseSeconds, 4);
    toBytes(ownAddress).copy(packet, 8);
    nonceFor(wanted).copy(packet, 24);
    packet.writeUInt8(PROTOCOLS[wanted.protocol], 36);
    packet.writeUInt16BE(wanted.internalPort, 40);
    packet.writeUInt16BE(suggested, 42);
    nothing.copy(packet, 44);
    return packet;
  }

  function askMap(wanted: PortRequest, packet: Buffer, signal: AbortSignal): Promise<Granted> {
    return ask(packet, signal, ({ lifetimeSeconds, epochSeconds, body }) => {
      // RFC 6887 §11.4: nonce, protocol and internal port tell whose answer it is.
      if (body.length < MAP_BYTES - HEADER_BYTES) return undefined;
      const isOurs = body.subarray(0, 13).equals(packet.subarray(24, 37));
      if (!isOurs || body.readUInt16BE(16) !== wanted.internalPort) return undefined;
      return {
        externalPort: body.readUInt16BE(18),
        leaseSeconds: lifetimeSeconds,
        externalAddress: fromBytes(body.subarray(20, 36)),
        epochSeconds,
      };
    });
  }

  return {
    speaks: "pcp",
    state: (signal) => {
      const packet = Buffer.alloc(HEADER_BYTES);
      packet.writeUInt8(VERSION, 0);
      packet.writeUInt8(ANNOUNCE, 1);
      toBytes(ownAddress).copy(packet, 8);
      return ask<RouterState>(packet, signal, ({ epochSeconds }) => ({ epochSeconds, externalAddress: undefined }));
    },
    map: (wanted, signal) => askMap(wanted, mapRequest(wanted, wanted.leaseSeconds, wanted.externalPort), signal),
    async unmap(wanted, _externalPort, signal) {
      await askMap(wanted, mapRequest(wanted, 0, 0), signal);
    },
  };
}

/**
 * Undefined: no answer to this opcode. RFC 6887 §8.3.
 * @throws GATEHOUSE_ROUTER_REFUSED with the router's own word
 */
function readAnswer(bytes: Buffer, opcode: number, gateway: string): Answer | undefined {
  if (bytes.length >= 4 && bytes.readUInt8(0) !== VERSION) {
    // NAT-PMP's way to say that it does not know version 2 (RFC 6887 §9, RFC 6886 §3.5); PCP's other versions say it alike.
    if (bytes.readUInt8(1) < 128) return undefined;
    throw refused(gateway, 1, 0);
  }
  if (bytes.length < HEADER_BYTES || bytes.length % 4 !== 0) return undefined;
  if (bytes.readUInt8(1) !== (0x80 | opcode)) return undefined;
  const result = bytes.readUInt8(3);
  const lifetimeSeconds = bytes.readUInt32BE(4);
  if (result !== 0) throw refused(gateway, result, lifetimeSeconds);
  return { lifetimeSeconds, epochSeconds: bytes.readUInt32BE(8), body: bytes.subarray(HEADER_BYTES) };
}

function refused(gateway: string, result: number, lifetimeSeconds: number): GatehouseError {
  const { word, hint } = RESULTS[result] ?? { word: `result ${result}`, hint: "Look into the router's own log." };
  return new GatehouseError(result === 11 ? "GATEHOUSE_ROUTER_CONFLICT" : "GATEHOUSE_ROUTER_REFUSED", {
    message: `The router ${gateway} says no by PCP: ${word}.`,
    hint,
    detail: { result },
    // §8.3: the lifetime of an error tells how long the same question would get the same answer.
    ...(lifetimeSeconds > 0 && { notBefore: Date.now() + Math.min(lifetimeSeconds, 1_800) * 1_000 }),
  });
}
