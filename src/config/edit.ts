/**
 * How does a command change the file?
 * Owns: one edit, judged before it is written, written beside and renamed.
 * Never: writes a file that would not load.
 */
import { lstat, open, realpath, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { errorText, GatehouseError } from "../core/errors.ts";
import { loadConfig, type LoadedConfig } from "./load.ts";
import { readSmallFile } from "./text/read-file.ts";

/**
 * @param change  text to text; see edit-text
 * @returns what the changed file comes to
 * @throws GATEHOUSE_CONFIG_UNREADABLE, GATEHOUSE_CONFIG_INVALID (the file as it is, or as it would become: nothing was
 *         written), GATEHOUSE_CONFIG_UNWRITABLE, and what `change` throws
 */
export async function editConfig(
  file: string,
  env: NodeJS.ProcessEnv,
  change: (text: string, before: LoadedConfig) => string,
): Promise<LoadedConfig> {
  // What is wrong already is said first, with its own lines.
  const loaded = await loadConfig(file, { env });
  const before = await readSmallFile(file);
  const text = change(before, loaded);
  const itself = resolve(file);
  const edited = await loadConfig(file, {
    env,
    readFile: (path) => (resolve(path) === itself ? Promise.resolve(text) : readSmallFile(path)),
  });
  await replace(file, before, text);
  return edited;
}

async function replace(file: string, before: string, text: string): Promise<void> {
  let beside: string | undefined;
  try {
    // A link stays a link: what it points to is what is written.
    const path = await realpath(file);
    const { mode, uid, gid } = await lstat(path);
    beside = join(dirname(path), `.${basename(path)}.${process.pid}.new`);
    const handle = await open(beside, "wx", mode & 0o777);
    try {
      await handle.writeFile(text);
      await handle.chmod(mode & 0o777);
      if (process.getuid?.() === 0) await handle.chown(uid, gid);
      await handle.sync();
    } finally {
      await handle.close();
    }
    // Somebody else's edit in these few milliseconds is theirs to keep.
    if ((await readSmallFile(path)) !== before) throw new Error("it was changed by somebody else just now; try again");
    await rename(beside, path);
  } catch (cause) {
    if (beside !== undefined) await rm(beside, { force: true });
    throw new GatehouseError("GATEHOUSE_CONFIG_UNWRITABLE", {
      message: `${file} cannot be written: ${errorText(cause)}`,
      hint: "Run this as the user that owns the file, or edit it by hand; a running Gatehouse reads it by itself.",
      cause,
    });
  }
}
