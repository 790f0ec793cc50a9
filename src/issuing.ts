/**
 * Who signs for us, and who keeps asking?
 * Owns: choosing between the embedded CA and an ACME CA; one scheduler serves both.
 * Never: touches a listener. It stands beside `edge` because it joins tls and acme, which must not know each other.
 */
import { join } from "node:path";
import type { Challenges } from "./acme/challenges.ts";
import { createIssuer, type Issuer } from "./acme/issue.ts";
import { createScheduler, type Scheduler } from "./acme/scheduler.ts";
import type { AcmeConfig, Config } from "./config/model.ts";
import { systemClock } from "./core/time.ts";
import type { Logger } from "./observe/log.ts";
import type { Metrics } from "./observe/metrics.ts";
import type { BundleStore, CertificateBundle } from "./storage/bundles.ts";
import type { Storage } from "./storage/contract.ts";
import { createLocalCa, LOCAL_ROOT_KEY, type LocalCa } from "./tls/local-ca.ts";

export interface IssuingTools {
  storage: Storage;
  bundles: BundleStore;
  challenges: Challenges;
  log: Logger;
  metrics: Metrics;
  version: string;
  /** Serve it from now on. */
  onIssued(bundle: CertificateBundle): void;
}

/** Where the root of the embedded CA lies, for curl and browsers; undefined with any other CA. */
export function localRootFile(config: Config): string | undefined {
  return config.acme.directoryUrl === undefined ? join(config.state, LOCAL_ROOT_KEY) : undefined;
}

/** A scheduler that already knows which CA to ask; hand it names to start it. */
export function createIssuing(acme: AcmeConfig, tools: IssuingTools): Scheduler {
  const { issue } =
    acme.directoryUrl === undefined ? embeddedCa(tools) : publicCa({ ...acme, directoryUrl: acme.directoryUrl }, tools);
  return createScheduler({
    ca: acme.directoryUrl ?? "local",
    issue,
    bundles: tools.bundles,
    storage: tools.storage,
    clock: systemClock,
    log: tools.log,
    metrics: tools.metrics,
    renewAtShare: acme.renewAtShare,
  });
}

function publicCa(acme: AcmeConfig & { directoryUrl: string }, tools: IssuingTools): Issuer {
  return createIssuer({
    directoryUrl: acme.directoryUrl,
    roots: acme.caRoots,
    email: acme.email,
    renewAtShare: acme.renewAtShare,
    userAgent: `gatehouse/${tools.version}`,
    storage: tools.storage,
    bundles: tools.bundles,
    challenges: tools.challenges,
    clock: systemClock,
    log: tools.log,
    onIssued: (bundle) => tools.onIssued(bundle),
  });
}

function embeddedCa({ storage, bundles, log, onIssued }: IssuingTools): Issuer {
  let ca: Promise<LocalCa> | undefined;
  const open = () => {
    ca ??= createLocalCa({
      storage,
      onReplaced: (reason) => {
        log.warn(
          { event: "ca.local.replaced", reason },
          "the embedded CA has a new root: devices must import it again",
        );
      },
    }).catch((error: unknown) => {
      ca = undefined; // the disk may be well again at the next try
      throw error;
    });
    return ca;
  };
  return {
    async issue(name) {
      const bundle = await (await open()).issueLocal([name]);
      await bundles.save(bundle);
      onIssued(bundle);
      return bundle;
    },
  };
}
