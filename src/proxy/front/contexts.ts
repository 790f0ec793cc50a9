/**
 * What does a handshake stand on that no site chose: the certificate without a name, and the key of the tickets?
 * Owns: contexts for clients that name nobody and for those that are asked for a certificate, and the listener's ticket
 *   key in every other one.
 * Never: chooses by name.
 */
import { constants, randomFillSync } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import { tlsSettings } from "../../core/tls-settings.ts";

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
  /** @param opens  the client brings a ticket */
  seal(context: SecureContext, opens: boolean): void;
  change(keys: Buffer): void;
}

/** What Node's own context has and does not document; what another Node may lack is optional. */
interface NativeContext {
  setTicketKeys(keys: Buffer): void;
  enableTicketKeyCallback?(): void;
  onticketkeycallback?: (name: Uint8Array, iv: Uint8Array, isSealing: boolean) => TicketAnswer;
}

/** For OpenSSL: what to do, then the keys for HMAC and AES, the key's name and the IV, 16 bytes each. */
type TicketAnswer = [verdict: number, hmac: Uint8Array, aes: Uint8Array, name: Uint8Array, iv: Uint8Array];

/** SSL_CTX_set_tlsext_ticket_key_cb: an unknown key, so a full handshake; sealed; opened, and a new one is due. */
const VERDICT = { unknown: 0, sealed: 1, renew: 2 } as const;
const PART = 16;

/**
 * The listener's ticket key for each context, whoever made it. Node's own answer to OpenSSL with the same key lost: it says
 * that an opened ticket is good and no new one is due. Under TLS 1.3 clients use a ticket once (RFC 8446 appendix C.4) and
 * get two at the first handshake: Chromium then made each third handshake a full one, curl each second. Sealing with that
 * key is the same, without two calls into JavaScript, 4 to 12 % of a full handshake: so those who bring no ticket have
 * contexts of their own, with Node's answer.
 */
export function createTicketSeals(first: Buffer): TicketSeals {
  let keys = first;
  /** By whether tickets may be opened. */
  let sealed = new WeakMap<SecureContext, boolean>();
  let answer = answerWith(first);

  return {
    seal(context, opens) {
      const known = sealed.get(context);
      if (known === true || (known === false && !opens)) return;
      const native = context.context as NativeContext;
      if (!opens || native.enableTicketKeyCallback === undefined) {
        native.setTicketKeys(keys);
      } else {
        native.onticketkeycallback = (name, iv, isSealing) => answer(name, iv, isSealing);
        native.enableTicketKeyCallback();
      }
      sealed.set(context, opens);
    },
    change(next) {
      keys = next;
      answer = answerWith(next);
      // Those who hold a copy of the key get it with their next handshake; the others ask.
      sealed = new WeakMap();
    },
  };
}

/** @param keys  as tls.Server takes them: name, HMAC, AES */
function answerWith(keys: Buffer): NonNullable<NativeContext["onticketkeycallback"]> {
  const ours = keys.subarray(0, PART);
  const hmac = keys.subarray(PART, 2 * PART);
  const aes = keys.subarray(2 * PART, 3 * PART);
  // One call for the random bytes of many tickets.
  const random = Buffer.alloc(64 * PART);
  let used = random.length;
  return (name, iv, isSealing) => {
    if (!isSealing) return [ours.equals(name) ? VERDICT.renew : VERDICT.unknown, hmac, aes, ours, iv];
    if (used === random.length) {
      randomFillSync(random);
      used = 0;
    }
    return [VERDICT.sealed, hmac, aes, ours, random.subarray(used, (used += PART))];
  };
}
