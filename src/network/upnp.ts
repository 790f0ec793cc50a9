/**
 * How is a router asked for a port by UPnP?
 * Owns: which service of the router's description to use, the actions of WANIPConnection:1 and :2 and WANPPPConnection:1,
 *   what their error numbers mean.
 * Never: takes a port away from somebody else.
 */
import { GatehouseError, isGatehouseError } from "../core/errors.ts";
import type { Granted, Held, PortRequest, RouterSpeaker } from "./speaker.ts";
import { onGateway, searchRouter } from "./upnp-search.ts";
import { callAction, fetchXml, garbage, SoapFault, type UpnpService } from "./upnp-talk.ts";
import { findAll, textOf, type XmlElement } from "./xml.ts";

/** In the order of preference; a router may have several of one kind, one for each uplink. */
const CONNECTIONS = ["WANIPConnection:2", "WANIPConnection:1", "WANPPPConnection:1"];
/** Uplinks that are asked whether they are connected. */
const MAX_SERVICES = 8;
/** What the leases of IGD v2 may be at most (WANIPConnection:2 §2.3.19). Seconds. */
const MAX_LEASE_SECONDS = 604_800;

const FAULT = {
  invalidArgs: 402,
  notAuthorized: 606,
  noSuchEntry: 714,
  conflict: 718,
  samePortWanted: 724,
  onlyPermanent: 725,
  conflictWithOther: 729,
} as const;

export interface UpnpOptions {
  gateway: string;
  ownAddress: string;
  /** Where to search; see searchRouter. */
  group?: { address: string; port: number };
}

export interface UpnpRouter extends RouterSpeaker {
  /** WANIPv6FirewallControl:1, where the router has it. */
  firewall: UpnpService | undefined;
}

/** Searches, reads the description, chooses the uplink. @throws like RouterSpeaker */
export async function findUpnp(options: UpnpOptions, signal: AbortSignal): Promise<UpnpRouter> {
  const { gateway, ownAddress } = options;
  const location = await searchRouter({ ...options, signal });
  const root = await fetchXml(location, ownAddress, signal);
  const services = readServices(root, location, gateway);
  const service = await chooseConnection(services, ownAddress, signal);
  if (service === undefined) throw garbage(location, "it has no service that maps ports");
  const isSecond = findAll(root, "deviceType").some((one) => one.text.trim().endsWith("InternetGatewayDevice:2"));
  const firewall = services.find((one) => one.type.endsWith(":service:WANIPv6FirewallControl:1"));
  return { ...createUpnp(service, isSecond ? "upnp-igd2" : "upnp-igd1", options), firewall };
}

/** Services with a control address on the gateway itself. URLBase is of UDA 1.0, and still found. */
export function readServices(root: XmlElement, location: URL, gateway: string): UpnpService[] {
  const base = onGateway(textOf(root, "URLBase") ?? "", location, gateway) ?? location;
  return findAll(root, "service").flatMap((element) => {
    const type = textOf(element, "serviceType") ?? "";
    const control = onGateway(textOf(element, "controlURL") ?? "", base, gateway);
    return control && /^[\w:.-]{1,120}$/.test(type) ? [{ type, control }] : [];
  });
}

async function chooseConnection(
  services: readonly UpnpService[],
  ownAddress: string,
  signal: AbortSignal,
): Promise<UpnpService | undefined> {
  const candidates = CONNECTIONS.flatMap((kind) =>
    services.filter((one) => one.type === `urn:schemas-upnp-org:service:${kind}`),
  ).slice(0, MAX_SERVICES);
  if (candidates.length < 2) return candidates[0];
  for (const service of candidates) {
    const status = await callAction(service, "GetStatusInfo", {}, ownAddress, signal).catch(() => undefined);
    if (status?.("NewConnectionStatus") === "Connected") return service;
  }
  return candidates[0];
}

function createUpnp(
  service: UpnpService,
  speaks: "upnp-igd1" | "upnp-igd2",
  { gateway, ownAddress }: UpnpOptions,
): RouterSpeaker {
  const call = (action: string, args: Record<string, string | number>, signal: AbortSignal) =>
    callAction(service, action, args, ownAddress, signal);
  const entry = ({ protocol, externalPort }: { protocol: "tcp" | "udp"; externalPort: number }) => ({
    NewRemoteHost: "",
    NewExternalPort: externalPort,
    NewProtocol: protocol.toUpperCase(),
  });

  async function holder(port: PortRequest, signal: AbortSignal): Promise<Held | undefined> {
    try {
      const read = await call("GetSpecificPortMappingEntry", entry(port), signal);
      return {
        address: (read("NewInternalClient") ?? "").slice(0, 45),
        port: Number(read("NewInternalPort") ?? 0),
        leaseSeconds: Number(read("NewLeaseDuration") ?? 0),
        description: (read("NewPortMappingDescription") ?? "").slice(0, 80),
      };
    } catch (error) {
      if (error instanceof SoapFault && error.code === FAULT.noSuchEntry) return undefined;
      throw explain(error, gateway);
    }
  }

  /** For routers that cannot tell who has a port: those are believed. */
  async function lookAt(port: PortRequest, signal: AbortSignal): Promise<Held | "nobody" | "untold"> {
    try {
      return (await holder(port, signal)) ?? "nobody";
    } catch (error) {
      if (isGatehouseError(error, "GATEHOUSE_ROUTER_REFUSED")) return "untold";
      throw error;
    }
  }

  const add = (port: PortRequest, leaseSeconds: number, signal: AbortSignal) =>
    call(
      "AddPortMapping",
      {
        ...entry(port),
        NewInternalPort: port.internalPort,
        NewInternalClient: ownAddress,
        NewEnabled: 1,
        NewPortMappingDescription: port.description,
        NewLeaseDuration: leaseSeconds,
      },
      signal,
    );

  const isOurs = (held: Held, port: PortRequest): boolean =>
    held.address === ownAddress && held.port === port.internalPort;

  return {
    speaks,
    async state(signal) {
      try {
        const read = await call("GetExternalIPAddress", {}, signal);
        return { epochSeconds: undefined, externalAddress: read("NewExternalIPAddress")?.slice(0, 45) || undefined };
      } catch (error) {
        throw explain(error, gateway);
      }
    },
    async map(port, signal): Promise<Granted> {
      // Looked at first: many routers overwrite a mapping of another machine without a word.
      const before = await lookAt(port, signal);
      if (typeof before === "object" && !isOurs(before, port)) throw conflict(gateway, port, before);
      const wantedLease = Math.min(port.leaseSeconds, MAX_LEASE_SECONDS);
      try {
        await add(port, wantedLease, signal).catch((error: unknown) => {
          // Only for ever (725); some v1 routers say 402 to any lease but 0.
          const isLease =
            error instanceof SoapFault && (error.code === FAULT.onlyPermanent || error.code === FAULT.invalidArgs);
          if (!isLease) throw error;
          return add(port, 0, signal);
        });
      } catch (error) {
        if (error instanceof SoapFault && (error.code === FAULT.conflict || error.code === FAULT.conflictWithOther)) {
          throw conflict(gateway, port, await lookAt(port, signal), error);
        }
        throw explain(error, gateway);
      }
      // Read back: there are routers that say yes and do nothing, or another lease.
      const after = await lookAt(port, signal);
      if (typeof after === "object" && !isOurs(after, port)) throw conflict(gateway, port, after);
      if (after === "nobody") {
        throw garbage(service.control, `it took ${port.protocol} ${port.externalPort} and does not have it`);
      }
      return {
        externalPort: port.externalPort,
        // What cannot be read back is renewed as if it had been granted as asked.
        leaseSeconds: typeof after === "object" ? after.leaseSeconds : wantedLease,
        externalAddress: undefined,
        epochSeconds: undefined,
      };
    },
    async unmap(port, externalPort, signal) {
      const held = await holder({ ...port, externalPort }, signal);
      if (held === undefined || !isOurs(held, port)) return;
      try {
        await call("DeletePortMapping", entry({ ...port, externalPort }), signal);
      } catch (error) {
        if (!(error instanceof SoapFault && error.code === FAULT.noSuchEntry)) throw explain(error, gateway);
      }
    },
    holder,
  };
}

function conflict(
  gateway: string,
  port: PortRequest,
  held: Held | "nobody" | "untold",
  cause?: unknown,
): GatehouseError {
  const who =
    typeof held === "object" &&
    `${held.address}:${held.port}${held.description === "" ? "" : ` (${JSON.stringify(held.description)})`}`;
  return new GatehouseError("GATEHOUSE_ROUTER_CONFLICT", {
    message: `The router ${gateway} has ${port.protocol} ${port.externalPort} for ${who || "somebody else, and does not say for whom"}.`,
    hint: "Remove that forward in the router, or its own remote access from that port; Gatehouse takes nothing away from others.",
    ...(cause === undefined ? {} : { cause }),
  });
}

function explain(error: unknown, gateway: string): unknown {
  if (!(error instanceof SoapFault)) return error;
  const hints: Record<number, string> = {
    [FAULT.notAuthorized]:
      "The router lets this machine not map that port: look for rights or a list of allowed devices beside its UPnP setting.",
    [FAULT.samePortWanted]: "This router maps a port only to the same one inside: let Gatehouse listen on it.",
  };
  return new GatehouseError("GATEHOUSE_ROUTER_REFUSED", {
    message: `The router ${gateway} says no by UPnP: ${error.message}.`,
    hint:
      hints[error.code] ??
      "Look at the router's UPnP setting, or enter the forwards by hand: gatehouse router checklist",
    cause: error,
    detail: { result: error.code },
  });
}
