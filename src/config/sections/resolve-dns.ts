/**
 * Which DNS provider is set up, and is it complete?
 * Owns: the provider that `acme.dns` means, its secrets, and how its block is written out again.
 * Never: asks it.
 */
import { isIPv6 } from "node:net";
import { formatDuration } from "../../core/time.ts";
import type { DnsConfig, DnsProviderConfig } from "../model.ts";
import type { Declared } from "../schema.ts";
import { PROVIDER_BLOCKS } from "./schema-dns.ts";
import type { Resolver } from "../values/secrets.ts";

type Block = (typeof PROVIDER_BLOCKS)[number];

export async function resolveDns(declared: Declared, resolver: Resolver): Promise<Omit<DnsConfig, "dyndns2">> {
  const providers: DnsProviderConfig[] = [];
  for (const block of PROVIDER_BLOCKS) {
    const before = resolver.problems.length;
    const provider = await resolveProvider(block, declared, resolver.below([block]));
    if (provider !== undefined && resolver.problems.length === before) providers.push(provider);
  }
  const { resolvers, nameServers, propagation } = declared.dns;
  return { providers, resolvers, nameServers, propagationMs: propagation };
}

/** What `acme.dns` means; undefined when there is none. */
export function chooseProvider(
  declared: Declared,
  { providers }: Pick<DnsConfig, "providers">,
  resolver: Resolver,
): DnsProviderConfig | undefined {
  const wanted = declared.acme.dns;
  const written = PROVIDER_BLOCKS.filter((block) => declared[block] !== undefined);
  const report = (what: string, remedy: string): void => {
    resolver.report(["acme", "dns"], what, remedy, "value");
  };
  if (wanted !== "auto") {
    if (declared[wanted] === undefined)
      report(`there is no ${wanted}`, `write the block ${wanted}: at the left margin`);
    return providers.find((provider) => blockOf(provider) === wanted);
  }
  if (written.length > 1) {
    report(`there are several providers (${written.join(", ")})`, `write acme.dns: ${written[0] ?? ""}, say`);
  }
  return providers[0];
}

export const blockOf = ({ kind }: DnsProviderConfig): Block => (kind === "hook" ? "dnsHook" : kind);

async function resolveProvider(
  block: Block,
  declared: Declared,
  resolver: Resolver,
): Promise<DnsProviderConfig | undefined> {
  switch (block) {
    case "duckdns": {
      const settings = declared.duckdns;
      const token = settings && (await resolver.secret(settings.token, ["token"]));
      if (settings === undefined || token === undefined) return undefined;
      return { kind: "duckdns", token, domain: settings.domain?.toLowerCase(), url: settings.api };
    }
    case "cloudflare":
    case "desec": {
      const settings = declared[block];
      const token = settings && (await resolver.secret(settings.token, ["token"]));
      return settings === undefined || token === undefined ? undefined : { kind: block, token, url: settings.api };
    }
    case "rfc2136":
      return resolveRfc2136(declared.rfc2136, resolver);
    case "dnsHook": {
      const settings = declared.dnsHook;
      return settings && { kind: "hook", command: settings.command, timeoutMs: settings.timeout };
    }
  }
}

async function resolveRfc2136(
  settings: Declared["rfc2136"],
  resolver: Resolver,
): Promise<DnsProviderConfig | undefined> {
  if (settings === undefined) return undefined;
  const plain = (name: string) => name.toLowerCase().replace(/\.$/, "");
  const zone = settings.zone && plain(settings.zone);
  if (settings.key === undefined) return { kind: "rfc2136", server: settings.server, zone, key: undefined };
  const secret = await resolver.secret(settings.key.secret, ["key", "secret"]);
  if (secret === undefined) return undefined;
  if (!/^[A-Za-z0-9+/]{8,}={0,2}$/.test(secret)) {
    resolver.report(
      ["key", "secret"],
      "is not in base64",
      "write what stands behind `secret` in the server's file",
      "value",
    );
  }
  const { name, algorithm } = settings.key;
  return { kind: "rfc2136", server: settings.server, zone, key: { name: plain(name), algorithm, secret } };
}

type Hide = (value: string | undefined) => string | undefined;

/** The keys of the file that come to this. */
export function dnsOut({ providers, resolvers, nameServers, propagationMs }: DnsConfig, hide: Hide) {
  const blocks = providers.map((provider) => [blockOf(provider), providerOut(provider, hide)] as const);
  return {
    dns: {
      resolvers: resolvers.map(serverText),
      nameServers: nameServers.map(serverText),
      propagation: formatDuration(propagationMs),
    },
    ...Object.fromEntries(blocks),
  };
}

function providerOut(provider: DnsProviderConfig, hide: Hide): Readonly<Record<string, unknown>> {
  switch (provider.kind) {
    case "duckdns":
      return {
        token: hide(provider.token),
        ...(provider.domain !== undefined && { domain: provider.domain }),
        api: provider.url,
      };
    case "cloudflare":
    case "desec":
      return { token: hide(provider.token), api: provider.url };
    case "rfc2136":
      return {
        server: serverText(provider.server),
        ...(provider.zone !== undefined && { zone: provider.zone }),
        ...(provider.key !== undefined && { key: { ...provider.key, secret: hide(provider.key.secret) } }),
      };
    case "hook":
      return { command: provider.command, timeout: formatDuration(provider.timeoutMs) };
  }
}

const serverText = ({ host, port }: { host: string; port: number }): string =>
  `${isIPv6(host) ? `[${host}]` : host}:${port}`;
