/**
 * What does a handshake stand on that no site chose: the certificate without a name, and the key of the tickets?
 * Owns: contexts for clients that name nobody and for those that are asked for a certificate, and the listener's ticket
 *   key in every other one.
 * Never: chooses by name.
 */
import { constants } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import { tlsSettings } from "../core/tls-settings.ts";

export interface ServerCertificate {
  keyPem: string;
  certificatePem: string;
}

export interface UnnamedOptions {
  fallback: ServerCertificate;
  /** For a client that names nobody and came to this address; undefined: the fallback. Default: always that. */
  addressCertificate?: ((localAddress: string) => ServerCertificate | undefined) | undefined;
}

/** A machine has a handful of addresses. */
const MAX_BY_ADDRESS = 64;
/** SNI holds no addresses, so a client of one names nobody: the address it came to decides. By certificate. */
export function createUnnamed(options: UnnamedOptions): (localAddress: string) => SecureContext {
  const fallback = contextOf(options.fallback);
  const byAddress = new Map<string, SecureContext>();
  return (localAddress) => {
    const wanted = options.addressCertificate?.(localAddress);
    if (wanted === undefined) return fallback;
    const known = byAddress.get(wanted.certificatePem);
    if (known !== undefined) return known;
    // Those of certificates that were renewed go with the rest: making one anew costs a third of a millisecond.
    if (byAddress.size >= MAX_BY_ADDRESS) byAddress.clear();
    const context = contextOf(wanted);
    byAddress.set(wanted.certificatePem, context);
    return context;
  };
}

/**
 * What a connection begins with whose client is asked who it is; the site's own context comes by SNICallback. A resumed
 * session would bring back who somebody was, on a name it was not asked for, or after it was sent away (nginx
 * CVE-2025-23419): so no tickets, and no cache either, which Node has only for those who listen to its events.
 */
export function createAsking({ keyPem, certificatePem }: ServerCertificate): SecureContext {
  return createSecureContext({
    ...tlsSettings,
    key: keyPem,
    cert: certificatePem,
    sessionIdContext: "devices",
    secureOptions: tlsSettings.secureOptions | constants.SSL_OP_NO_TICKET,
  });
}

export function contextOf({ keyPem, certificatePem }: ServerCertificate): SecureContext {
  return createSecureContext({ ...tlsSettings, key: keyPem, cert: certificatePem });
}

export interface TicketSeals {
  seal(context: SecureContext): void;
  change(keys: Buffer): void;
}

/** The listener's ticket key for each context, whoever made it: a change of the key reaches it with its next handshake. */
export function createTicketSeals(first: Buffer): TicketSeals {
  let keys = first;
  let sealed = new WeakSet<SecureContext>();
  return {
    seal(context) {
      if (sealed.has(context)) return;
      const native = context.context as { setTicketKeys(keys: Buffer): void };
      native.setTicketKeys(keys);
      sealed.add(context);
    },
    change(next) {
      keys = next;
      sealed = new WeakSet();
    },
  };
}
