/**
 * Which address has this machine at home, and will it keep it?
 * Owns: leased or fixed; what a new address means for forwards made by hand.
 * Never: asks the router.
 */
import { execFile } from "node:child_process";
import type { Gateway } from "../network/gateway.ts";
import { HOME_ADDRESS_KEY, type HomeAddress, readHomeAddress } from "../network/home-address.ts";
import type { RouterReport } from "../network/router-report.ts";
import { type Note, note } from "./finding.ts";
import { keptFiles } from "./kept-files.ts";

const IP_WITHIN_MS = 2_000;
/** Who has not noticed a broken forward by then has none. */
const RECENT_MS = 30 * 86_400_000;

export interface LanLook {
  home: Gateway | undefined;
  /** The state folder, where the running Gatehouse writes the address down. */
  state: string;
  router: RouterReport | undefined;
  signal: AbortSignal;
}

export async function lookAtLan({ home, state, router, signal }: LanLook): Promise<Note[]> {
  if (home === undefined) {
    return [note("unknown", "LAN_UNKNOWN", { seen: "Without a gateway it is not known which address is the home's." })];
  }
  const bytes = await keptFiles(state)
    .read(HOME_ADDRESS_KEY)
    .catch(() => undefined);
  const moved = changed(home, readHomeAddress(bytes), router);
  return [...(moved === undefined ? [] : [moved]), await kept(home, signal)];
}

function changed(home: Gateway, known: HomeAddress | undefined, router: RouterReport | undefined): Note | undefined {
  const { ownAddress, ownMac, address } = home;
  const before =
    known === undefined || known.address === ownAddress ? known?.before : { address: known.address, until: Date.now() };
  if (before === undefined || before.address === ownAddress || Date.now() - before.until > RECENT_MS) return undefined;
  // Forwards that we asked for went along.
  const isFollowed =
    router !== undefined &&
    router.map !== "off" &&
    router.error === undefined &&
    router.ports.every(({ state }) => state === "mapped");
  const last = before.address;
  return note(isFollowed ? "note" : "warning", "LAN_ADDRESS_CHANGED", {
    seen: `This machine is ${ownAddress} at home, and was ${last} until ${new Date(before.until).toISOString().slice(0, 10)}.`,
    why: "Forwards made by hand, trusted proxies of machines inside and DNS answers at home still have the last address.",
    next: `Put ${ownAddress} in the place of ${last} there; or reserve ${last} for ${ownMac ?? "this machine's MAC address"} on http://${address}/ and join the network again.`,
  });
}

async function kept({ ownAddress, ownMac, interface: name, address }: Gateway, signal: AbortSignal): Promise<Note> {
  const seen = `This machine is ${ownAddress} on ${name}`;
  const isLeased = await leased(name, ownAddress, signal);
  if (isLeased === undefined) {
    return note("ok", "LAN_ADDRESS", { seen: `${seen}; whether that is fixed, the system does not tell.` });
  }
  if (!isLeased) return note("ok", "LAN_ADDRESS_FIXED", { seen: `${seen}, set by hand or without end.` });
  const reserved = `${ownMac ?? "this machine's MAC address"} → ${ownAddress}`;
  return note("note", "LAN_ADDRESS_LEASED", {
    seen: `${seen}, leased from the router.`,
    why: "When the lease goes to another machine, forwards lead there.",
    next: `Unless it is done already: reserve ${reserved} on http://${address}/ ("address reservation", "static DHCP").`,
  });
}

/** The kernel knows (`dynamic` of iproute2); undefined without that program. */
function leased(name: string, address: string, signal: AbortSignal): Promise<boolean | undefined> {
  return new Promise((resolve) => {
    const args = ["-j", "address", "show", "dev", name];
    execFile("ip", args, { signal, timeout: IP_WITHIN_MS, encoding: "utf8" }, (error, stdout) => {
      if (error !== null) {
        resolve(undefined);
        return;
      }
      let isLeased: boolean | undefined;
      try {
        const links = JSON.parse(stdout) as { addr_info?: { local?: string; dynamic?: boolean }[] }[];
        const found = links.flatMap(({ addr_info = [] }) => addr_info).find(({ local }) => local === address);
        isLeased = found && found.dynamic === true;
      } catch {
        // Another program of that name.
      }
      resolve(isLeased);
    });
  });
}
