/**
 * How does a TLS connection reach the machine that ends it itself?
 * Owns: the sessions of sites with `passthrough`: counted by site, bounded by the front like every other connection.
 * Never: reads the handshake (the front does), decrypts or has a certificate.
 */
import type { Socket } from "node:net";
import type { PassthroughConfig } from "../config/model.ts";
import type { ProxyEndpoints } from "../core/proxy-protocol.ts";
import { createYoungGarbage } from "../core/young-garbage.ts";
import type { Logger } from "../observe/log.ts";
import { createComplaints, newTraffic, type PortTraffic } from "./port.ts";
import { beginSession, type Session } from "./session.ts";

export interface Passthrough {
  /** From here on the connection is the target's: bytes both ways, those that were put back (`unshift`) first. */
  carry(raw: Socket, client: ProxyEndpoints, site: { name: string; passthrough: PassthroughConfig }): void;
  /** By site; of those that were ever asked for. */
  traffic(): Iterable<PortTraffic & { key: string }>;
}

export function createPassthrough(options: { log: Logger; isLogged(): boolean }): Passthrough {
  const { log } = options;
  const garbage = createYoungGarbage();
  /** Names come from the configuration. */
  const bySite = new Map<string, { traffic: PortTraffic; complain: ReturnType<typeof createComplaints> }>();
  return {
    carry(raw, client, { name, passthrough }) {
      let entry = bySite.get(name);
      if (entry === undefined) {
        entry = { traffic: newTraffic(), complain: createComplaints(log) };
        bySite.set(name, entry);
      }
      const { target, isPublic, proxyProtocol, idleMs } = passthrough;
      const way = { key: name, target, isPublic, proxyProtocol, idleMs };
      const session: Session = beginSession(raw, client, way, {
        log,
        garbage,
        isLogged: () => options.isLogged(),
        ...entry,
      });
      session.carry(raw);
    },
    *traffic() {
      for (const [key, { traffic }] of bySite) yield { key, ...traffic };
    },
  };
}
