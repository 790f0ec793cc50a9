/**
 * Which addresses does the world get for a name?
 * Owns: asking each of the zone's own name servers for A and AAAA, through an alias if there is one.
 * Never: asks a resolver for them: that one would tell what was right a minute ago.
 */
import { type DnsServer, askDns } from "./ask.ts";
import { RECORD_TYPES, RCODES } from "./message.ts";
import { addressOf, type Zones } from "./zones.ts";

export interface Shown {
  server: string;
  /** As RFC 5952 writes them, sorted. */
  ipv4: readonly string[];
  ipv6: readonly string[];
}

/**
 * What each server that answers shows; none when no server answers, as in a network that lets no DNS out.
 *
 * @throws GATEHOUSE_DNS_FAILED when the zone cannot be found; the signal's reason
 */
export async function shownAddresses(zones: Zones, name: string, signal: AbortSignal): Promise<Shown[]> {
  const at = await zones.follow(name, signal);
  const servers = await zones.nameServersOf(at, signal);
  const answers = await Promise.all(servers.map((server) => ask(server, at, signal)));
  return answers.filter((one) => one !== undefined);
}

async function ask(server: DnsServer, name: string, signal: AbortSignal): Promise<Shown | undefined> {
  try {
    const [ipv4, ipv6] = await Promise.all((["A", "AAAA"] as const).map((type) => list(server, name, type, signal)));
    return ipv4 && ipv6 && { server: server.host, ipv4, ipv6 };
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}

/** Undefined: this server does not answer for the name. */
async function list(
  server: DnsServer,
  name: string,
  type: "A" | "AAAA",
  signal: AbortSignal,
): Promise<string[] | undefined> {
  const { answers, rcode } = await askDns(server, { name, type, recurse: false }, signal);
  const word = RCODES[rcode];
  if (word !== "NOERROR" && word !== "NXDOMAIN") return undefined;
  return answers
    .filter((record) => record.type === RECORD_TYPES[type])
    .map(({ data }) => plainAddress(addressOf(data)))
    .sort();
}

/** One spelling for each address. */
export const plainAddress = (address: string): string =>
  address.includes(":") ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address;
