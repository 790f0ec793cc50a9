/**
 * On what do all rivals stand?
 * Owns: the work folder, the one certificate, the target, and which core is whose; all gone at the end.
 * Never: listens outside 127.0.0.1.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import type { CertificateBundle } from "../src/storage/bundles.ts";
import { makeCa } from "../test/support/certificates.ts";
import { killEverything, start, type Started } from "./processes.ts";
import { freePort, type Ground, isListening, waitUntil } from "./rivals/rival.ts";

const HOST = "bench.example.org";

export interface Cores {
  rival: number | undefined;
  /** Load and target share one: with two cores there is no third. */
  load: number | undefined;
}

export interface Field {
  folder: string;
  host: string;
  cores: Cores;
  bundle: CertificateBundle;
  /** A folder and the terms for one rival. */
  ground(name: string): Ground;
  /** Ends the target and removes the folder; rivals are stopped by who started them. */
  clear(): Promise<void>;
  /** For the second Ctrl-C: everything, now. */
  destroy(): void;
}

export const CORES: Cores = availableParallelism() > 1 ? { rival: 0, load: 1 } : { rival: undefined, load: undefined };

const TARGET = join(import.meta.dirname, "target.ts");

export async function prepareField(): Promise<Field> {
  const folder = mkdtempSync(join(tmpdir(), "gatehouse-bench-"));
  const cores = CORES;
  const ca = await makeCa({ name: "Bench CA" });
  const bundle = await ca.issueBundle({ names: [HOST], days: 90 });
  const certificate = {
    keyFile: join(folder, "key.pem"),
    chainFile: join(folder, "chain.pem"),
    bothFile: join(folder, "both.pem"),
  };
  writeFileSync(certificate.keyFile, bundle.keyPem, { mode: 0o600 });
  writeFileSync(certificate.chainFile, bundle.chainPem);
  writeFileSync(certificate.bothFile, bundle.chainPem + bundle.keyPem, { mode: 0o600 });
  const targetPort = await freePort();
  const target: Started = start([process.execPath, TARGET, String(targetPort)], {
    core: cores.load,
    stderrFile: join(folder, "target.log"),
  });
  const remove = (): void => rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  await waitUntil("the target", target, () => isListening(targetPort));
  return {
    folder,
    host: HOST,
    cores,
    bundle,
    ground(name) {
      const own = join(folder, name);
      mkdirSync(own);
      return { folder: own, host: HOST, certificate, targetPort, core: cores.rival, workers: 1 };
    },
    async clear() {
      await target.stop();
      remove();
    },
    destroy() {
      killEverything();
      remove();
    },
  };
}
