/**
 * What do the certificate files that somebody else renews hold now?
 * Owns: reading each pair, looking for changes, and keeping the last one that was whole.
 * Never: writes to them, or serves.
 *
 * They are looked at every two seconds (stat, through links). The loser: being told by the kernel; it says nothing over NFS,
 * nothing of a link's new target (certbot, Kubernetes), and nothing once the folder itself was replaced.
 */
import type { Stats } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import { errorText, GatehouseError } from "../core/errors.ts";
import { tlsSettings } from "../core/tls-settings.ts";
import type { CertificateBundle } from "../storage/bundles.ts";
import { checkBundle } from "../storage/check-bundle.ts";
import { pairFromPem } from "./import-pair.ts";

/** The `ca` of such a bundle. */
export const OWN_FILES = "files";

export interface FilePair {
  /** Absolute paths. */
  cert: string;
  key: string;
}

export interface WatchedFiles {
  /** Reads what is new at once, and resolves when that is done; forgets what is no longer there. Never rejects. */
  apply(pairs: ReadonlyMap<string, FilePair>): Promise<void>;
  has(name: string): boolean;
  /** The last whole one. */
  bundle(name: string): CertificateBundle | undefined;
  /** Why the files cannot be used as they are now, and since when (ms since 1970); undefined when they can. */
  problem(name: string): { error: GatehouseError; at: number } | undefined;
  stop(): void;
}

const LOOK_EVERY_MS = 2_000;
/** With thousands of pairs the looks come further apart: two stats each. */
const PER_PAIR_MS = 5;
/** Ten certificates of 6 KB and a key, many times over. */
const MAX_FILE_BYTES = 1_048_576;

interface Entry {
  name: string;
  pair: FilePair;
  /** Size, time and inode of both as of the last read. */
  seen: string;
  bundle: CertificateBundle | undefined;
  problem: { error: GatehouseError; at: number } | undefined;
  isSaid: boolean;
}

export function createWatchedFiles(options: {
  /** A pair that is whole and another than before. */
  taken(bundle: CertificateBundle): void;
  /** One that is still not whole at the second look: whoever writes two files writes one of them first. */
  refused(name: string, error: GatehouseError, isServing: boolean): void;
  now(): number;
  /** For tests. Default two seconds. */
  everyMs?: number;
}): WatchedFiles {
  const { taken, refused, now, everyMs = LOOK_EVERY_MS } = options;
  let entries = new Map<string, Entry>();
  let timer: NodeJS.Timeout | undefined;
  let isStopped = false;

  async function look(entry: Entry): Promise<void> {
    const { name, pair } = entry;
    const seen = await signatureOf(pair);
    if (seen === entry.seen) {
      if (entry.problem !== undefined && !entry.isSaid) {
        entry.isSaid = true;
        refused(name, entry.problem.error, entry.bundle !== undefined);
      }
      return;
    }
    entry.seen = seen;
    try {
      const bundle = await readPair(name, pair, now());
      entry.problem = undefined;
      if (bundle.chainPem === entry.bundle?.chainPem && bundle.keyPem === entry.bundle.keyPem) return;
      entry.bundle = bundle;
      if (entries.get(name) === entry) taken(bundle);
    } catch (error) {
      entry.problem = { error: asRefusal(error, name), at: now() };
      entry.isSaid = false;
    }
  }

  async function lookAtAll(): Promise<void> {
    for (const entry of entries.values()) {
      if (isStopped) return;
      await look(entry);
    }
    arm();
  }

  function arm(): void {
    clearTimeout(timer);
    if (isStopped || entries.size === 0) return;
    timer = setTimeout(() => void lookAtAll(), Math.max(everyMs, entries.size * PER_PAIR_MS));
    timer.unref();
  }

  return {
    async apply(pairs) {
      const last = entries;
      const fresh: Entry[] = [];
      entries = new Map();
      for (const [name, pair] of pairs) {
        const known = last.get(name);
        if (known?.pair.cert === pair.cert && known.pair.key === pair.key) {
          entries.set(name, known);
          continue;
        }
        // What served until now serves until the new files are whole.
        const entry: Entry = { name, pair, seen: "", bundle: known?.bundle, problem: undefined, isSaid: false };
        entries.set(name, entry);
        fresh.push(entry);
      }
      for (const entry of fresh) await look(entry);
      arm();
    },
    has: (name) => entries.has(name),
    bundle: (name) => entries.get(name)?.bundle,
    problem: (name) => entries.get(name)?.problem,
    stop() {
      isStopped = true;
      clearTimeout(timer);
    },
  };
}

/** The same text as long as neither file has changed; a missing one is a state, too. */
async function signatureOf({ cert, key }: FilePair): Promise<string> {
  const facts = await Promise.all([cert, key].map((file) => stat(file).then(textOf, (error) => errorText(error))));
  return facts.join(" ");
}

const textOf = ({ ino, size, mtimeMs, ctimeMs }: Stats): string => `${ino}:${size}:${mtimeMs}:${ctimeMs}`;

async function readPair(name: string, { cert, key }: FilePair, now: number): Promise<CertificateBundle> {
  const texts = await Promise.all([cert, key].map(readBounded));
  // Somebody's own CA may sign with its root: the chain is as they wrote it.
  const { keyPem, chainPem } = pairFromPem(texts, { isAlone: true });
  const check = checkBundle(name, keyPem, chainPem);
  if ("reason" in check) throw new Error(`${cert}: ${check.reason}`);
  createSecureContext({ ...tlsSettings, key: keyPem, cert: chainPem });
  return { name, keyPem, chainPem, ca: OWN_FILES, issuedAt: now, ...check.facts };
}

async function readBounded(file: string): Promise<string> {
  const { size } = await stat(file);
  if (size > MAX_FILE_BYTES) throw new Error(`${file} has ${size} bytes, which is more than any certificate`);
  return readFile(file, "utf8");
}

function asRefusal(cause: unknown, name: string): GatehouseError {
  return new GatehouseError("GATEHOUSE_FILES_UNUSABLE", {
    message: `The certificate files of ${name} cannot be used: ${errorText(cause)}`,
    hint: "Bring both in order, for this name and readable for the user that runs Gatehouse; they are looked at every few seconds.",
    cause,
    detail: { name },
  });
}
