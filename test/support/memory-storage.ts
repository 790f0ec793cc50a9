/**
 * A disk of a test's own: as fast as memory, and it can be copied, filled and torn.
 */
import { GatehouseError } from "../../src/core/errors.ts";
import type { Storage } from "../../src/storage/contract.ts";
import { assertKey } from "../../src/storage/key-grammar.ts";

export function memoryStorage(files: Map<string, Buffer> = new Map()): Storage & { files: Map<string, Buffer> } {
  /** Keys by their first two parts: a year of simulation lists one name's folder ten thousand times. */
  const folders = new Map<string, Set<string>>();
  const folderOf = (key: string): string => key.split("/", 2).join("/");
  for (const key of files.keys()) note(key);
  function note(key: string): void {
    const folder = folders.get(folderOf(key)) ?? new Set();
    folders.set(folderOf(key), folder.add(key));
  }
  const locks = new Map<string, Promise<void>>();
  const checked = (key: string): string => {
    assertKey(key);
    return key;
  };
  return {
    files,
    read: async (key) => files.get(checked(key)),
    async write(key, bytes) {
      files.set(checked(key), Buffer.from(bytes));
      note(key);
    },
    async remove(key) {
      files.delete(checked(key));
      folders.get(folderOf(key))?.delete(key);
    },
    async list(prefix) {
      if (prefix !== "") assertKey(prefix);
      const below = prefix === "" ? "" : `${prefix}/`;
      const some = prefix.includes("/") ? (folders.get(folderOf(prefix)) ?? []) : files.keys();
      return [...some].filter((key) => key.startsWith(below)).sort();
    },
    async probe() {},
    async lock(name, { withinMs, signal }) {
      assertKey(name);
      signal?.throwIfAborted();
      const deadline = performance.now() + withinMs;
      for (let holder = locks.get(name); holder !== undefined; holder = locks.get(name)) {
        const left = deadline - performance.now();
        const { promise: woken, resolve: wakeUp } = Promise.withResolvers<void>();
        const timer = setTimeout(() => wakeUp(), Math.min(left, 1_000));
        signal?.addEventListener("abort", () => wakeUp(), { once: true });
        await Promise.race([holder, woken]);
        clearTimeout(timer);
        signal?.throwIfAborted();
        if (locks.has(name) && performance.now() >= deadline) {
          throw new GatehouseError("GATEHOUSE_LOCK_TIMEOUT", { message: `somebody holds ${name}` });
        }
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      locks.set(name, promise);
      return {
        async release() {
          if (locks.get(name) === promise) locks.delete(name);
          resolve();
        },
      };
    },
  };
}
