/**
 * Which files lie below a folder?
 * Owns: the walk, no deeper than keys go, past names that are none of ours.
 * Never: opens a file.
 */
import type { Dirent } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { diskCode } from "./disk-errors.ts";

export interface Walk {
  depth: number;
  isWanted(name: string): boolean;
  onFile(path: string, name: string): void;
  /** Before each folder but the first; a rejection ends the walk. */
  rest?: () => Promise<void> | undefined;
}

/** @throws what the disk says; a folder that is gone meanwhile is an empty one */
export async function walk(folder: string, way: Walk): Promise<void> {
  let entries: Dirent[];
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch (error) {
    const code = diskCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") return;
    throw error;
  }
  for (const entry of entries) {
    if (!way.isWanted(entry.name)) continue;
    const path = join(folder, entry.name);
    if (entry.isFile()) way.onFile(path, entry.name);
    else if (entry.isDirectory() && way.depth > 1) {
      const rest = way.rest?.();
      if (rest !== undefined) await rest;
      await walk(path, { ...way, depth: way.depth - 1 });
    }
  }
}
