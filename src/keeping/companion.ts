/**
 * What else runs beside the serving?
 * Owns: the one shape that such a room has for the keeper (alerts, dynamic DNS, router ports, forwards), and telling them
 *   all: one room's trouble is not the next one's.
 * Never: serves a site.
 */
import { setImmediate } from "node:timers/promises";
import type { Config } from "../config/model.ts";
import type { Logger } from "../observe/log.ts";
import type { CertificateBundle } from "../storage/bundles.ts";

export interface Companion {
  /** A word for the log. */
  name: string;
  /**
   * Called at the start, once listeners are open, and after each reload that was taken. Compare what concerns you and
   * return at once when it is the same. A rejection is logged and stops nobody else.
   */
  apply(config: Config): void | Promise<void>;
  /** A certificate was issued, for whichever name. */
  issued?(bundle: CertificateBundle): void;
  /** Called once, when the drain begins; give back what was taken (router ports, timers), within seconds. */
  stop(): void | Promise<void>;
}

/** All of them as one that never rejects; requests are served between two of them. `config()` is the one in force. */
export function joinCompanions(
  companions: readonly Companion[],
  log: Logger,
): { apply(config: () => Config): Promise<void>; issued(bundle: CertificateBundle): void; stop(): Promise<void> } {
  async function attempt(name: string, act: () => void | Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      log.error(
        { event: "companion.failed", companion: name, err: error },
        "a part of Gatehouse failed, the rest runs",
      );
    }
  }
  return {
    async apply(config) {
      for (const companion of companions) {
        await setImmediate();
        await attempt(companion.name, () => companion.apply(config()));
      }
    },
    issued(bundle) {
      for (const companion of companions) companion.issued?.(bundle);
    },
    async stop() {
      await Promise.all(companions.map((companion) => attempt(companion.name, () => companion.stop())));
    },
  };
}
