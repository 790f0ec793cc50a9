/**
 * Which sites have certificate files of their own, and how do those stand among the certificates that are kept here?
 * Owns: the store with the files laid over it, their lines in lists and metrics, and what the log says of them.
 * Never: orders for them.
 */
import { type CertificateStatus, certificateStatus } from "../acme/certificate-status.ts";
import type { Config } from "../config/model.ts";
import { systemClock } from "../core/time.ts";
import type { Logger } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { BundleStore, CertificateBundle } from "../storage/bundles.ts";
import { createWatchedFiles, OWN_FILES } from "../tls/watched-files.ts";

const DAY_MS = 86_400_000;

export interface OwnFiles {
  /** The files of this configuration, read when it resolves. Never rejects. */
  apply(config: Config): Promise<void>;
  has(name: string): boolean;
  status(name: string): CertificateStatus;
  /** What serves for a name: its files, when it has some, else what is stored. */
  over(stored: BundleStore): BundleStore;
  stop(): void;
}

export function createOwnFiles(options: {
  log: Logger;
  metrics: Pick<Metrics, "certificate">;
  /** Serve it from now on. */
  taken(bundle: CertificateBundle): void;
  /** It has no files any more: what is stored serves again. */
  released(name: string): void;
}): OwnFiles {
  const { log, metrics } = options;
  let names: ReadonlySet<string> = new Set();
  const files = createWatchedFiles({
    now: () => systemClock.now(),
    taken(bundle) {
      const { name, issuer, serial, notBefore, notAfter } = bundle;
      log.info({ event: "certificate.files_taken", name, issuer, serial, notAfter }, "certificate files are served");
      // Whoever writes them renews them, and does not tell when.
      metrics.certificate(name, { notBefore, notAfter, source: OWN_FILES, renewAt: notAfter });
      options.taken(bundle);
    },
    refused(name, { code, message: reason, hint }, isServing) {
      log.error(
        { event: "certificate.files_refused", name, code, reason, hint, isServing },
        isServing ? "certificate files cannot be used, those before them serve on" : "certificate files cannot be used",
      );
    },
  });

  return {
    async apply({ sites }) {
      const last = names;
      const pairs = new Map(sites.flatMap(({ name, tls }) => (tls === undefined ? [] : [[name, tls] as const])));
      names = new Set(pairs.keys());
      await files.apply(pairs);
      for (const name of last) {
        if (names.has(name)) continue;
        metrics.certificate(name, undefined);
        options.released(name);
      }
    },
    has: (name) => names.has(name),
    status(name) {
      const bundle = files.bundle(name);
      const problem = files.problem(name);
      const failure = problem && {
        name,
        ca: OWN_FILES,
        count: 1,
        code: problem.error.code,
        message: problem.error.message,
        hint: problem.error.hint,
        isRefusal: true,
        at: problem.at,
        nextTry: problem.at + DAY_MS,
        notBefore: undefined,
      };
      const now = systemClock.now();
      const status = certificateStatus(
        { name, bundle, failure, heldBy: undefined },
        { nextTry: undefined, renewAt: 0, now },
      );
      return { ...status, renewAt: undefined, hasOwnFiles: true };
    },
    over: (stored) => ({
      ...stored,
      load: async (name) => (names.has(name) ? files.bundle(name) : stored.load(name)),
    }),
    stop: () => files.stop(),
  };
}
