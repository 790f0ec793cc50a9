/**
 * Does the world's way to this machine lead through: the router, and what is in front of it?
 * Owns: what a router silent or a second NAT means for a home.
 * Never: asks the router for a port.
 */
import type { Config } from "../config/model.ts";
import { kindOf } from "../network/addresses.ts";
import type { Gateway } from "../network/gateway.ts";
import type { PublicAddress } from "../network/public-ip.ts";
import type { RouterReport } from "../network/router-report.ts";
import { type Note, note } from "./finding.ts";
import type { Reached } from "./look.ts";

export function lookAtGateway(home: Gateway | undefined): Note[] {
  if (home !== undefined) {
    return [note("ok", "GATEWAY", { seen: `The router is ${home.address}, on ${home.interface}.` })];
  }
  return [
    note("error", "GATEWAY_NONE", {
      seen: "This machine has no default gateway for IPv4.",
      why: "Nothing leaves this network, and no answer finds its way out.",
      next: "Plug in the cable or join the Wi-Fi; ip route shows the line `default via …` when it is well.",
    }),
  ];
}

const NO_PUBLIC_ADDRESS =
  ". Careful routers refuse, too, when their own address outside is no public one: compare the one on its page with what a what-is-my-IP page shows.";

export function lookAtRouter(
  { router: { map } }: Config,
  report: RouterReport | undefined,
  reached: Reached | undefined,
): Note[] {
  const why = "Without its forwards nothing from outside comes here.";
  const checklist =
    "Enter the forwards by hand: gatehouse router checklist prints the form with this network's numbers.";
  if (map === "off") {
    return [
      note("unknown", "ROUTER_FORWARDS_UNKNOWN", {
        seen: "router.map is off, so it is not known whether the router leads our ports here.",
        why,
        next: `With router: { map: auto } Gatehouse asks it to. ${checklist}`,
      }),
    ];
  }
  if (report === undefined || report.map === "off") {
    const { speaks, error } = reached ?? {};
    if (speaks !== undefined) {
      const seen = `The router answers ${speaks}; it is asked for the ports once Gatehouse runs.`;
      return [note("note", "ROUTER_NOT_ASKED_YET", { seen })];
    }
    const seen = error ?? "There is no router to ask.";
    return [
      note("warning", "ROUTER_SILENT", { seen, why, next: `Turn on UPnP or PCP in the router. Or: ${checklist}` }),
    ];
  }
  if (report.error !== undefined) {
    const { code, message, hint } = report.error;
    return [note("error", code.replace("GATEHOUSE_", ""), { seen: message, why, next: hint ?? checklist })];
  }
  const bad = report.ports.filter(({ state }) => state !== "mapped");
  if (bad.length === 0) {
    const list = report.ports.map((one) => `${one.protocol} ${one.externalPort}`).join(", ");
    return [note("ok", "ROUTER_MAPPED", { seen: `The router leads ${list === "" ? "no port" : list} here.` })];
  }
  return bad.map((one) => {
    const subject = `${one.protocol} port ${one.externalPort}`;
    return note(one.state === "waiting" ? "warning" : "error", `ROUTER_PORT_${one.state.toUpperCase()}`, {
      subject,
      seen: one.error?.message ?? `The router does not lead ${subject} here yet.`,
      why,
      next: `${one.error?.hint?.replace(/\.$/, "") ?? (one.state === "waiting" ? "Look again in a minute." : checklist)}${one.state === "refused" ? NO_PUBLIC_ADDRESS : ""}`,
    });
  });
}

export function lookAtPublic(seen: PublicAddress | undefined): Note[] {
  if (seen === undefined) {
    return [note("unknown", "PUBLIC_ADDRESS_UNKNOWN", { seen: "The public address was not found out in time." })];
  }
  const { ipv4, nat, routerAddress: wan = "unknown", answers } = seen;
  const outside = ipv4 === undefined ? "" : `; the world sees ${ipv4}`;
  const why = "Forwards on your router are not enough: what comes from outside ends at the NAT in front of it.";
  const ways = "Or reach this home by IPv6, or by a tunnel to a machine outside.";
  if (nat === "shared") {
    const next = `Ask the provider for a public IPv4 address of your own. ${ways}`;
    return [
      note("error", "CGNAT", {
        seen: `The router's outside address ${wan} is shared by the provider (CGNAT)${outside}.`,
        why,
        next,
      }),
    ];
  }
  if (nat === "private") {
    const next = `Put the box in front (the modem) into bridge mode, or forward 443 and 80 there to ${wan} as well. ${ways}`;
    return [
      note("error", "DOUBLE_NAT", {
        seen: `The router's outside address ${wan} is private: there is a second NAT${outside}.`,
        why,
        next,
      }),
    ];
  }
  if (nat === "different") {
    const next = `A VPN on the router, or a NAT of the provider: ask which one. ${ways}`;
    return [note("error", "WAN_DIFFERS", { seen: `The router says that its address is ${wan}${outside}.`, why, next })];
  }
  if (nat === "none")
    return [note("ok", "PUBLIC_ADDRESS", { seen: `The router has the public address ${ipv4} itself.` })];
  const silent = answers.filter(({ error }) => error !== undefined).map((one) => `${one.witness}: ${one.error}`);
  const asked = answers.length === 0 ? "no witness was asked" : silent.length === 0 ? "" : silent.join("; ");
  const half =
    ipv4 === undefined
      ? "The public address is not known"
      : wan === "unknown"
        ? `The world sees ${ipv4}; what the router has is not known, so neither is whether a second NAT is in front`
        : `The router has ${wan}; nobody outside confirmed it`;
  return [
    note("unknown", ipv4 === undefined ? "PUBLIC_ADDRESS_UNKNOWN" : "PUBLIC_ADDRESS_UNCONFIRMED", {
      seen: `${half}${asked === "" ? "" : ` (${asked})`}.`,
      next: "Compare the address on the router's own page (WAN, Internet) with what a what-is-my-IP page shows.",
    }),
  ];
}

/** A machine that has a public address itself (a server) has no NAT in front. */
export const ownPublic = (home: Gateway | undefined): string | undefined =>
  home !== undefined && kindOf(home.ownAddress) === "public" ? home.ownAddress : undefined;
