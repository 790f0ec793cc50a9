/**
 * What does a handshake need for a site, and is it ready?
 * Owns: the bundles that serve now and the secure contexts made of them, all by one factory.
 * Never: reads a disk, orders, or decides which site is meant (sni does).
 */
import { type SecureContext, createSecureContext } from "node:tls";
import { LRUCache } from "lru-cache";
import { GatehouseError } from "../core/errors.ts";
import { tlsSettings } from "../core/tls-settings.ts";
import type { CertificateBundle } from "../storage/bundles.ts";

/**
 * A prepared context costs about 40 KB and a third of a millisecond to make; which ones are asked for is up to
 * strangers. A home has ten sites, so this bound is for those with thousands: 40 MB.
 */
const MAX_PREPARED = 1_000;

export interface Contexts {
  /**
   * From now on, new handshakes for `bundle.name` get this one. Open connections keep theirs, and session tickets stay
   * good: their keys belong to the listener.
   *
   * @throws GATEHOUSE_BUNDLE_DAMAGED when OpenSSL refuses it; then the one before it stays
   */
  setBundle(bundle: CertificateBundle): void;
  /** For a site that left the configuration. */
  remove(name: string): void;
  /**
   * By the name it is stored under; wildcards as themselves.
   *
   * @param hasTicket  the client brings a ticket: those have contexts of their own, which answer in another way
   */
  find(name: string, hasTicket?: boolean): SecureContext | undefined;
  /** Made again when it is next asked for: what goes into it beside the bundle has changed. */
  renew(name: string): void;
  bundle(name: string): CertificateBundle | undefined;
  /** How many contexts are in memory now. */
  preparedCount(): number;
}

export function createContexts(
  options: {
    bundles?: Iterable<CertificateBundle>;
    max?: number;
    /** For names whose clients are asked for a certificate: who signs those (PEM), so that a browser offers the right one. */
    clientCa?: (name: string) => string | undefined;
  } = {},
): Contexts {
  const { clientCa = () => undefined } = options;
  const bundles = new Map<string, CertificateBundle>();
  const prepared = new LRUCache<string, SecureContext>({ max: options.max ?? MAX_PREPARED });

  const setBundle = (bundle: CertificateBundle): void => {
    const context = prepare(bundle, clientCa(bundle.name)); // may throw: nothing has changed
    bundles.set(bundle.name, bundle);
    forget(bundle.name);
    prepared.set(bundle.name, context);
  };
  const forget = (name: string): void => {
    prepared.delete(name);
    prepared.delete(withTicket(name));
  };
  // Made when first asked for: a start with 10,000 names must not spend seconds on those that nobody visits.
  for (const bundle of options.bundles ?? []) bundles.set(bundle.name, bundle);

  return {
    setBundle,
    remove(name) {
      bundles.delete(name);
      forget(name);
    },
    find(name, hasTicket = false) {
      const key = hasTicket ? withTicket(name) : name;
      const ready = prepared.get(key);
      if (ready !== undefined) return ready;
      const bundle = bundles.get(name);
      if (bundle === undefined) return undefined;
      const context = prepare(bundle, clientCa(name));
      prepared.set(key, context);
      return context;
    },
    renew: forget,
    bundle: (name) => bundles.get(name),
    preparedCount: () => prepared.size,
  };
}

/** No name ends like this. */
const withTicket = (name: string): string => `${name} with a ticket`;

function prepare(bundle: CertificateBundle, ca: string | undefined): SecureContext {
  try {
    const settings = ca === undefined ? tlsSettings : { ...tlsSettings, ca };
    return createSecureContext({ ...settings, key: bundle.keyPem, cert: bundle.chainPem });
  } catch (cause) {
    throw new GatehouseError("GATEHOUSE_BUNDLE_DAMAGED", {
      message: `the certificate of ${bundle.name} cannot be served: OpenSSL refuses it`,
      hint: "Have it issued again; what served before keeps serving.",
      cause,
      detail: { name: bundle.name, serial: bundle.serial },
    });
  }
}
