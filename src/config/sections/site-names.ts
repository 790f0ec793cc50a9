/**
 * Which names do the entries under `sites` go by?
 * Owns: the name of each, its further names, what a CA would say of them, and that no name is two sites.
 * Never: looks at what a site does with its visitors (sites does).
 */
import { checkName, type NamePolicy } from "../../core/names.ts";
import { Refusal, shown } from "../findings.ts";
import type { Judged } from "../judge.ts";
import { leaf } from "../values/leaves.ts";
import type { AcmeConfig, SiteConfig } from "../model.ts";
import type { DeclaredSite } from "../schema.ts";
import type { Resolver } from "../values/secrets.ts";
import { resolveSite } from "./sites.ts";

/** Let's Encrypt signs for a hundred names at most, and the site's own is one of them. */
const MAX_FURTHER = 99;

export const furtherNames = leaf(
  {
    doc: "Further names of this site, in the same certificate.",
    example: ["www.nas.example.org"],
    json: { type: "array", items: { type: "string" }, maxItems: MAX_FURTHER },
  },
  readNames,
).optional();

function readNames(value: unknown): readonly string[] | Refusal {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  if (list.length > MAX_FURTHER)
    return new Refusal(`has ${list.length} names`, `a certificate takes ${MAX_FURTHER} besides the site's own`);
  const names: string[] = [];
  for (const one of list) {
    if (typeof one !== "string") return new Refusal(`${shown(one)} is not a name`, "write www.example.org");
    names.push(one);
  }
  return names;
}

export const namePolicy = (acme: AcmeConfig | undefined): NamePolicy => ({
  publicCa: acme?.isPublic ?? false,
  // Addresses are not in DNS (RFC 8738 §7).
  canBeAddress: acme?.directoryUrl === undefined || acme.challenge !== "dns-01",
  // RFC 8555 leaves it open, but every CA proves a wildcard by DNS-01 alone.
  canBeWildcard:
    acme?.directoryUrl === undefined || (acme.dns !== undefined && ["auto", "dns-01"].includes(acme.challenge)),
});

/** A name whose certificate is somebody else's business may be one that no public CA would sign. */
function policyFor(declared: DeclaredSite | undefined, policy: NamePolicy): NamePolicy {
  if (declared?.passthrough !== undefined || declared?.tls !== undefined)
    return { publicCa: false, canBeWildcard: true };
  return declared?.onDemand === undefined ? policy : { ...policy, canBeWildcard: true };
}

export interface ResolvedSites {
  sites: SiteConfig[];
  /** Name as written → A-label, where it has one. */
  names: Map<string, string>;
}

export async function resolveSites({ sites }: Judged, policy: NamePolicy, resolver: Resolver): Promise<ResolvedSites> {
  const resolved: SiteConfig[] = [];
  const names = new Map<string, string>();
  /** Every name, with the entry that has it. */
  const owners = new Map<string, string>();
  for (const [written, declared] of sites) {
    const rest = resolver.pace();
    if (rest !== undefined) await rest;
    const here = resolver.below(["sites", written]);
    const checked = checkName(written, policyFor(declared, policy));
    if ("refusal" in checked) {
      resolver.report(["sites", written], `the name ${checked.refusal}`, checked.hint, "key");
      if (declared !== undefined) await resolveSite(written, declared, here);
      continue;
    }
    const { name } = checked;
    names.set(written, name);
    const first = owners.get(name);
    if (first !== undefined) {
      // Which of the two was meant is anybody's guess; serving the wrong one could open a door, so neither is served.
      resolver.report(["sites", written], `is the same site as ${first}`, "remove one of them", "key", [
        "sites",
        first,
      ]);
    } else {
      owners.set(name, written);
    }
    const site = declared && (await resolveSite(name, declared, here));
    if (site !== undefined) resolved.push(site);
  }
  // When the names of all entries are known: `names` may name a site that stands further down.
  const all: SiteConfig[] = [];
  const declaredBy = new Map<string, { written: string; declared: DeclaredSite }>();
  for (const [written, declared] of sites) {
    const name = names.get(written);
    if (name === undefined) continue;
    if (declared?.names === undefined) declaredBy.delete(name);
    else declaredBy.set(name, { written, declared });
  }
  for (const site of resolved) {
    const entry = declaredBy.get(site.name);
    if (entry === undefined) {
      all.push(site);
      continue;
    }
    const { written, declared } = entry;
    const further = resolveFurther(written, declared, { policy, owners, resolver });
    if (further !== undefined) all.push({ ...site, names: further });
  }
  return { sites: all, names };
}

/** Undefined when something was reported. */
function resolveFurther(
  written: string,
  declared: DeclaredSite,
  { policy, owners, resolver }: { policy: NamePolicy; owners: Map<string, string>; resolver: Resolver },
): string[] | undefined {
  const before = resolver.problems.length;
  const own = policyFor(declared, policy);
  const target = redirectHost(declared.redirect);
  const names: string[] = [];
  for (const [at, text] of (declared.names ?? []).entries()) {
    const path = ["sites", written, "names", at];
    const checked = checkName(text, own);
    if ("refusal" in checked) {
      resolver.report(path, checked.refusal, checked.hint, "value");
      continue;
    }
    const { name } = checked;
    const owner = owners.get(name);
    if (owner !== undefined) {
      const what = owner === written ? "is a name of this site already" : `is a name of ${owner} already`;
      resolver.report(path, what, "remove one of them", "value", owner === written ? undefined : ["sites", owner]);
      continue;
    }
    if (name === target) resolver.report(path, "redirects to itself", "give it a site of its own", "value");
    owners.set(name, written);
    names.push(name);
  }
  return resolver.problems.length > before ? undefined : names;
}

/** A redirect that keeps the path and leads to a name of the same site never ends. */
const redirectHost = (redirect: string | undefined): string | undefined =>
  /^https:\/\/([^/{?#:]+)(?::443)?\{path\}/i.exec(redirect ?? "")?.[1]?.toLowerCase();
