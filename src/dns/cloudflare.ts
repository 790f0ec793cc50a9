/**
 * How is Cloudflare told?
 * Owns: its API for zones and DNS records (https://developers.cloudflare.com/api/resources/dns/), with an API token.
 * Never: touches a record that we did not write, but for the addresses of a name that was handed to us.
 */
import { type DnsProvider, type ProviderSettings, SHORT_TTL } from "./contract.ts";
import { failed, refused } from "./refusals.ts";
import { type WebCall, callWeb, isRecord, jsonOf } from "./web-call.ts";

type Settings = Extract<ProviderSettings, { kind: "cloudflare" }>;

const PROVIDER = "Cloudflare";
const HINT = "Check cloudflare.token: it needs the permission DNS: Edit (and Zone: Read) for this zone.";

interface CloudflareRecord {
  id: string;
  content: string;
  isProxied: boolean;
}

export function createCloudflare(settings: Settings): DnsProvider {
  /** Zones do not change their id; a process asks once for each. */
  const zones = new Map<string, string>();

  async function call(path: string, signal: AbortSignal, more: Partial<WebCall> = {}): Promise<unknown> {
    const url = new URL(`${settings.url.replace(/\/$/, "")}${path}`);
    const headers = { authorization: `Bearer ${settings.token}` };
    const { text } = await callWeb({ provider: PROVIDER, hint: HINT, url, headers, ...more }, signal);
    const answer = jsonOf(PROVIDER, text);
    if (!isRecord(answer) || answer["success"] !== true) throw failed(`${PROVIDER} answered without success`);
    return answer["result"];
  }

  async function zoneOf(name: string, signal: AbortSignal): Promise<string> {
    const labels = name.split(".");
    // A zone has two labels at least; the longest that exists is the one that counts.
    for (let at = 0; at <= labels.length - 2; at++) {
      const zone = labels.slice(at).join(".");
      const known = zones.get(zone);
      if (known !== undefined) return known;
      const [found] = listOf(await call(`/zones?name=${encodeURIComponent(zone)}`, signal));
      if (found === undefined) continue;
      zones.set(zone, found.id);
      return found.id;
    }
    throw refused(`${PROVIDER} has no zone for ${name} that this token may see`, HINT);
  }

  async function find(zone: string, type: string, name: string, signal: AbortSignal): Promise<CloudflareRecord[]> {
    const query = new URLSearchParams({ type, name, per_page: "100" });
    return listOf(await call(`/zones/${zone}/dns_records?${query.toString()}`, signal));
  }

  const add = (zone: string, type: string, name: string, content: string, signal: AbortSignal): Promise<unknown> =>
    call(`/zones/${zone}/dns_records`, signal, {
      method: "POST",
      body: { type, name, content, ttl: SHORT_TTL, comment: "gatehouse" },
    });

  const remove = (zone: string, id: string, signal: AbortSignal): Promise<unknown> =>
    call(`/zones/${zone}/dns_records/${encodeURIComponent(id)}`, signal, { method: "DELETE" });

  return {
    kind: "cloudflare",
    oneAtATimeMs: 0,
    async present(name, value, signal) {
      const zone = await zoneOf(name, signal);
      const there = await find(zone, "TXT", name, signal);
      if (!there.some(({ content }) => unquoted(content) === value)) await add(zone, "TXT", name, `"${value}"`, signal);
    },
    async clear(name, value, signal) {
      const zone = await zoneOf(name, signal);
      for (const { id, content } of await find(zone, "TXT", name, signal)) {
        if (unquoted(content) === value) await remove(zone, id, signal);
      }
    },
    async setAddresses(name, { ipv4, ipv6 }, signal) {
      const zone = await zoneOf(name, signal);
      let isProxied = false;
      for (const [type, address] of [
        ["A", ipv4],
        ["AAAA", ipv6],
      ] as const) {
        if (address === undefined) continue;
        const [first, ...others] = await find(zone, type, name, signal);
        isProxied ||= first?.isProxied === true;
        if (first === undefined) await add(zone, type, name, address, signal);
        else if (first.content !== address) {
          // PATCH keeps what a person set besides, such as the proxy switch.
          const path = `/zones/${zone}/dns_records/${encodeURIComponent(first.id)}`;
          await call(path, signal, { method: "PATCH", body: { content: address } });
        }
        for (const { id } of others) await remove(zone, id, signal);
      }
      return isProxied ? "hidden" : "shown";
    },
  };
}

/** The API gives TXT back with or without the quotes of a zone file. */
const unquoted = (content: string): string => content.replace(/^"(.*)"$/, "$1");

function listOf(result: unknown): CloudflareRecord[] {
  if (!Array.isArray(result)) throw failed(`${PROVIDER} answered with something else than a list`);
  return result
    .filter(isRecord)
    .flatMap(({ id, content, proxied }) =>
      typeof id === "string" && /^[\w-]{1,64}$/.test(id)
        ? [{ id, content: typeof content === "string" ? content : "", isProxied: proxied === true }]
        : [],
    );
}
