/**
 * What does the state folder hold, as far as a doctor may know?
 * Owns: reading one kept value without opening the store, which would make and tidy the folder.
 * Never: writes.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Storage } from "../storage/contract.ts";

const never = (): Promise<never> => Promise.reject(new Error("the doctor changes nothing"));

/** Rejects with the system's error when the folder may not be read by this user. */
export const keptFiles = (folder: string): Pick<Storage, "read" | "write" | "lock"> => ({
  read: (key) =>
    readFile(join(folder, key)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
      throw error;
    }),
  write: never,
  lock: never,
});
