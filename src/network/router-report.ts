/**
 * What is known of the router, and what would a person enter in its form?
 * Owns: the shapes that `gatehouse router` shows (plain JSON, times in ms since 1970); the checklist.
 * Never: asks anything.
 */
import { errorText, isGatehouseError } from "../core/errors.ts";
import { kindOf, type AddressKind } from "./addresses.ts";
import type { Gateway } from "./gateway.ts";
import type { MappedPort, PortState, WantedPort } from "./mapped-port.ts";
import type { RouterLink } from "./router-link.ts";

interface Failure {
  code: string;
  message: string;
  hint: string | undefined;
}

export interface RouterPortReport {
  name: string;
  protocol: "tcp" | "udp";
  family: "ipv4" | "ipv6";
  externalPort: number;
  internalPort: number;
  state: PortState;
  /** Undefined: not mapped, or without end. */
  until: number | undefined;
  /** Times that it had to be made again. */
  repairs: number;
  error: Failure | undefined;
}

export interface RouterReport {
  /** off: not asked at all. */
  map: "off" | "auto" | "pcp" | "nat-pmp" | "upnp";
  gateway: Gateway | undefined;
  speaks: string | undefined;
  /** How its IPv6 firewall can be asked, if it can. */
  speaksIpv6: string | undefined;
  externalAddress: string | undefined;
  /** private and shared: another NAT is in front. */
  externalKind: AddressKind | undefined;
  lastAnswerAt: number | undefined;
  ports: readonly RouterPortReport[];
  error: Failure | undefined;
}

export interface ReportSources {
  map: RouterReport["map"];
  gateway: Gateway | undefined;
  link: RouterLink | undefined;
  externalAddress: string | undefined;
  lastAnswerAt: number | undefined;
  ports: readonly MappedPort[];
  error: unknown;
}

export function reportOf({ link, ports, error, ...known }: ReportSources): RouterReport {
  return {
    ...known,
    speaks: link?.speaker.speaks,
    speaksIpv6: link?.ipv6?.speaks,
    externalKind: known.externalAddress === undefined ? undefined : kindOf(known.externalAddress),
    ports: ports
      .filter((one) => one.family === "ipv4" || link?.ipv6 !== undefined)
      .map(({ port, family, state, until, repairs, error: failure }) => ({
        name: port.name,
        protocol: port.protocol,
        family,
        externalPort: family === "ipv6" ? port.internalPort : port.externalPort,
        internalPort: port.internalPort,
        state,
        until,
        repairs,
        error: failure,
      })),
    error:
      error === undefined
        ? undefined
        : {
            code: isGatehouseError(error) ? error.code : "GATEHOUSE_ROUTER_GARBAGE",
            message: errorText(error),
            hint: isGatehouseError(error) ? error.hint : undefined,
          },
  };
}

/** The router's form, filled in: the words of the form first, as most routers have them. */
export interface ChecklistEntry {
  serviceName: string;
  /** External port or range. */
  portRange: string;
  localIp: string;
  localPort: number;
  protocol: "TCP" | "UDP";
}

export interface Checklist {
  router: string | undefined;
  forwards: readonly ChecklistEntry[];
  /** So that the local IP stays what it is. */
  reservation: { mac: string | undefined; ip: string } | undefined;
  /** For the router's IPv6 firewall. */
  ipv6: { address: string; ports: readonly { protocol: "TCP" | "UDP"; port: number }[] } | undefined;
}

export function checklistOf(gateway: Gateway | undefined, wanted: readonly WantedPort[]): Checklist {
  const upper = (port: WantedPort) => (port.protocol === "tcp" ? "TCP" : "UDP");
  return {
    router: gateway?.address,
    forwards:
      gateway === undefined
        ? []
        : wanted.map((port) => ({
            serviceName: `Gatehouse ${port.name}`,
            portRange: String(port.externalPort),
            localIp: gateway.ownAddress,
            localPort: port.internalPort,
            protocol: upper(port),
          })),
    reservation: gateway && { mac: gateway.ownMac, ip: gateway.ownAddress },
    ipv6: gateway?.ipv6 && {
      address: gateway.ipv6.ownAddress,
      ports: wanted
        .filter((port) => port.families.includes("ipv6"))
        .map((port) => ({ protocol: upper(port), port: port.internalPort })),
    },
  };
}
