/**
 * What can be asked of a router, whichever protocol it speaks?
 * Owns: the contract that PCP, NAT-PMP and UPnP keep, and its words for a port.
 * Never: sends anything.
 */

/** One port that the world should reach. */
export interface PortRequest {
  protocol: "tcp" | "udp";
  /** Where we listen. */
  internalPort: number;
  /** What the world dials. */
  externalPort: number;
  /** How long the router keeps it unless it is renewed. Seconds. */
  leaseSeconds: number;
  /** Shown in the router's own list, where the protocol carries one. ASCII. */
  description: string;
}

export interface Granted {
  /** May differ from what was asked: then the caller gives it back. */
  externalPort: number;
  /** Seconds; 0 when the router keeps it for ever. */
  leaseSeconds: number;
  /** The router's WAN address, where the answer carries it. */
  externalAddress: string | undefined;
  epochSeconds: number | undefined;
}

export interface RouterState {
  /** Seconds since the router's mapping table was last empty; undefined where the protocol has no such clock. */
  epochSeconds: number | undefined;
  /** The router's WAN address; undefined where this question does not tell. */
  externalAddress: string | undefined;
}

export type Spoken = "pcp" | "nat-pmp" | "upnp-igd1" | "upnp-igd2";

/** The entry that the router has now. */
export interface Held {
  address: string;
  port: number;
  /** Seconds left; 0 for ever. */
  leaseSeconds: number;
  description: string;
}

/**
 * Every call rejects with
 * GATEHOUSE_ROUTER_SILENT when no answer came in time, GATEHOUSE_ROUTER_REFUSED when the router said no,
 * GATEHOUSE_ROUTER_CONFLICT when somebody else has the port (by name, where the router tells), GATEHOUSE_ROUTER_GARBAGE
 * when the answer makes no sense; and with the signal's reason.
 */
export interface RouterSpeaker {
  readonly speaks: Spoken;
  /** The cheapest question there is: is the router there, and has it forgotten? */
  state(signal: AbortSignal): Promise<RouterState>;
  /** Makes or renews. */
  map(port: PortRequest, signal: AbortSignal): Promise<Granted>;
  /** Gives back what `map` got. @param externalPort what was granted */
  unmap(port: PortRequest, externalPort: number, signal: AbortSignal): Promise<void>;
  /** Who has this external port? Undefined: nobody. Left out where the protocol cannot ask. */
  holder?(port: PortRequest, signal: AbortSignal): Promise<Held | undefined>;
}
