/**
 * Do we see who comes, or does a NAT on the way give all visitors one address?
 * Owns: comparing what arrived before and after a connection that certainly came from outside.
 * Never: concludes it from what arrives by itself: at home the router's own loopback does the same to those inside.
 */
import type { VisitorsReport } from "../core/visitors.ts";
import { errorText } from "../core/errors.ts";
import { type Note, note } from "./finding.ts";
import { askProber } from "./outside.ts";
import type { AskVisitors } from "./running.ts";

/** Workers tell what they count once a second. */
const PULSE_MS = 1_500;
const HTTPS = 443;

export interface ClientsLook {
  prober: string | undefined;
  /** The running Gatehouse's count; undefined: none runs. */
  visitors: AskVisitors | undefined;
  router: string | undefined;
  signal: AbortSignal;
}

export async function lookAtClients({ prober, visitors, router, signal }: ClientsLook): Promise<Note[]> {
  if (visitors === undefined) {
    return [note("unknown", "CLIENTS_NOT_SEEN", { seen: "No Gatehouse runs that could tell who comes." })];
  }
  const before = await visitors();
  const { connections } = before.fromWorld;
  if (prober === undefined && connections > 0) {
    const seen = `Visitors come with addresses of their own: ${connections} connections from the internet so far.`;
    return [note("ok", "CLIENTS_SEEN", { seen })];
  }
  if (prober === undefined) {
    return [note("ok", "CLIENTS_NOT_YET", { seen: "Nobody from the internet has come since the start." })];
  }
  try {
    const { isOpen } = await askProber(prober.replaceAll("{port}", String(HTTPS)), signal);
    if (!isOpen) return [note("unknown", "CLIENTS_NOT_SEEN", { seen: "From outside nobody gets in now." })];
  } catch (error) {
    signal.throwIfAborted();
    return [note("unknown", "CLIENTS_NOT_SEEN", { seen: `The prober did not knock: ${errorText(error)}.` })];
  }
  let after = await visitors();
  if (!hasMore(before, after)) {
    await new Promise((resolve) => setTimeout(resolve, PULSE_MS));
    after = await visitors();
  }
  return [judgeClients(before, after, router)];
}

/** What a connection from outside, between the two, came in as. */
export function judgeClients(before: VisitorsReport, after: VisitorsReport, router: string | undefined): Note {
  if (after.fromWorld.connections > before.fromWorld.connections) {
    return note("ok", "CLIENTS_SEEN", { seen: "The prober came with an address of its own, so visitors do." });
  }
  const came = after.fromInside.filter(
    ({ address, connections: now }) =>
      now > (before.fromInside.find((one) => one.address === address)?.connections ?? 0),
  );
  const by = came.find(({ address }) => address === router) ?? came[0];
  if (by === undefined) {
    const seen = "The prober's connection opened, but did not come to this Gatehouse.";
    return note("unknown", "CLIENTS_NOT_SEEN", { seen });
  }
  const isRouter = by.address === router;
  return note("warning", "CLIENTS_HIDDEN", {
    seen: `Who comes from the internet seems to be ${by.address}${isRouter ? ", the router" : ""}: a NAT on the way hides all addresses.`,
    why: "Limits and bans then meet all visitors together, and no log says who it was.",
    next: isRouter
      ? "Switch off masquerading (source NAT, full NAT) for forwarded ports in the router."
      : `Is ${by.address} a container's bridge or a proxy? Let a container have the host's network; name a proxy in trustedProxies, or in proxyProtocolFrom.`,
  });
}

const hasMore = (before: VisitorsReport, after: VisitorsReport): boolean => total(after) > total(before);
const total = ({ fromWorld, fromInside }: VisitorsReport): number =>
  fromInside.reduce((sum, { connections }) => sum + connections, fromWorld.connections);
