/**
 * Whose addresses are kept, by whom, and who tells what the address is?
 * Owns: the blocks `ddns` and `dyndns2`, which service a name is kept by, and how both are written out again.
 * Never: asks anybody.
 */
import { isIP, isIPv6 } from "node:net";
import { checkName } from "../../core/names.ts";
import { formatDuration } from "../../core/time.ts";
import { Refusal, shown } from "../findings.ts";
import { choice, duration, leaf, oneOrMany, optionalBlock, secretText, text } from "../values/leaves.ts";
import type { AddressWriterConfig, DdnsConfig, DnsConfig, WitnessConfig } from "../model.ts";
import { blockOf } from "./resolve-dns.ts";
import type { Declared } from "../schema.ts";
import { PROVIDER_BLOCKS, token, urlRefusal } from "./schema-dns.ts";
import type { Resolver } from "../values/secrets.ts";

/** Two have to agree, so one of these may be gone. Three owners, two protocols. */
const WITNESSES = [
  "https://api.ipify.org",
  "https://ipv4.icanhazip.com",
  "dns://216.239.32.10/o-o.myaddr.l.google.com",
];

const WITNESS_FORMS = "write https://… or dns://SERVER/NAME";

/** `https://host/path`, whose answer is the address; `dns://server[:port]/name`, whose TXT record is. */
function readWitness(value: unknown): WitnessConfig | Refusal {
  const what = `${shown(value)} is not a witness`;
  const url = typeof value === "string" ? URL.parse(value) : null;
  if (url === null || url.username !== "" || url.hash !== "") return new Refusal(what, WITNESS_FORMS);
  if (url.protocol === "https:") return { kind: "https", url: url.href };
  const name = url.pathname.slice(1).toLowerCase();
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (url.protocol !== "dns:" || isIP(host) === 0 || !/^[a-z0-9_.-]{1,253}$/.test(name)) {
    return new Refusal(what, `${WITNESS_FORMS}, SERVER an address: ${WITNESSES.at(-1) ?? ""}`);
  }
  return { kind: "dns", server: url.host, name };
}

const BLOCKS = ["auto", ...PROVIDER_BLOCKS, "dyndns2"] as const;

const familyChoice = (doc: string, preset: "auto" | "off") => choice({ doc, default: preset }, ["auto", "off"]);

export const ddnsSchemas = {
  ddns: optionalBlock("Dynamic DNS: names whose addresses follow the home's; docs/dynamic-dns.md.", {
    names: oneOrMany(
      "Whole names whose addresses are kept; one, or a list.",
      text({ doc: "A name.", example: "myhome.duckdns.org" }),
      [],
    ),
    by: choice(
      {
        doc: "The block of the service that keeps them. auto: duckdns for names below duckdns.org, the only other one for the rest.",
        default: "auto",
      },
      BLOCKS,
    ),
    ipv4: familyChoice("auto keeps the address that the router and the witnesses tell; off keeps none.", "auto"),
    ipv6: familyChoice(
      "auto keeps the stable global address of this machine. Off unless asked, because most routers let nothing in by IPv6.",
      "off",
    ),
    interface: text({ doc: "Take the IPv6 address of this interface alone.", example: "eth0" }, (value) =>
      /^[^\s/]{1,15}$/.test(value) ? undefined : new Refusal(`${shown(value)} is not an interface`, "write eth0, say"),
    ).optional(),
    check: duration({
      doc: "How often the witnesses are asked. What the router or an interface tells is noticed within seconds.",
      default: "5m",
      min: "10s",
      max: "1d",
    }),
    witnesses: oneOrMany(
      "Who outside tells the IPv4 address: https://… or dns://SERVER/NAME (a TXT record). Two must agree; [] believes the router alone.",
      leaf({ doc: "https://… or dns://SERVER/NAME.", json: { type: "string" } }, readWitness),
      WITNESSES,
    ),
  }),
  dyndns2: optionalBlock("A service for addresses that speaks dyndns2: No-IP, Dynu, Strato, OVH and many more.", {
    api: text({ doc: "Its update address.", example: "https://dynupdate.no-ip.com/nic/update" }, urlRefusal),
    user: secretText({ doc: "The user, or what the service wants in its place.", example: "me@example.org" }),
    password: token("The password or update key", "file:/etc/gatehouse/dyndns2-password"),
  }),
};

export async function resolveDdns(
  declared: Declared,
  dns: Pick<DnsConfig, "providers">,
  resolver: Resolver,
): Promise<Pick<DnsConfig, "dyndns2"> & { ddns: DdnsConfig | undefined }> {
  const dyndns2 = await resolveDyndns2(declared.dyndns2, resolver.below(["dyndns2"]));
  const settings = declared.ddns;
  if (settings === undefined) return { dyndns2, ddns: undefined };
  const at = resolver.below(["ddns"]);
  const names: { name: string; by: AddressWriterConfig }[] = [];
  if (settings.names.length === 0) {
    at.report(
      ["names"],
      "names nobody",
      "write the name whose address is to be kept: names: myhome.duckdns.org",
      "value",
    );
  }
  for (const [index, written] of settings.names.entries()) {
    const path = ["names", index];
    const checked = checkName(written, { publicCa: false, canBeWildcard: true });
    if ("refusal" in checked) {
      at.report(path, `the name ${checked.refusal}`, checked.hint, "value");
      continue;
    }
    const { name } = checked;
    if (names.some((other) => other.name === name)) {
      at.report(path, "stands here twice", "remove one of them", "value");
      continue;
    }
    const by = keeperOf(name, declared, (what, remedy) => at.report(path, what, remedy, "value"));
    const found = by === "dyndns2" ? dyndns2 : dns.providers.find((provider) => blockOf(provider) === by);
    // Without one there is a finding already, here or in the provider's own block.
    if (found !== undefined) names.push({ name, by: found });
  }
  if (settings.ipv4 === "off" && settings.ipv6 === "off") {
    at.report(["ipv4"], "with ipv6: off there is no address to keep", "remove one of them", "value");
  }
  const { ipv4, ipv6, check, witnesses } = settings;
  return {
    dyndns2,
    ddns: {
      names,
      by: settings.by,
      ipv4: ipv4 === "auto",
      ipv6: ipv6 === "auto",
      interface: settings.interface,
      checkMs: check,
      witnesses,
    },
  };
}

type Block = Exclude<(typeof BLOCKS)[number], "auto">;

function keeperOf(name: string, declared: Declared, report: (what: string, remedy: string) => void): Block | undefined {
  const wanted = declared.ddns?.by ?? "auto";
  const isDuck = name.endsWith(".duckdns.org");
  const written = BLOCKS.filter((block) => block !== "auto" && declared[block] !== undefined) as Block[];
  const others = written.filter((block) => block !== "duckdns");
  if (wanted === "duckdns" && !isDuck) {
    report(
      `${name} is no name of DuckDNS`,
      "write myhome.duckdns.org here, and make your own name an alias (CNAME) of it",
    );
    return undefined;
  }
  if (wanted !== "auto") {
    if (written.includes(wanted)) return wanted;
    report(`there is no ${wanted} to keep ${name}`, `write the block ${wanted}: at the left margin`);
    return undefined;
  }
  const [first, second] = isDuck ? written.filter((block) => block === "duckdns") : others;
  if (first === undefined) {
    const missing = isDuck ? "the block duckdns:" : "one of the blocks cloudflare, desec, rfc2136, dnsHook, dyndns2";
    report(`there is no service to keep ${name}`, `write ${missing} at the left margin`);
  }
  if (second !== undefined) {
    report(`there are several services that could keep ${name}`, `write ddns.by: ${first ?? ""}, say`);
    return undefined;
  }
  return first;
}

async function resolveDyndns2(settings: Declared["dyndns2"], resolver: Resolver): Promise<DnsConfig["dyndns2"]> {
  if (settings === undefined) return undefined;
  const user = await resolver.secret(settings.user, ["user"]);
  const password = await resolver.secret(settings.password, ["password"]);
  if (user === undefined || password === undefined) return undefined;
  return { kind: "dyndns2", url: settings.api, user, password };
}

type Hide = (value: string | undefined) => string | undefined;

const witnessText = (one: WitnessConfig): string =>
  one.kind === "https" ? one.url : `dns://${isIPv6(one.server) ? `[${one.server}]` : one.server}/${one.name}`;

/** The keys of the file that come to this. */
export function ddnsOut(ddns: DdnsConfig | undefined, { dyndns2 }: DnsConfig, hide: Hide) {
  return {
    ddns: ddns && {
      names: ddns.names.map(({ name }) => name),
      by: ddns.by,
      ipv4: ddns.ipv4 ? "auto" : "off",
      ipv6: ddns.ipv6 ? "auto" : "off",
      ...(ddns.interface !== undefined && { interface: ddns.interface }),
      check: formatDuration(ddns.checkMs),
      witnesses: ddns.witnesses.map(witnessText),
    },
    dyndns2: dyndns2 && { api: dyndns2.url, user: hide(dyndns2.user), password: hide(dyndns2.password) },
  };
}
