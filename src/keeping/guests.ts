/**
 * Which names are kept beside those of the configuration, because clients asked for them?
 * Owns: acme/on-demand joined to the sites that want it, to the store, and to the hour.
 * Never: decides who is let in.
 */
import { createOnDemand, type DemandRules } from "../acme/on-demand/on-demand.ts";
import { askWhetherWanted } from "../acme/on-demand/ask.ts";
import type { Config } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import { systemClock } from "../core/time.ts";
import type { Logger } from "../observe/log.ts";
import type { BundleStore, CertificateBundle } from "../storage/bundles.ts";
import type { Storage } from "../storage/contract.ts";

const REVIEW_EVERY_MS = 3_600_000;

export interface Guests {
  apply(config: Config): void;
  names(): string[];
  /** See `Keeper.wish`. */
  wish(name: string): Promise<CertificateBundle | undefined>;
  stop(): Promise<void>;
}

export async function createGuests(options: {
  storage: Storage;
  bundles: BundleStore;
  log: Logger;
  /** Must not reject. */
  bundle(name: string): Promise<CertificateBundle | undefined>;
  changed(): void;
}): Promise<Guests> {
  const { log } = options;
  const onDemand = await createOnDemand({
    storage: options.storage,
    clock: systemClock,
    log,
    ask: askWhetherWanted,
    // A disk that cannot be read takes no name away.
    hasCertificate: async (name) => (await options.bundles.load(name).catch(() => true)) !== undefined,
    changed: () => options.changed(),
  });
  const reviewing = setInterval(() => {
    onDemand.review().catch((error: unknown) => {
      log.error(
        { event: "on_demand.stumbled", reason: errorText(error) },
        "the names on demand were not looked through",
      );
    });
  }, REVIEW_EVERY_MS);
  reviewing.unref();

  return {
    apply: (config) => onDemand.apply(rulesIn(config)),
    names: () => onDemand.names(),
    async wish(name) {
      if (onDemand.has(name)) return options.bundle(name);
      onDemand.wish(name);
      return undefined;
    },
    async stop() {
      clearInterval(reviewing);
      await onDemand.settled();
    },
  };
}

const rulesIn = ({ sites }: Config): DemandRules[] =>
  sites.flatMap(({ name, onDemand }) => (onDemand === undefined ? [] : [{ site: name, ...onDemand }]));
