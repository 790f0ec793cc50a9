/**
 * What does the section `acme` come to?
 * Owns: its secrets, and what its settings mean together.
 * Never: knows of sites, or asks a CA.
 */
import type { AcmeConfig, FallbackCaConfig } from "../model.ts";
import { WANTS_EAB, isEmail } from "../values/readings.ts";
import type { Declared } from "../schema.ts";
import type { Resolver } from "../values/secrets.ts";

/** Things that run but are probably not meant. */
export type Warn = (path: readonly string[], what: string, remedy: string) => void;

export async function resolveAcme(
  { acme }: Declared,
  dns: AcmeConfig["dns"],
  resolver: Resolver,
  warn: Warn,
): Promise<AcmeConfig> {
  const { ca } = acme;
  const email = acme.email && (await resolver.secret(acme.email, ["email"]));
  if (email !== undefined && !isEmail(email)) {
    resolver.report(["email"], "is not an e-mail address", "write me@example.org", "value");
  } else if (ca.isPublic && /@example\.(?:com|net|org)$/i.test(email ?? "")) {
    warn(
      ["acme", "email"],
      `${ca.name} refuses addresses of the documentation domains`,
      "write your own, or remove it",
    );
  }
  if (ca.directoryUrl === undefined && acme.caRoots !== undefined) {
    warn(["acme", "caRoots"], "the local CA is asked over no network, so this does nothing", "remove it");
  }
  if (acme.challenge === "dns-01" && dns === undefined && ca.directoryUrl !== undefined && acme.dns === "auto") {
    resolver.report(
      ["challenge"],
      "dns-01 needs a DNS provider, and none is set up",
      "write the block of yours: duckdns, cloudflare, desec, rfc2136 or dnsHook",
      "value",
    );
  }
  const stagingUrl = acme.staging?.directoryUrl;
  if (acme.staging !== undefined && (stagingUrl === undefined || stagingUrl === ca.directoryUrl)) {
    resolver.report(["staging"], "is no place to rehearse for this CA", "write the URL of its staging", "value");
  } else if (acme.staging !== undefined && ca.directoryUrl === undefined) {
    resolver.report(["staging"], "the local CA needs no rehearsal", "remove it", "key");
  }
  return {
    dns,
    stagingUrl,
    fallback: await resolveFallback(acme, resolver),
    eab: await resolveEab(acme, resolver),
    challenge: acme.challenge,
    profile: acme.profile,
    key: acme.key,
    preferredChain: acme.preferredChain,
    email,
    caName: ca.name,
    directoryUrl: ca.directoryUrl,
    caRoots: acme.caRoots && (await resolver.certificates(acme.caRoots, ["caRoots"])),
    isPublic: ca.isPublic,
    renewAtShare: acme.renewAt,
  };
}

async function resolveFallback(
  { ca, fallback }: Pick<Declared["acme"], "ca" | "fallback">,
  resolver: Resolver,
): Promise<FallbackCaConfig[]> {
  const others: FallbackCaConfig[] = [];
  for (const [at, entry] of fallback.entries()) {
    const here = resolver.below(["fallback", at]);
    const { name: caName, directoryUrl } = entry.ca;
    if (directoryUrl === undefined || ca.directoryUrl === undefined) {
      here.report([], "the local CA has nobody to stand in for, and stands in for nobody", "remove it", "value");
    } else if (directoryUrl === ca.directoryUrl || others.some((other) => other.directoryUrl === directoryUrl)) {
      here.report([], "this CA is asked already", "name another one", "value");
    } else {
      others.push({
        caName,
        directoryUrl,
        caRoots: entry.caRoots && (await here.certificates(entry.caRoots, ["caRoots"])),
        eab: await resolveEab(entry, here),
      });
    }
  }
  return others;
}

async function resolveEab(
  { ca, eab }: Pick<Declared["acme"], "ca" | "eab">,
  resolver: Resolver,
): Promise<AcmeConfig["eab"]> {
  if (eab === undefined) {
    if (WANTS_EAB.has(ca.name)) {
      resolver.report(
        ["ca"],
        `${ca.name} signs only for accounts of its website`,
        "get a key identifier and an HMAC key there and write them beside it as eab: { kid, key }",
        "value",
      );
    }
    return undefined;
  }
  const hmacKey = await resolver.secret(eab.key, ["eab", "key"]);
  if (hmacKey === undefined) return undefined;
  if (!/^[A-Za-z0-9_+/-]{16,}={0,2}$/.test(hmacKey)) {
    resolver.report(["eab", "key"], "is not an HMAC key in base64url", "copy it whole from the CA's website", "value");
  }
  return { kid: eab.kid, hmacKey };
}
