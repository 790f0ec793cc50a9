/**
 * Are there enough file descriptors for what the limits allow?
 * Owns: asking the kernel, and the one warning about it.
 * Never: changes a limit: Node has raised the soft one to the hard one already, and the hard one is not ours.
 */
import { readFile } from "node:fs/promises";
import type { LimitsConfig } from "../../config/model.ts";
import type { Logger } from "../../observe/log.ts";

/** Listeners, log, storage, the admin socket, names being looked up, and what Node itself holds. */
const OTHERS = 128;

/** One for the client and one for its target each. */
export const filesWanted = (limits: LimitsConfig): number => 2 * limits.connections + OTHERS;

/** `Max open files` of /proc/self/limits (proc_pid_limits(5)): the soft limit; undefined where there is none. */
export function filesAllowed(text: string): number | undefined {
  const soft = /^Max open files\s+(\d+)/m.exec(text)?.[1];
  return soft === undefined ? undefined : Number(soft);
}

export async function checkOpenFiles(
  limits: LimitsConfig,
  log: Pick<Logger, "warn">,
  path = "/proc/self/limits",
): Promise<void> {
  // No such file on macOS; the limit is found when it is met, and the listener says so.
  const text = await readFile(path, "utf8").catch(() => "");
  const allowed = filesAllowed(text);
  const wanted = filesWanted(limits);
  if (allowed === undefined || allowed >= wanted) return;
  log.warn(
    {
      event: "limits.too_few_files",
      allowed,
      wanted,
      hint: `Allow ${wanted} open files (systemd: LimitNOFILE=, Docker: --ulimit nofile=, a shell: ulimit -n), or set limits.connections to ${Math.max(8, Math.floor((allowed - OTHERS) / 2))}.`,
    },
    "fewer open files are allowed than limits.connections needs",
  );
}
