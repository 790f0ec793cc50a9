/**
 * How is a router asked for a port by NAT-PMP?
 * Owns: the three requests of RFC 6886 and their answers.
 * Never: decides when; asks for IPv6, which NAT-PMP does not know.
 */
import { GatehouseError } from "../core/errors.ts";
import { askGateway, natPmpWaits } from "./ask-gateway.ts";
import type { Granted, PortRequest, RouterSpeaker, RouterState } from "./speaker.ts";

const VERSION = 0;
const ADDRESS = 0;
const OPCODES = { udp: 1, tcp: 2 } as const;

/** RFC 6886 §3.5. */
const RESULTS: Readonly<Record<number, { word: string; hint: string }>> = {
  1: { word: "unsupported version", hint: "It may speak PCP: router.map: auto finds that out." },
  2: { word: "not authorized", hint: "Port mapping is turned off in the router, or forbidden to this machine." },
  3: { word: "network failure", hint: "The router has no connection itself." },
  4: { word: "out of resources", hint: "The router's table is full." },
  5: { word: "unsupported opcode", hint: "Look into the router's own log." },
};

export interface NatPmpOptions {
  gateway: string;
  ownAddress: string;
  /** Default 5351. */
  port?: number;
  /** Sendings of one question, nine at most. Default 7, which takes 32 s. */
  sendings?: number;
}

export function createNatPmp(options: NatPmpOptions): RouterSpeaker {
  const { gateway, ownAddress, port, sendings = 7 } = options;

  function ask<T>(packet: Buffer, bytes: number, signal: AbortSignal, read: (answer: Buffer) => T | undefined) {
    const opcode = packet.readUInt8(1);
    const accept = (answer: Buffer): T | undefined => {
      if (answer.length < 4 || (answer.readUInt8(1) & 0x80) === 0) return undefined;
      if (answer.readUInt8(0) !== VERSION) throw refused(gateway, 1);
      if (answer.readUInt8(1) !== (0x80 | opcode)) return undefined;
      const result = answer.readUInt16BE(2);
      if (result !== 0) throw refused(gateway, result);
      return answer.length < bytes ? undefined : read(answer);
    };
    const where = port === undefined ? {} : { port };
    const waitsMs = natPmpWaits(sendings);
    return askGateway({ gateway, ownAddress, ...where, protocol: "NAT-PMP", packet, waitsMs, accept, signal });
  }

  /** §3.3; a lifetime of 0 with external port 0 gives the mapping back (§3.4). */
  function askMap(wanted: PortRequest, leaseSeconds: number, externalPort: number, signal: AbortSignal) {
    const packet = Buffer.alloc(12);
    packet.writeUInt8(VERSION, 0);
    packet.writeUInt8(OPCODES[wanted.protocol], 1);
    packet.writeUInt16BE(wanted.internalPort, 4);
    packet.writeUInt16BE(externalPort, 6);
    packet.writeUInt32BE(leaseSeconds, 8);
    return ask<Granted>(packet, 16, signal, (answer) =>
      answer.readUInt16BE(8) === wanted.internalPort
        ? {
            externalPort: answer.readUInt16BE(10),
            leaseSeconds: answer.readUInt32BE(12),
            externalAddress: undefined,
            epochSeconds: answer.readUInt32BE(4),
          }
        : undefined,
    );
  }

  return {
    speaks: "nat-pmp",
    state: (signal) =>
      ask<RouterState>(Buffer.from([VERSION, ADDRESS]), 12, signal, (answer) => ({
        epochSeconds: answer.readUInt32BE(4),
        externalAddress: [...answer.subarray(8, 12)].join("."),
      })),
    map: (wanted, signal) => askMap(wanted, wanted.leaseSeconds, wanted.externalPort, signal),
    async unmap(wanted, _externalPort, signal) {
      await askMap(wanted, 0, 0, signal);
    },
  };
}

function refused(gateway: string, result: number): GatehouseError {
  const { word, hint } = RESULTS[result] ?? { word: `result ${result}`, hint: "Look into the router's own log." };
  return new GatehouseError("GATEHOUSE_ROUTER_REFUSED", {
    message: `The router ${gateway} says no by NAT-PMP: ${word}.`,
    hint,
    detail: { result },
  });
}
