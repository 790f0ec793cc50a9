/**
 * For which names shall nothing be ordered, though the configuration has them?
 * Owns: `acme/disabled/<name>.json`, read once and kept.
 * Never: stops serving a name; what is there serves on.
 */
import type { Storage } from "../storage/contract.ts";

export interface DisabledNames {
  has(name: string): boolean;
  add(name: string): Promise<void>;
  remove(name: string): Promise<void>;
}

const FOLDER = "acme/disabled";
const place = (name: string): string => `${FOLDER}/${name.replaceAll(":", "_")}.json`;

/** @throws GATEHOUSE_STORAGE_FAILED */
export async function createDisabledNames(storage: Storage): Promise<DisabledNames> {
  const keys = await storage.list(FOLDER);
  const names = new Set(keys.map((key) => key.slice(FOLDER.length + 1, -".json".length).replaceAll("_", ":")));
  return {
    has: (name) => names.has(name),
    async add(name) {
      await storage.write(place(name), "{}\n");
      names.add(name);
    },
    async remove(name) {
      await storage.remove(place(name));
      names.delete(name);
    },
  };
}
