/**
 * Where does a password come from, and where does a key go?
 * Owns: files that nobody else may read, and that are never overwritten.
 * Never: takes a secret from the command line, where every user of the machine sees it.
 */
import { access, open, readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { errorText, GatehouseError } from "../core/errors.ts";

/** The first line of the file, or of standard input for `-`. @throws GATEHOUSE_SECRET_UNREADABLE */
export async function readPassword(file: string): Promise<string> {
  try {
    const all = file === "-" ? await text(process.stdin) : await readFile(file, "utf8");
    return all.split(/\r?\n/, 1)[0] ?? "";
  } catch (cause) {
    throw new GatehouseError("GATEHOUSE_SECRET_UNREADABLE", {
      message: `The password file ${file} cannot be read: ${errorText(cause)}`,
      hint: "Write the password into a file of yours (chmod 600), or hand it over with --password-file -.",
      cause,
    });
  }
}

/** @throws GATEHOUSE_STORAGE_FAILED when the file is there already */
export async function assertAbsent(file: string): Promise<void> {
  const isThere = await access(file).then(
    () => true,
    () => false,
  );
  if (isThere) throw occupied(file, undefined);
}

/** 0600 from its first byte. @throws GATEHOUSE_STORAGE_FAILED, also when the file is there already */
export async function writeSecretFile(file: string, content: string | Uint8Array): Promise<void> {
  try {
    const handle = await open(file, "wx", 0o600);
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "EEXIST") throw occupied(file, cause);
    throw new GatehouseError("GATEHOUSE_STORAGE_FAILED", {
      message: `${file} cannot be written: ${errorText(cause)}`,
      hint: "Name a file in a folder of yours.",
      cause,
    });
  }
}

const occupied = (file: string, cause: unknown): GatehouseError =>
  new GatehouseError("GATEHOUSE_STORAGE_FAILED", {
    message: `${file} is there already.`,
    hint: "Nothing is overwritten: name another file, or move that one away.",
    cause,
  });
