/**
 * Which provider is meant by these settings?
 * Owns: the list of them.
 * Never: asks one.
 */
import { createCloudflare } from "./cloudflare.ts";
import type { AddressWriter, AddressWriterSettings, DnsProvider, ProviderSettings } from "./contract.ts";
import { createDesec } from "./desec.ts";
import { createDuckDns } from "./duckdns.ts";
import { createDyndns2 } from "./dyndns2.ts";
import { createHook } from "./hook.ts";
import { createRfc2136 } from "./rfc2136.ts";

export function createDnsProvider(settings: ProviderSettings): DnsProvider {
  switch (settings.kind) {
    case "duckdns":
      return createDuckDns(settings);
    case "cloudflare":
      return createCloudflare(settings);
    case "desec":
      return createDesec(settings);
    case "rfc2136":
      return createRfc2136(settings);
    case "hook":
      return createHook(settings);
  }
}

/** Whoever can be told an address: the providers, and services that know nothing else. */
export const createAddressWriter = (settings: AddressWriterSettings): AddressWriter =>
  settings.kind === "dyndns2" ? createDyndns2(settings) : createDnsProvider(settings);
