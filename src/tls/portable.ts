/**
 * How does a certificate travel: in which files does one come, and into which file does it go?
 * Owns: telling PEM, PKCS#12 and folders apart, and the two kinds of file that are written. The door for the command line.
 * Never: stores, or writes to a disk.
 */
import { createPrivateKey } from "node:crypto";
import { stat } from "node:fs/promises";
import { isGatehouseError } from "../core/errors.ts";
import { type Found, readBounded, readFolder } from "./import-folder.ts";
import { type Pair, pairFromPem, pairOf } from "./import-pair.ts";
import { pemCertificates } from "./pem.ts";

export interface Wanted {
  /** A file or a folder. */
  path: string;
  /** Files of its own for the key and for the intermediate certificates. */
  key: string | undefined;
  chain: string | undefined;
  password: string | undefined;
  /** Take a leaf without its chain. */
  isAlone: boolean;
}

/**
 * What is wrong with one of a folder stands in its `read`.
 *
 * @throws GATEHOUSE_IMPORT_UNREADABLE for a folder of a kind that is not known
 */
export async function readPortable(wanted: Wanted): Promise<{ isFolder: boolean; found: Found[] }> {
  const isFolder = await stat(wanted.path).then(
    (one) => one.isDirectory(),
    () => false,
  );
  return { isFolder, found: isFolder ? await readFolder(wanted.path, wanted) : [await readFile(wanted)] };
}

async function readFile(wanted: Wanted): Promise<Found> {
  const { path: label } = wanted;
  try {
    return { label, ca: undefined, read: await readPair(wanted) };
  } catch (error) {
    if (isGatehouseError(error)) return { label, ca: undefined, read: error };
    throw error;
  }
}

async function readPair({ path, key, chain, password, isAlone }: Wanted): Promise<Pair> {
  const bytes = await readBounded(path);
  const others = await Promise.all([key, chain].map(async (file) => (file ? readBounded(file) : "")));
  // Every PKCS#12 file is one SEQUENCE in DER or BER (X.690 §8.9); a PEM file is text.
  if (bytes[0] !== 0x30) return pairFromPem([bytes, ...others].map(String), { password, isAlone });
  const { readPkcs12 } = await import("./pkcs12.ts");
  const { keyPem, certificates } = readPkcs12(bytes, password ?? "");
  const all = [...certificates, ...pemCertificates(others.join("\n"))];
  return pairOf(keyPem === undefined ? undefined : createPrivateKey(keyPem), all, isAlone);
}

/**
 * PKCS#12 with a password, PEM (the key first) without one.
 *
 * @param wanted.isModern  AES-256 and SHA-256 in place of what every device reads
 */
export async function writePortable(wanted: {
  name: string;
  keyPem: string;
  chainPem: string;
  pkcs12: { password: string; isModern: boolean } | undefined;
}): Promise<string | Buffer> {
  const { name: label, keyPem, chainPem, pkcs12 } = wanted;
  if (pkcs12 === undefined) return `${keyPem}${chainPem}`;
  const { writePkcs12 } = await import("./pkcs12.ts");
  const format = pkcs12.isModern ? "modern" : "compatible";
  return writePkcs12({ keyPem, chainPem, password: pkcs12.password, label, format });
}
