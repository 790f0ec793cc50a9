/**
 * Does the name open inside the home, too?
 * Owns: trying our public address from inside; telling a router without loopback from a closed port, where that can be
 *   told; the answers for an inside DNS.
 * Never: calls a port closed that only this machine cannot see.
 */
import type { SiteConfig } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import type { Gateway } from "../network/gateway.ts";
import type { PublicAddress } from "../network/public-ip.ts";
import { httpsPlace, servedAt } from "./certificates.ts";
import { type Note, note } from "./finding.ts";
import { ownPublic } from "./home.ts";
import type { Running } from "./running.ts";

const HTTPS = 443;

export interface LoopbackLook {
  sites: readonly SiteConfig[];
  home: Gateway | undefined;
  seen: PublicAddress | undefined;
  running: Running | undefined;
  signal: AbortSignal;
}

export async function lookAtLoopback({ sites, home, seen, running, signal }: LoopbackLook): Promise<Note[]> {
  const place = httpsPlace(running);
  const site = sites.find(({ passthrough }) => passthrough === undefined);
  const address = seen?.ipv4;
  if (place === undefined || site === undefined || address === undefined || home === undefined) {
    const missing =
      place === undefined
        ? "no Gatehouse serves now"
        : address === undefined
          ? "the public address is not known"
          : "there is no name or no router";
    return [note("unknown", "LOOPBACK_NOT_TRIED", { seen: `The way out and back in was not tried: ${missing}.` })];
  }
  if (ownPublic(home) === address) {
    return [note("ok", "LOOPBACK_NOT_NEEDED", { seen: `This machine has the public address ${address} itself.` })];
  }
  const name = site.name.replace("*", "gatehouse-doctor");
  const here = await servedAt(place.host, place.port, name, signal);
  try {
    const there = await servedAt(address, HTTPS, name, signal);
    if (there.fingerprint === here.fingerprint) {
      const seen = `From inside, ${address}:${HTTPS} leads here as well.`;
      return [note("ok", "LOOPBACK_WORKS", { seen })];
    }
    return [judged({ sites, home, running, address, saw: "another machine's certificate" })];
  } catch (error) {
    signal.throwIfAborted();
    return [judged({ sites, home, running, address, saw: errorText(error) })];
  }
}

interface Failed {
  sites: readonly SiteConfig[];
  home: Gateway;
  running: Running | undefined;
  address: string;
  saw: string;
}

/** That the router has 443 mapped to us on that very address is the proof that the port is not simply closed there. */
function judged({ sites, home, running, address, saw }: Failed): Note {
  const router = running?.router;
  const isMapped =
    router?.error === undefined &&
    router?.externalAddress === address &&
    router.ports.some((one) => one.family === "ipv4" && one.externalPort === HTTPS && one.state === "mapped");
  const snippets = splitDns(
    sites.map(({ name }) => name),
    home.ownAddress,
  );
  const seen = `From inside, ${address}:${HTTPS} does not lead here (${saw})`;
  const why = "At home, phones and computers then cannot open the name that works everywhere else.";
  if (isMapped) {
    return {
      ...note("warning", "LOOPBACK_MISSING", {
        seen: `${seen}, though the router has the port mapped: it has no loopback (hairpin NAT).`,
        why,
        next: `Switch loopback on in the router, or let the DNS at home answer ${home.ownAddress}, with one of the texts below.`,
      }),
      snippets,
    };
  }
  return {
    ...note("unknown", "LOOPBACK_OR_CLOSED", {
      seen: `${seen}: the port is not forwarded, or the router has no loopback; from inside these look the same.`,
      why,
      next: "Open the name with a phone off the Wi-Fi. If it opens there, use one of the texts below; if not, the forward is missing.",
    }),
    snippets,
  };
}

/** The same answer in five dialects. A wildcard becomes its whole domain where the dialect can say it. */
export function splitDns(names: readonly string[], address: string): Record<string, string> {
  const plain = names.filter((name) => !name.startsWith("*."));
  const whole = names.filter((name) => name.startsWith("*.")).map((name) => name.slice(2));
  const each = (list: readonly string[], line: (name: string) => string): string[] => list.map(line);
  const lines = {
    dnsmasq: [
      ...each(plain, (name) => `host-record=${name},${address}`),
      ...each(whole, (name) => `address=/${name}/${address}`),
    ],
    "Pi-hole (Settings > Local DNS Records)": each(plain, (name) => `${address} ${name}`),
    "AdGuard Home (Filters > DNS rewrites)": [
      ...each(plain, (name) => `${name} → ${address}`),
      ...each(whole, (name) => `*.${name} → ${address}`),
    ],
    unbound: [
      "server:",
      ...each(plain, (name) => `  local-data: "${name}. A ${address}"`),
      ...each(whole, (name) => `  local-zone: "${name}." redirect\n  local-data: "${name}. A ${address}"`),
    ],
    "hosts file": each(plain, (name) => `${address} ${name}`),
  };
  return Object.fromEntries(
    Object.entries(lines)
      .filter(([, text]) => text.length > 0)
      .map(([program, text]) => [program, `${text.join("\n")}\n`]),
  );
}
