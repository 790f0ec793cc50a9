/**
 * Which protocol does our router speak best?
 * Owns: trying PCP, NAT-PMP and UPnP side by side, and the choice among those that answer.
 * Never: asks for a port.
 */
import { GatehouseError, isGatehouseError } from "../core/errors.ts";
import type { Gateway } from "./gateway.ts";
import { createNatPmp } from "./nat-pmp.ts";
import { createPcp } from "./pcp.ts";
import type { RouterSpeaker } from "./speaker.ts";
import { createPinholes } from "./upnp-pinhole.ts";
import { findUpnp } from "./upnp.ts";

export type Protocol = "pcp" | "nat-pmp" | "upnp";

/** What answers at one gateway. */
export interface RouterLink {
  gateway: Gateway;
  protocol: Protocol;
  speaker: RouterSpeaker;
  /** Opens the router's IPv6 firewall, where it lets itself be asked. */
  ipv6: RouterSpeaker | undefined;
}

export interface LinkOptions {
  gateway: Gateway;
  /** In the order of preference. */
  protocols: readonly Protocol[];
  /** Of PCP's nonces: at least 16 bytes, the same after a restart. */
  secret: Buffer;
  signal: AbortSignal;
}

/** Once one has answered, those that would be better get this long to answer as well. */
const GRACE_MS = 1_000;
/** The slowest is PCP, whose second question goes out after 3 s and is waited for 6 s more. */
const FIND_WITHIN_MS = 10_000;
const PROBE_SENDINGS = 2;

interface Found {
  protocol: Protocol;
  speaker: RouterSpeaker;
  pinholes: RouterSpeaker | undefined;
}

/** @throws GATEHOUSE_ROUTER_SILENT when none answers; what one of them said when it said no; the signal's reason */
export async function linkToRouter({ gateway, protocols, secret, signal }: LinkOptions): Promise<RouterLink> {
  const { address, ownAddress } = gateway;
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(silent(address, protocols)), FIND_WITHIN_MS);
  const both = AbortSignal.any([signal, late.signal]);

  const attempts: Record<Protocol, () => Promise<Found>> = {
    pcp: async () => {
      await createPcp({ gateway: address, ownAddress, secret, sendings: PROBE_SENDINGS }).state(both);
      return { protocol: "pcp", speaker: createPcp({ gateway: address, ownAddress, secret }), pinholes: undefined };
    },
    "nat-pmp": async () => {
      const speaker = createNatPmp({ gateway: address, ownAddress });
      await speaker.state(both);
      return { protocol: "nat-pmp", speaker, pinholes: undefined };
    },
    upnp: async () => {
      const speaker = await findUpnp({ gateway: address, ownAddress }, both);
      const { firewall } = speaker;
      const pinholes =
        firewall && gateway.ipv6
          ? createPinholes({ service: firewall, gateway: gateway.ipv6.address, ownIpv6: gateway.ipv6.ownAddress })
          : undefined;
      return { protocol: "upnp", speaker, pinholes };
    },
  };
  try {
    const best = await preferred(
      protocols.map((protocol) => attempts[protocol]()),
      address,
      protocols,
    );
    return {
      gateway,
      protocol: best.protocol,
      speaker: best.speaker,
      ipv6: best.pinholes ?? (protocols.includes("pcp") ? await ipv6ByPcp(gateway, secret, signal) : undefined),
    };
  } finally {
    clearTimeout(timer);
    late.abort(silent(address, protocols));
  }
}

/** The first in the list that answers, without waiting long for it once a later one has. */
async function preferred(tries: Promise<Found>[], address: string, protocols: readonly Protocol[]): Promise<Found> {
  const answers: (Found | undefined)[] = [];
  const settled = tries.map((one, at) => one.then((found) => void (answers[at] = found)));
  await Promise.any(settled).catch((error: unknown) => {
    const errors: unknown[] = error instanceof AggregateError ? error.errors : [];
    // A no is worth more to a person than silence.
    const isNo = (one: unknown): one is Error =>
      one instanceof Error && !isGatehouseError(one, "GATEHOUSE_ROUTER_SILENT");
    throw errors.find(isNo) ?? silent(address, protocols);
  });
  const firstAt = answers.findIndex((found) => found !== undefined);
  const better = settled.slice(0, firstAt);
  let timer: NodeJS.Timeout | undefined;
  const grace = new Promise<void>((resolve) => (timer = setTimeout(resolve, GRACE_MS)));
  await Promise.race([Promise.allSettled(better), grace]);
  clearTimeout(timer);
  const best = answers.find((found) => found !== undefined);
  if (best === undefined) throw silent(address, protocols);
  return best;
}

/** A router may speak PCP for its IPv6 firewall and something else for IPv4. */
async function ipv6ByPcp(gateway: Gateway, secret: Buffer, signal: AbortSignal): Promise<RouterSpeaker | undefined> {
  if (gateway.ipv6 === undefined) return undefined;
  const where = { gateway: gateway.ipv6.address, ownAddress: gateway.ipv6.ownAddress, secret };
  try {
    await createPcp({ ...where, sendings: 1 }).state(signal);
    return createPcp(where);
  } catch (error) {
    if (isGatehouseError(error)) return undefined;
    throw error;
  }
}

const NAMES: Record<Protocol, string> = { pcp: "PCP", "nat-pmp": "NAT-PMP", upnp: "UPnP" };

function silent(address: string, protocols: readonly Protocol[]): GatehouseError {
  return new GatehouseError("GATEHOUSE_ROUTER_SILENT", {
    message: `The router ${address} does not answer ${protocols.map((one) => NAMES[one]).join(", ")}.`,
    hint: "Turn on UPnP or PCP/NAT-PMP in the router, or enter the forwards there by hand: gatehouse router checklist",
  });
}
