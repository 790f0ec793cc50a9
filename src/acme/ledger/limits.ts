/**
 * How much does a CA allow, and is there some left?
 * Owns: the published limits of known CAs as data, and the arithmetic of a bucket that fills up again.
 * Never: keeps a bucket (ledger does) or asks anybody.
 */
import { isIP, isIPv6 } from "node:net";
import { parse } from "tldts";

/** `burst` at once, and the whole of it again after `periodMs`; one comes back each `periodMs / burst`. */
export interface Limit {
  burst: number;
  periodMs: number;
}

export type LimitKind = "accounts" | "orders" | "domain" | "set" | "failures";

export interface CaLimits {
  /** A limit that is not here is not known, and the CA alone says no. */
  limits: Partial<Record<LimitKind, Limit>>;
  /** Where the same CA lets people try things out. */
  staging?: string;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

const LETSENCRYPT = "https://acme-v02.api.letsencrypt.org/directory";
const LETSENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory";

/** https://letsencrypt.org/docs/rate-limits/ and …/staging-environment/, as of August 2026. */
const KNOWN: Readonly<Record<string, CaLimits>> = {
  [LETSENCRYPT]: {
    staging: LETSENCRYPT_STAGING,
    limits: {
      accounts: { burst: 10, periodMs: 3 * HOUR_MS },
      orders: { burst: 300, periodMs: 3 * HOUR_MS },
      domain: { burst: 50, periodMs: 7 * DAY_MS },
      set: { burst: 5, periodMs: 7 * DAY_MS },
      failures: { burst: 5, periodMs: HOUR_MS },
    },
  },
  [LETSENCRYPT_STAGING]: {
    limits: {
      accounts: { burst: 50, periodMs: 3 * HOUR_MS },
      orders: { burst: 1_500, periodMs: 3 * HOUR_MS },
      failures: { burst: 200, periodMs: HOUR_MS },
    },
  },
};

/**
 * A CA that publishes nothing still deserves that a home in a restart loop does not order without end: these are far
 * above what an ordinary life needs, and stop a loop within minutes.
 */
const UNPUBLISHED: CaLimits = {
  limits: {
    accounts: { burst: 10, periodMs: 3 * HOUR_MS },
    set: { burst: 20, periodMs: HOUR_MS },
    failures: { burst: 10, periodMs: HOUR_MS },
  },
};

export const limitsOf = (directoryUrl: string): CaLimits => KNOWN[directoryUrl] ?? UNPUBLISHED;

/**
 * The bucket of a limit is one number: the instant at which it will be full again (GCRA, which Let's Encrypt's own
 * limiter uses, too). Nothing kept means full. A bucket cannot be emptier than empty, so what a clock that was years
 * ahead wrote is worth one period at most.
 */
export function spend(fullAt: number | undefined, { burst, periodMs }: Limit, now: number): number {
  return Math.min(Math.max(fullAt ?? 0, now), now + periodMs) + periodMs / burst;
}

export function giveBack(fullAt: number, { burst, periodMs }: Limit): number {
  return fullAt - periodMs / burst;
}

/**
 * When may one more be taken, ms since 1970? Not after `now`: at once.
 *
 * @param share  of the burst that may be used. What is left over stays for people who ask.
 */
export function nextAt(fullAt: number | undefined, limit: Limit, now: number, share: number): number {
  const usable = Math.max(Math.floor(limit.burst * share), 1);
  return spend(fullAt, limit, now) - (usable * limit.periodMs) / limit.burst;
}

/**
 * What Let's Encrypt counts certificates by: the registered domain by the public suffix list with its private part (each
 * `*.duckdns.org` is one), an IPv4 address, or the /64 of an IPv6 address.
 */
export function domainOf(name: string): string {
  if (isIPv6(name)) return ipv6Network(name);
  if (isIP(name) !== 0) return name;
  const bare = name.replace(/^\*\./, "");
  return parse(bare, { allowPrivateDomains: true, extractHostname: false, validateHostname: false }).domain ?? bare;
}

function ipv6Network(address: string): string {
  const short = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = "", tail] = short.split("::");
  const front = head.split(":").filter((part) => part !== "");
  const back = (tail ?? "").split(":").filter((part) => part !== "");
  const gap = tail === undefined ? 0 : 8 - front.length - back.length;
  return `${[...front, ...Array.from({ length: gap }, () => "0"), ...back].slice(0, 4).join(":")}::/64`;
}
