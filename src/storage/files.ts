/**
 * How do bytes get on a disk so that a power cut leaves the old ones or the new ones?
 * Owns: the state folder: its modes (0700, files 0600), write-beside-and-rename, fsync, leftovers.
 * Never: knows what the bytes mean.
 */
import { randomBytes } from "node:crypto";
import { type FileHandle, chmod, lstat, mkdir, open, readdir, rename, rmdir, stat, unlink } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { GatehouseError } from "../core/errors.ts";
import { type Clock, systemClock } from "../core/time.ts";
import type { Storage } from "./contract.ts";
import { diskCode, diskError } from "./disk-errors.ts";
import { acquireFileLock } from "./file-lock.ts";
import { MAX_KEY_PARTS, assertKey, isKeyPart } from "./key-grammar.ts";
import { LOCKS, sweepLeftovers, TEMPORARY } from "./leftovers.ts";
import { walk } from "./walk.ts";

/** The largest thing kept is a certificate chain (some KB). A file past this was not written by Gatehouse. */
const MAX_BYTES = 16 * 1024 * 1024;

/** As much as a whole new bundle and its order need, several times over: passing means that saving will do. */
const PROBE_BYTES = 65_536;

/** A folder may be pruned by another process between making it and writing into it; thrice in a row is no accident. */
const WRITE_TRIES = 3;

export interface FileStorageOptions {
  /** Something a person should know that stops nothing: too open modes, a lock that cannot be kept alive. */
  onWarning?: (message: string, hint: string) => void;
  clock?: Clock;
  /** "leave": whoever opened the folder first looks after them (leftovers). Default: they are swept first. */
  leftovers?: "sweep" | "leave";
}

/**
 * Make the folder, tighten it, sweep what a crash left (unless told to leave it).
 *
 * @throws GATEHOUSE_STORAGE_FAILED when the folder cannot be made or entered
 */
export async function createFileStorage(folder: string, options: FileStorageOptions = {}): Promise<Storage> {
  const root = resolve(folder);
  const { onWarning = () => {}, clock = systemClock, leftovers = "sweep" } = options;
  await openRoot(root, onWarning);
  if (leftovers === "sweep") await sweepLeftovers(root, { clock });
  const pathOf = (key: string): string => {
    assertKey(key);
    return join(root, key);
  };

  return {
    async read(key) {
      const path = pathOf(key);
      try {
        return await readWhole(path, onWarning);
      } catch (error) {
        const code = diskCode(error);
        // A folder is not a key, and neither is what would lie below a file.
        if (code === "ENOENT" || code === "ENOTDIR" || code === "EISDIR") return undefined;
        throw diskError("read", path, root, error);
      }
    },

    async write(key, bytes) {
      const path = pathOf(key);
      for (let tries = 1; ; tries++) {
        try {
          await makeFolder(dirname(path));
          await replaceFile(path, bytes);
          return;
        } catch (error) {
          if (diskCode(error) === "ENOENT" && tries < WRITE_TRIES) continue;
          throw diskError("write", path, root, error);
        }
      }
    },

    async remove(key) {
      const path = pathOf(key);
      try {
        await unlink(path);
        await removeEmptyFolders(dirname(path), root);
      } catch (error) {
        const code = diskCode(error);
        if (code === "ENOENT" || code === "ENOTDIR") return;
        throw diskError("remove", path, root, error);
      }
    },

    async list(prefix) {
      const start = prefix === "" ? root : pathOf(prefix);
      const keys: string[] = [];
      try {
        await walk(start, {
          depth: MAX_KEY_PARTS,
          isWanted: isKeyPart,
          onFile: (path) => keys.push(relative(root, path).replaceAll("\\", "/")),
        });
      } catch (error) {
        throw diskError("list", start, root, error);
      }
      return keys.sort();
    },

    async probe() {
      const path = join(root, `${TEMPORARY}probe-${randomBytes(8).toString("hex")}`);
      const written = randomBytes(PROBE_BYTES);
      try {
        await writeNew(path, written);
        const read = await readWhole(path, onWarning);
        if (!read.equals(written)) throw new Error("what was read is not what was written");
        await unlink(path);
        await syncFolder(root);
      } catch (error) {
        await unlink(path).catch(() => {});
        throw diskError("write a probe to", path, root, error);
      }
    },

    async lock(name, { withinMs, signal }) {
      assertKey(name);
      const path = join(root, LOCKS, name);
      await makeFolder(dirname(path)).catch((error: unknown) => {
        throw diskError("make the folder", dirname(path), root, error);
      });
      return acquireFileLock({ path, root, name, withinMs, signal, onWarning });
    },
  };
}

async function openRoot(root: string, onWarning: (message: string, hint: string) => void): Promise<void> {
  try {
    await makeFolder(root);
    const { mode, uid } = await stat(root);
    if ((mode & 0o077) === 0) return;
    const shown = (mode & 0o7777).toString(8).padStart(4, "0");
    if (uid === process.geteuid?.() && !(await isShared(root, mode))) {
      await chmod(root, 0o700);
      return;
    }
    onWarning(
      `the state folder ${root} is open to other users (mode ${shown})`,
      `Keys below it are readable by Gatehouse alone; better is a folder of its own: chmod 0700 ${root}`,
    );
  } catch (error) {
    throw diskError("open the state folder", root, root, error);
  }
}

/**
 * Would closing it to others hurt somebody? A sticky folder (/tmp) is shared on purpose, and folders that are themselves
 * open to others are not ours: `state: /etc` must not become a locked /etc. What lies below is 0700 in any case.
 */
async function isShared(root: string, mode: number): Promise<boolean> {
  if ((mode & 0o1000) !== 0) return true;
  for (const entry of await readdir(root, { withFileTypes: true })) {
    if (entry.isDirectory() && ((await lstat(join(root, entry.name))).mode & 0o077) !== 0) return true;
  }
  return false;
}

async function readWhole(path: string, onWarning: (message: string, hint: string) => void): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    const { mode, size, uid } = await file.stat();
    if (size > MAX_BYTES) {
      throw new GatehouseError("GATEHOUSE_STORAGE_FAILED", {
        message: `${path} has ${size} bytes, more than anything that Gatehouse keeps (${MAX_BYTES})`,
        hint: "Look at what it is and move it out of the state folder.",
      });
    }
    if ((mode & 0o077) !== 0 && uid === process.geteuid?.()) {
      await file.chmod(0o600);
      onWarning(
        `${path} was open to other users (mode ${(mode & 0o777).toString(8).padStart(4, "0")}) and is 0600 now`,
        "If it is a key and others use this machine, take it for known and have a new one made.",
      );
    }
    return await file.readFile();
  } finally {
    await file.close();
  }
}

async function writeNew(path: string, bytes: Uint8Array | string): Promise<void> {
  const file: FileHandle = await open(path, "wx", 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function replaceFile(path: string, bytes: Uint8Array | string): Promise<void> {
  const beside = join(dirname(path), `${TEMPORARY}${randomBytes(8).toString("hex")}`);
  try {
    await writeNew(beside, bytes);
    await rename(beside, path);
  } catch (error) {
    await unlink(beside).catch(() => {});
    throw error;
  }
  await syncFolder(dirname(path));
}

/**
 * Every folder that is new has to be durable itself, so the one above it is fsynced. Not `recursive: true`: on a
 * read-only file system Node answers that with ENOENT, which sends people looking for the wrong thing.
 */
async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (error) {
    const code = diskCode(error);
    if (code === "EEXIST") return;
    const above = dirname(folder);
    if (code !== "ENOENT" || above === folder) throw error;
    await makeFolder(above);
    await mkdir(folder, { mode: 0o700 }).catch((again: unknown) => {
      if (diskCode(again) !== "EEXIST") throw again;
    });
  }
  await syncFolder(dirname(folder));
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } catch (error) {
    // Some network file systems cannot fsync a folder; they order renames themselves.
    const code = diskCode(error);
    if (code !== "EINVAL" && code !== "ENOTSUP" && code !== "EBADF") throw error;
  } finally {
    await handle.close();
  }
}

async function removeEmptyFolders(folder: string, root: string): Promise<void> {
  for (let each = folder; each !== root && each.startsWith(root); each = dirname(each)) {
    try {
      await rmdir(each);
    } catch {
      break; // something else lies there: done
    }
  }
  await syncFolder(root);
}
