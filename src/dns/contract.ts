/**
 * Who writes into a zone for us?
 * Owns: the promise every provider keeps; certificates need TXT records, homes whose address changes need the others.
 * Never: knows a CA.
 *
 * Names are whole (`_acme-challenge.home.example.org`), lower case, without a dot at the end. Writing what is there and
 * removing what is not there are no errors: both are repeated after a crash.
 *
 * @throws GATEHOUSE_DNS_REFUSED when a person has to act (a wrong token, a zone that is not there)
 * @throws GATEHOUSE_DNS_FAILED when it may go better later
 */
export interface DnsProvider extends AddressWriter {
  readonly kind: ProviderSettings["kind"];
  /**
   * Milliseconds. Above zero the provider keeps one TXT record for everything: one value at a time, and so long between
   * the end of one and the beginning of the next that no resolver shows the old one. Zero: as many as you like.
   */
  readonly oneAtATimeMs: number;
  /** One more TXT record beside those that are there. Accepted is not yet visible. */
  present(name: string, value: string, signal: AbortSignal): Promise<void>;
  /** Remove the TXT record of this value and no other. */
  clear(name: string, value: string, signal: AbortSignal): Promise<void>;
}

/** The half of a provider that a service for addresses alone has as well. */
export interface AddressWriter {
  readonly kind: AddressWriterSettings["kind"];
  /** The only A and AAAA records of the name from now on; a kind that is left out stays as it is. */
  setAddresses(name: string, addresses: Addresses, signal: AbortSignal): Promise<Written>;
}

/** `hidden`: kept, and the zone shows other addresses on purpose (Cloudflare's proxy), so looking there proves nothing. */
export type Written = "shown" | "hidden";

export interface Addresses {
  ipv4?: string | undefined;
  ipv6?: string | undefined;
}

/** What is configured; the same shape as in config/model, which this room may not know. */
export type ProviderSettings =
  | { kind: "duckdns"; token: string; domain: string | undefined; url: string }
  | { kind: "cloudflare"; token: string; url: string }
  | { kind: "desec"; token: string; url: string }
  | {
      kind: "rfc2136";
      server: { host: string; port: number };
      /** Default: asked of the server. */
      zone: string | undefined;
      key: { name: string; algorithm: "hmac-sha256" | "hmac-sha384" | "hmac-sha512"; secret: string } | undefined;
    }
  | { kind: "hook"; command: readonly string[]; timeoutMs: number };

/** dyndns2 knows addresses and nothing else. `url` is the whole update address, such as `https://…/nic/update`. */
export interface Dyndns2Settings {
  kind: "dyndns2";
  url: string;
  user: string;
  password: string;
}

export type AddressWriterSettings = ProviderSettings | Dyndns2Settings;

/** Seconds. Short, because a CA's resolver that looked too early keeps the old answer for so long. */
export const SHORT_TTL = 60;
