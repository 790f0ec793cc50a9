/**
 * How do the forwarded ports live beside the sites?
 * Owns: the companion that keeps the table of forwards in step with the configuration and with new certificates.
 * Never: moves a byte (forward does).
 *
 * The keeper carries them, not the workers: a UDP session must always meet the same process, and a table with one owner
 * is one that `forwards ls` can show. What it costs is one core for all forwards together, some 20 Gbit/s of TCP.
 */
import type { PortConfig } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import { systemClock } from "../core/time.ts";
import { createForwards, type Forwards } from "../forward/forwards.ts";
import type { Logger } from "../observe/log.ts";
import type { CertificateBundle } from "../storage/bundles.ts";
import { createContexts } from "../tls/contexts.ts";
import type { Companion } from "./companion.ts";

export interface Ports extends Companion, Pick<Forwards, "report"> {}

export function createPorts(options: {
  log: Logger;
  bundle(name: string): Promise<CertificateBundle | undefined>;
}): Ports {
  const { log } = options;
  const contexts = createContexts();
  let names: ReadonlySet<string> = new Set();
  let isLogged = true;
  let drainMs = 0;
  const forwards = createForwards({
    log,
    isLogged: () => isLogged,
    contextFor: (name) => contexts.find(name),
    now: () => systemClock.now(),
  });

  function take(bundle: CertificateBundle): void {
    try {
      contexts.setBundle(bundle);
    } catch (error) {
      log.error(
        { event: "certificate.unusable", name: bundle.name, reason: errorText(error) },
        "a certificate cannot be served on a port; the one before stays",
      );
    }
  }

  return {
    name: "ports",
    async apply(config) {
      isLogged = config.log.access;
      drainMs = config.drainMs;
      const wanted = tlsNames(config.ports);
      for (const name of names) if (!wanted.has(name)) contexts.remove(name);
      names = wanted;
      for (const name of wanted) {
        const bundle = await options.bundle(name);
        if (bundle !== undefined) take(bundle);
      }
      await forwards.apply(config.ports);
    },
    issued(bundle) {
      if (names.has(bundle.name)) take(bundle);
    },
    stop: () => forwards.drain({ withinMs: drainMs }),
    report: () => forwards.report(),
  };
}

/** Names whose certificates end TLS on a forwarded port. */
export const tlsNames = (ports: readonly PortConfig[]): Set<string> =>
  new Set(ports.flatMap(({ tls }) => (tls === undefined ? [] : [tls])));
