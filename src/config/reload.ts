/**
 * Has the file changed?
 * Owns: watching its folder (editors and Docker replace the file, so a watch on it would die with the old one), a
 * debounce, a poll as the net below, and the comparison of contents.
 * Never: parses or loads.
 */
import { watch } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { digestOf } from "./load.ts";
import { readBounded } from "./text/read-file.ts";

export interface WatchOptions {
  /** The content is another one; called once per change. */
  onChange: () => void;
  signal: AbortSignal;
  /** `LoadedConfig.digest` of what runs. Without it, what is there first counts as running. */
  running?: string;
  /** For what no event tells: NFS, a link to a folder that was swapped, a watch that could not be had. */
  pollMs?: number;
}

/** An editor writes, renames and touches in one go: this much silence ends a change. */
const DEBOUNCE_MS = 200;

/** Watches until the signal. A file that is gone is waited for; nothing is ever thrown. */
export function watchConfig(file: string, { onChange, signal, running, pollMs = 30_000 }: WatchOptions): void {
  if (signal.aborted) return;
  const path = resolve(file);
  let last = running;
  let looking: Promise<void> | undefined;
  let lookAgain = false;

  const lookOnce = async () => {
    let digest: string;
    try {
      digest = digestOf(new TextDecoder().decode(await readBounded(path)));
    } catch {
      return; // between two renames, or unreadable: the next event or poll looks again
    }
    const isFirst = last === undefined;
    if (digest === last || signal.aborted) return;
    last = digest;
    if (!isFirst) onChange();
  };
  const look = () => {
    if (looking !== undefined) {
      lookAgain = true;
      return;
    }
    looking = lookOnce().finally(() => {
      looking = undefined;
      if (lookAgain) {
        lookAgain = false;
        look();
      }
    });
  };

  let debounce: NodeJS.Timeout | undefined;
  const onEvent = (_event: string, name: string | null) => {
    if (name !== null && name !== basename(path) && !isSwappedFolder(name)) return;
    clearTimeout(debounce);
    debounce = setTimeout(look, DEBOUNCE_MS);
  };
  const stopWatching = watchFolder(dirname(path), onEvent);
  const poll = setInterval(look, pollMs);
  poll.unref();
  signal.addEventListener(
    "abort",
    () => {
      stopWatching();
      clearInterval(poll);
      clearTimeout(debounce);
    },
    { once: true },
  );
  look();
}

/** Kubernetes and some of its kin mount a folder whose files are links through `..data`, and swap that. */
const isSwappedFolder = (name: string) => name.startsWith("..");

function watchFolder(folder: string, onEvent: (event: string, name: string | null) => void): () => void {
  try {
    const watcher = watch(folder, { persistent: false }, onEvent);
    // The folder went away, or the kernel's watches are used up: the poll goes on alone.
    watcher.on("error", () => watcher.close());
    return () => watcher.close();
  } catch {
    return () => {};
  }
}
