/**
 * The disk said no: where, why, and what should a person do?
 * Owns: the remedy for each error of the file system.
 * Never: decides whether to go on.
 */
import { GatehouseError, errorText, isGatehouseError } from "../core/errors.ts";

const REASONS: Readonly<Record<string, { reason: string; remedy: (root: string) => string }>> = {
  ENOSPC: { reason: "the disk is full", remedy: () => "Free some space; Gatehouse tries again by itself." },
  EDQUOT: { reason: "the disk quota is used up", remedy: () => "Free some space or raise the quota." },
  EROFS: {
    reason: "the file system is read-only",
    remedy: (root) => `Mount it writable, or point \`state:\` to a folder that is. It is now ${root}.`,
  },
  EACCES: {
    reason: "Gatehouse may not",
    remedy: (root) => `Give the state folder to the user that Gatehouse runs as: chown -R ${userId()} ${root}`,
  },
  EPERM: {
    reason: "Gatehouse may not",
    remedy: (root) => `Give the state folder to the user that Gatehouse runs as: chown -R ${userId()} ${root}`,
  },
  ENOENT: {
    reason: "the folder is not there",
    remedy: (root) => `Make it, or correct \`state:\`, which is now ${root}.`,
  },
  ENOTDIR: {
    reason: "a file lies where a folder should be",
    remedy: (root) => `Move that file away, or correct \`state:\`, which is now ${root}.`,
  },
  EISDIR: {
    reason: "a folder lies where a file should be",
    remedy: () => "Move that folder away; Gatehouse did not make it.",
  },
  EIO: { reason: "the disk failed", remedy: () => "Look at the kernel's log (dmesg) and replace the disk." },
  EMFILE: {
    reason: "too many files are open",
    remedy: () => "Raise the limit of open files (ulimit -n, or LimitNOFILE= in the systemd unit).",
  },
  ENAMETOOLONG: {
    reason: "the path is too long for this file system",
    remedy: (root) => `Point \`state:\` to a shorter path than ${root}.`,
  },
};

/** Windows has no user ids; everything else does. */
const userId = (): number | string => process.geteuid?.() ?? "<user>";

/** The code that Node gives to an error of the file system, or undefined. */
export function diskCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** @param action reads after "cannot": `write`, `read`, `make the folder` */
export function diskError(action: string, path: string, root: string, cause: unknown): GatehouseError {
  if (isGatehouseError(cause)) return cause;
  const code = diskCode(cause);
  const known = REASONS[code ?? ""];
  return new GatehouseError("GATEHOUSE_STORAGE_FAILED", {
    message: `cannot ${action} ${path}: ${known?.reason ?? errorText(cause)}${code === undefined ? "" : ` (${code})`}`,
    hint:
      known?.remedy(root) ??
      `Look at the state folder ${root}: it must be a writable folder of the user that Gatehouse runs as.`,
    cause,
    detail: { path, code },
  });
}
