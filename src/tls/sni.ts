/**
 * A client names a server: which certificate is that, if any?
 * Owns: the match (exact before one label of wildcard) and what is said when there is none.
 * Never: waits, reads a disk or orders: a handshake gets what there is. Never serves another site's certificate.
 */
import type { SecureContext } from "node:tls";
import { LRUCache } from "lru-cache";
import { errorText } from "../core/errors.ts";
import { type Clock, systemClock } from "../core/time.ts";
import type { Logger } from "../observe/log.ts";
import type { Contexts } from "./contexts.ts";

export type Choice = { context: SecureContext } | { refused: "unknown" | "pending" };

/** RFC 1035 §2.3.4. SNI has no trailing dot (RFC 6066 §3), but clients exist that send it. */
const MAX_NAME_CHARS = 253;

/**
 * Only what a configured name can hold, folded: nothing else can match, `*` included. ASCII is checked before folding,
 * because `toLowerCase` makes a `k` of the Kelvin sign.
 */
const NAME = /^[A-Za-z0-9._-]+$/;

/** A browser retries within seconds, a scanner for days: the same sentence once in this time is enough. */
const SAY_AGAIN_AFTER_MS = 300_000;
/** Only configured names get in; thousands of them pending at once is one problem, not thousands. */
const MAX_SAID = 1_000;

export interface SniOptions {
  /** Configured site names, lower case, wildcards as `*.example.org`. Asked at every handshake. */
  names(): Pick<ReadonlySet<string>, "has">;
  /** Under which name the certificate is kept; `asked` is what the client wants, folded. Default: the configured name. */
  keptAs?: ((name: string, asked: string) => string) | undefined;
  contexts: Contexts;
  log: Logger;
  clock?: Clock;
}

export interface SniChooser {
  /** @param hasTicket  see Contexts.find */
  chooseContext(serverName: string, hasTicket?: boolean): Choice;
  /** Under which name the certificate is kept for what a client asks, or undefined: no site has that name. */
  siteOf(serverName: string): string | undefined;
}

export function createSniChooser(options: SniOptions): SniChooser {
  const { names, keptAs = (name) => name, contexts, log, clock = systemClock } = options;
  const lastSaid = new LRUCache<string, number>({ max: MAX_SAID });

  const sayOnce = (name: string, say: () => void): void => {
    const now = clock.now();
    const last = lastSaid.get(name);
    if (last !== undefined && Math.abs(now - last) < SAY_AGAIN_AFTER_MS) return;
    lastSaid.set(name, now);
    say();
  };

  const keptFor = (serverName: string): { site: string; kept: string } | undefined => {
    const asked = folded(serverName);
    const site = asked === undefined ? undefined : siteOf(asked, names());
    return asked === undefined || site === undefined ? undefined : { site, kept: keptAs(site, asked) };
  };

  return {
    siteOf: (serverName) => keptFor(serverName)?.kept,
    chooseContext(serverName, hasTicket) {
      const found = keptFor(serverName);
      if (found === undefined) return { refused: "unknown" };
      const { site, kept } = found;
      try {
        const context = contexts.find(kept, hasTicket);
        if (context !== undefined) return { context };
        sayOnce(site, () =>
          log.warn(
            { event: "tls.certificate_pending", name: site, code: "GATEHOUSE_CERTIFICATE_PENDING" },
            "handshake refused: this site has no certificate yet",
          ),
        );
      } catch (error) {
        sayOnce(site, () =>
          log.error(
            {
              event: "tls.certificate_unusable",
              name: site,
              code: "GATEHOUSE_BUNDLE_DAMAGED",
              reason: errorText(error),
            },
            "handshake refused: this site's certificate cannot be used",
          ),
        );
      }
      return { refused: "pending" };
    },
  };
}

/** As a configured name is spelled, or undefined when it can be none. */
function folded(serverName: string): string | undefined {
  if (serverName.length > MAX_NAME_CHARS + 1) return undefined;
  const bare = serverName.endsWith(".") ? serverName.slice(0, -1) : serverName;
  return bare.length > MAX_NAME_CHARS || !NAME.test(bare) ? undefined : bare.toLowerCase();
}

/** The configured name that a client means, in constant time, or undefined. */
function siteOf(name: string, names: Pick<ReadonlySet<string>, "has">): string | undefined {
  if (names.has(name)) return name;
  const dot = name.indexOf(".");
  if (dot < 1) return undefined;
  const wildcard = `*${name.slice(dot)}`;
  return names.has(wildcard) ? wildcard : undefined;
}
