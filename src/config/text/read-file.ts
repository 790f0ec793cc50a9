/**
 * What does a small text file hold?
 * Owns: the bound on what is read for the configuration and its secrets, and the check that it is UTF-8.
 * Never: interprets it.
 */
import { createReadStream } from "node:fs";

/** Ten thousand sites fit; a wrong path (a disk image, /dev/zero) must not fill the memory. */
const MAX_BYTES = 4_000_000;

/** @throws the file system's error, or one that says what is wrong with the content */
export async function readSmallFile(path: string): Promise<string> {
  return decode(await readBounded(path));
}

export async function readBounded(path: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // `end` is inclusive: one byte more than allowed is enough to know.
  for await (const chunk of createReadStream(path, { end: MAX_BYTES }) as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
  }
  if (bytes > MAX_BYTES) throw new Error(`it is larger than ${MAX_BYTES / 1_000_000} MB`);
  return Buffer.concat(chunks);
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new Error("it is not UTF-8 text; save it as UTF-8", { cause });
  }
}
