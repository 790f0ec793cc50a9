/**
 * Is this text a key of the store, and can it never leave the state folder?
 * Owns: the grammar promised in contract.ts.
 * Never: touches a disk.
 */
import { GatehouseError } from "../core/errors.ts";

/** Deep enough for `certs/<name>/<generation>/key.pem`, with room; a walk over the folder ends there, too. */
export const MAX_KEY_PARTS = 8;

/**
 * No dot in front: that leaves out `.` and `..` and keeps dot names for the store's own use (temporary files, locks).
 * 253 bytes, the longest DNS name, so that every site name is a part as it is; file systems end at 255.
 */
const PART = /^[A-Za-z0-9_@*-][A-Za-z0-9._@*-]{0,252}$/;

export const isKeyPart = (text: string): boolean => PART.test(text);

function isKey(text: string): boolean {
  const parts = text.split("/", MAX_KEY_PARTS + 1);
  return parts.length <= MAX_KEY_PARTS && parts.every(isKeyPart);
}

/** @throws GATEHOUSE_STORAGE_FAILED when it is not a key */
export function assertKey(text: string): void {
  if (isKey(text)) return;
  throw new GatehouseError("GATEHOUSE_STORAGE_FAILED", {
    message: `${JSON.stringify(text.slice(0, 300))} cannot be the name of something stored`,
    hint: "Names in the state folder are one to eight parts of A–Z a–z 0–9 . _ - @ * and never begin with a dot.",
  });
}
