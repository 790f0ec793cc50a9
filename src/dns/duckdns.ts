/**
 * How is DuckDNS told?
 * Owns: its one update address (https://www.duckdns.org/spec.jsp), the one TXT record that a whole name has there.
 * Never: asks oftener than it must: it is a gift of volunteers.
 */
import { isIP } from "node:net";
import { type DnsProvider, type ProviderSettings, SHORT_TTL } from "./contract.ts";
import { failed, quoted, refused } from "./refusals.ts";
import { plainAddress } from "./shown.ts";
import { callWeb } from "./web-call.ts";

type Settings = Extract<ProviderSettings, { kind: "duckdns" }>;

const SUFFIX = ".duckdns.org";
const HINT = "Check duckdns.token and the name: both stand on the page of your DuckDNS account.";

export function createDuckDns(settings: Settings): DnsProvider {
  /** Whatever stands below it, there is one name and one TXT record: `_acme-challenge.a.myhome.duckdns.org` → `myhome`. */
  function domainOf(name: string): string {
    if (name.endsWith(SUFFIX)) return name.slice(0, -SUFFIX.length).split(".").at(-1) ?? "";
    if (settings.domain !== undefined) return settings.domain;
    throw refused(
      `${name} is no name of DuckDNS`,
      "A name of your own domain needs a CNAME record of _acme-challenge to _acme-challenge.myhome.duckdns.org.",
    );
  }

  async function update(name: string, what: Readonly<Record<string, string>>, signal: AbortSignal): Promise<string[]> {
    const url = new URL("/update", settings.url);
    url.search = new URLSearchParams({
      domains: domainOf(name),
      token: settings.token,
      ...what,
      verbose: "true",
    }).toString();
    // Its no is a KO with status 200; a 404 has been an outage each time (home-assistant/addons#4144).
    const { text } = await callWeb({ provider: "DuckDNS", hint: HINT, url, alsoFine: [400, 403, 404] }, signal);
    const [verdict, ...told] = text.split("\n").map((line) => line.trim());
    if (verdict === "OK") return told;
    // Status 200 and KO: a wrong token, or a name that is not this account's.
    if (verdict === "KO") throw refused(`DuckDNS did not take the change of ${name}: it says KO and no more`, HINT);
    throw failed(`DuckDNS answered ${quoted(text) || "nothing"}`);
  }

  return {
    kind: "duckdns",
    oneAtATimeMs: SHORT_TTL * 1_000,
    async present(name, value, signal) {
      await update(name, { txt: value }, signal);
    },
    // There is one value at a time, and `clear` wipes it, whichever it is.
    async clear(name, value, signal) {
      await update(name, { txt: value, clear: "true" }, signal);
    },
    async setAddresses(name, { ipv4, ipv6 }, signal) {
      // Both by name: an address that is left out would be the caller's for IPv4, and is never found for IPv6.
      const what = { ...(ipv4 !== undefined && { ip: ipv4 }), ...(ipv6 !== undefined && { ipv6 }) };
      const [toldIpv4, toldIpv6] = await update(name, what, signal);
      for (const [wanted, told = ""] of [
        [ipv4, toldIpv4],
        [ipv6, toldIpv6],
      ]) {
        if (wanted === undefined || isIP(told) === 0 || plainAddress(told) === plainAddress(wanted)) continue;
        throw failed(`DuckDNS was told ${wanted} for ${name} and says that it has ${told}`);
      }
      return "shown";
    },
  };
}
