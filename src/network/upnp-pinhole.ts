/**
 * How is a router asked to let IPv6 in by UPnP?
 * Owns: the pinholes of WANIPv6FirewallControl:1, which IGD v2 routers may have.
 * Never: maps: with IPv6 the port outside is the port inside.
 *
 * A pinhole is known by a number that the router gives, so after a restart a second one is made beside the first, which
 * runs out by itself.
 */
import { GatehouseError } from "../core/errors.ts";
import type { PortRequest, RouterSpeaker } from "./speaker.ts";
import { callAction, garbage, SoapFault, type UpnpService } from "./upnp-talk.ts";

/** WANIPv6FirewallControl:1 §2.3.6: from a second to a day. */
const MAX_LEASE_SECONDS = 86_400;
const NO_SUCH_ENTRY = 704;
const PROTOCOLS = { tcp: 6, udp: 17 } as const;

export interface PinholeOptions {
  service: UpnpService;
  /** The router by IPv6: only from the address itself may a pinhole to it be made (§2.4, "authorized"). */
  gateway: string;
  /** Our stable global IPv6 address, which the world dials. */
  ownIpv6: string;
}

export function createPinholes({ service: described, gateway, ownIpv6 }: PinholeOptions): RouterSpeaker {
  const service = { ...described, host: gateway };
  const ids = new Map<string, number>();
  const keyOf = ({ protocol, internalPort }: PortRequest): string => `${protocol} ${internalPort}`;
  const call = async (action: string, args: Record<string, string | number>, signal: AbortSignal) => {
    try {
      return await callAction(service, action, args, ownIpv6, signal);
    } catch (error) {
      if (!(error instanceof SoapFault)) throw error;
      throw new GatehouseError("GATEHOUSE_ROUTER_REFUSED", {
        message: `The router ${service.control.hostname} says no to IPv6 by UPnP: ${error.message}.`,
        hint: "Allow the port for this machine in the router's IPv6 firewall by hand.",
        cause: error,
        detail: { result: error.code },
      });
    }
  };
  const isGone = (error: unknown): boolean =>
    error instanceof GatehouseError && error.cause instanceof SoapFault && error.cause.code === NO_SUCH_ENTRY;

  return {
    speaks: "upnp-igd2",
    async state(signal) {
      const read = await call("GetFirewallStatus", {}, signal);
      if (read("InboundPinholeAllowed") === "0") {
        throw new GatehouseError("GATEHOUSE_ROUTER_REFUSED", {
          message: `The router ${service.control.hostname} lets nobody open its IPv6 firewall.`,
          hint: "Allow the port for this machine in the router's IPv6 firewall by hand.",
        });
      }
      return { epochSeconds: undefined, externalAddress: undefined };
    },
    async map(port, signal) {
      const leaseSeconds = Math.min(port.leaseSeconds, MAX_LEASE_SECONDS);
      const granted = {
        externalPort: port.internalPort,
        leaseSeconds,
        externalAddress: ownIpv6,
        epochSeconds: undefined,
      };
      const known = ids.get(keyOf(port));
      if (known !== undefined) {
        try {
          await call("UpdatePinhole", { UniqueID: known, NewLeaseTime: leaseSeconds }, signal);
          return granted;
        } catch (error) {
          if (!isGone(error)) throw error;
          ids.delete(keyOf(port));
        }
      }
      const read = await call(
        "AddPinhole",
        {
          RemoteHost: "",
          RemotePort: 0,
          InternalClient: ownIpv6,
          InternalPort: port.internalPort,
          Protocol: PROTOCOLS[port.protocol],
          LeaseTime: leaseSeconds,
        },
        signal,
      );
      const id = Number(read("UniqueID"));
      if (!Number.isInteger(id)) throw garbage(service.control, "a pinhole without a number");
      ids.set(keyOf(port), id);
      return granted;
    },
    async unmap(port, _externalPort, signal) {
      const id = ids.get(keyOf(port));
      if (id === undefined) return;
      ids.delete(keyOf(port));
      await call("DeletePinhole", { UniqueID: id }, signal).catch((error: unknown) => {
        if (!isGone(error)) throw error;
      });
    },
  };
}
