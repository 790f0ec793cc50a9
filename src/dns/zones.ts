/**
 * Where does a record really stand, and who answers for it?
 * Owns: following aliases (CNAME), finding the zone of a name and its name servers.
 * Never: writes.
 */
import { getServers } from "node:dns";
import { errorText } from "../core/errors.ts";
import { type DnsServer, askDns } from "./ask.ts";
import { type DnsMessage, type DnsRecord, type RecordType, RCODES, RECORD_TYPES, decodeName } from "./message.ts";
import { failed, refused } from "./refusals.ts";

const DNS_PORT = 53;
/** Resolvers give up at about as many. */
const MAX_ALIASES = 8;
/** Real zones have two to eight; each is asked again and again. */
const MAX_NAME_SERVERS = 16;

export interface ZonesOptions {
  /** Resolvers to ask. Default: those of the system. */
  resolvers?: readonly DnsServer[] | undefined;
  /** Ask these in place of the zone's own name servers: a hidden primary, or a zone with two faces. */
  nameServers?: readonly DnsServer[] | undefined;
}

export interface Zones {
  /** The name at the end of the aliases: where the record has to be written. */
  follow(name: string, signal: AbortSignal): Promise<string>;
  /** The zone that the name lies in. */
  zoneOf(name: string, signal: AbortSignal): Promise<string>;
  /**
   * What a resolver says; records of other types and owners (an alias on the way) are among them.
   *
   * @throws GATEHOUSE_DNS_FAILED when no resolver has an opinion; the signal's reason
   */
  records(name: string, type: RecordType, signal: AbortSignal): Promise<readonly DnsRecord[]>;
  /** Addresses of those who answer for the name. */
  nameServersOf(name: string, signal: AbortSignal): Promise<DnsServer[]>;
}

export function createZones(options: ZonesOptions = {}): Zones {
  const resolvers = (): readonly DnsServer[] =>
    options.resolvers !== undefined && options.resolvers.length > 0 ? options.resolvers : systemResolvers();

  /** The first resolver that has an opinion. */
  async function ask(name: string, type: RecordType, signal: AbortSignal): Promise<DnsMessage> {
    let trouble: unknown = new Error("this machine has no DNS server set");
    for (const server of resolvers()) {
      try {
        const message = await askDns(server, { name, type, recurse: true }, signal);
        const rcode = RCODES[message.rcode] ?? `code ${message.rcode}`;
        if (rcode === "NOERROR" || rcode === "NXDOMAIN") return message;
        trouble = new Error(`${server.host} answers ${rcode}`);
      } catch (error) {
        signal.throwIfAborted();
        trouble = new Error(`${server.host}: ${errorText(error)}`);
      }
    }
    throw failed(`${name} could not be looked up`, trouble);
  }

  async function follow(name: string, signal: AbortSignal): Promise<string> {
    const seen = new Set([name]);
    for (let at = name; ;) {
      const { answers } = await ask(at, "CNAME", signal);
      const alias = answers.find((record) => record.type === RECORD_TYPES.CNAME && record.name === at);
      if (alias === undefined) return at;
      at = decodeName(alias.data, 0).name;
      if (seen.has(at) || seen.size > MAX_ALIASES) {
        throw refused(`${name} is an alias that leads in circles`, "Correct the CNAME records of this name.");
      }
      seen.add(at);
    }
  }

  async function zoneOf(name: string, signal: AbortSignal): Promise<string> {
    const { answers, authority } = await ask(name, "SOA", signal);
    // A name inside a zone is answered with the zone's SOA in the authority section (RFC 2308 §2).
    const soa = [...answers, ...authority].find(
      ({ type, name: owner }) => type === RECORD_TYPES.SOA && isWithin(name, owner),
    );
    if (soa !== undefined) return soa.name;
    throw failed(`the zone of ${name} could not be found`);
  }

  return {
    follow,
    zoneOf,
    records: async (name, type, signal) => (await ask(name, type, signal)).answers,
    async nameServersOf(name, signal) {
      if (options.nameServers !== undefined && options.nameServers.length > 0) return [...options.nameServers];
      const zone = await zoneOf(name, signal);
      const { answers } = await ask(zone, "NS", signal);
      const hosts = answers.filter(({ type }) => type === RECORD_TYPES.NS).map(({ data }) => decodeName(data, 0).name);
      const servers: DnsServer[] = [];
      for (const host of hosts.slice(0, MAX_NAME_SERVERS)) {
        for (const type of ["A", "AAAA"] as const) {
          const found = await ask(host, type, signal).catch(() => undefined);
          signal.throwIfAborted();
          const record = found?.answers.find((each) => each.type === RECORD_TYPES[type]);
          if (record === undefined) continue;
          servers.push({ host: addressOf(record.data), port: DNS_PORT });
          break; // one address is enough to know what this server says
        }
      }
      if (servers.length === 0) throw failed(`no name server of ${zone} could be found`);
      return servers;
    },
  };
}

export const isWithin = (name: string, zone: string): boolean =>
  name === zone || zone === "" || name.endsWith(`.${zone}`);

/** What the data of an A or AAAA record say; IPv6 in its long form. */
export function addressOf(data: Buffer): string {
  if (data.length === 4) return [...data].join(".");
  const groups = Array.from({ length: 8 }, (_, at) => data.readUInt16BE(at * 2).toString(16));
  return groups.join(":");
}

/** `192.0.2.1`, `2001:db8::1`, or with a port: `192.0.2.1:5353`, `[2001:db8::1]:5353`. */
function systemResolvers(): DnsServer[] {
  return getServers().map((text) => {
    const withPort = /^(?:\[([^\]]+)\]|([\d.]+)):(\d+)$/.exec(text);
    return withPort === null
      ? { host: text, port: DNS_PORT }
      : { host: withPort[1] ?? withPort[2] ?? "", port: Number(withPort[3]) };
  });
}
