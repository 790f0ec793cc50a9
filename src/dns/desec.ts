/**
 * How is deSEC told?
 * Owns: its API for sets of records (https://desec.readthedocs.io/en/latest/dns/rrsets.html).
 * Never: touches a value that we did not write, but for the addresses of a name that was handed to us.
 */
import type { DnsProvider, ProviderSettings } from "./contract.ts";
import { failed, refused } from "./refusals.ts";
import { type WebCall, callWeb, isRecord, jsonOf } from "./web-call.ts";

type Settings = Extract<ProviderSettings, { kind: "desec" }>;

const PROVIDER = "deSEC";
const HINT = "Check desec.token, and that the domain is one of this account.";
/** Seconds: the least that deSEC takes of ordinary accounts. */
const TTL = 3_600;

export function createDesec(settings: Settings): DnsProvider {
  const domains = new Map<string, string>();

  function call(path: string, signal: AbortSignal, more: Partial<WebCall> = {}): ReturnType<typeof callWeb> {
    const url = new URL(`${settings.url.replace(/\/$/, "")}${path}`);
    const headers = { authorization: `Token ${settings.token}` };
    return callWeb({ provider: PROVIDER, hint: HINT, url, headers, ...more }, signal);
  }

  async function domainOf(name: string, signal: AbortSignal): Promise<string> {
    const known = domains.get(name);
    if (known !== undefined) return known;
    const { text } = await call(`/domains/?owns_qname=${encodeURIComponent(name)}`, signal);
    const list = jsonOf(PROVIDER, text);
    const [first] = Array.isArray(list) ? list.filter(isRecord) : [];
    const domain = first?.["name"];
    if (typeof domain !== "string" || (name !== domain && !name.endsWith(`.${domain}`))) {
      throw refused(`${PROVIDER} has no domain for ${name} in this account`, HINT);
    }
    domains.set(name, domain);
    return domain;
  }

  /** The values of a set; `change` says what they shall be. An empty set is removed. */
  async function change(
    name: string,
    type: string,
    values: (before: readonly string[]) => readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
    const domain = await domainOf(name, signal);
    const subname = name === domain ? "" : name.slice(0, -domain.length - 1);
    const path = `/domains/${encodeURIComponent(domain)}/rrsets/`;
    const one = `${path}${subname === "" ? "@" : encodeURIComponent(subname)}/${type}/`;
    const { status, text } = await call(one, signal, { alsoFine: [404] });
    const set = status === 404 ? undefined : jsonOf(PROVIDER, text);
    const before = isRecord(set) && Array.isArray(set["records"]) ? set["records"].map(String) : [];
    const after = values(before);
    if (after.length === before.length && after.every((value, at) => value === before[at])) return;
    // The bulk form makes, changes and (with no records) removes a set in one request.
    const body = [{ subname, type, ttl: TTL, records: after }];
    const answer = await call(path, signal, { method: "PUT", body });
    if (answer.status >= 300) throw failed(`${PROVIDER} answered ${answer.status}`);
  }

  return {
    kind: "desec",
    oneAtATimeMs: 0,
    present: (name, value, signal) =>
      change(name, "TXT", (before) => (before.includes(`"${value}"`) ? before : [...before, `"${value}"`]), signal),
    clear: (name, value, signal) =>
      change(name, "TXT", (before) => before.filter((each) => each !== `"${value}"`), signal),
    async setAddresses(name, { ipv4, ipv6 }, signal) {
      if (ipv4 !== undefined) await change(name, "A", () => [ipv4], signal);
      if (ipv6 !== undefined) await change(name, "AAAA", () => [ipv6], signal);
      return "shown";
    },
  };
}
