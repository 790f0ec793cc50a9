/**
 * What else runs beside the serving?
 * Owns: the one shape that such a room has for the keeper: alerts, dynamic DNS, router ports, forwards.
 * Never: serves a site.
 */
import type { Config } from "../config/model.ts";
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
