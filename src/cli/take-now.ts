/**
 * How does a running Gatehouse come to take an edited file at once?
 * Owns: the reload after an edit, and the words for "none runs".
 * Never: edits.
 */
import type { AdminClient } from "../admin/client.ts";
import { isGatehouseError } from "../core/errors.ts";
import type { Terminal } from "./terminal.ts";

/** @returns whether one runs that took it */
export async function takeNow(client: () => Promise<AdminClient>, terminal: Terminal): Promise<boolean> {
  try {
    await (await client()).reload();
    return true;
  } catch (error) {
    if (!isGatehouseError(error, "GATEHOUSE_NOT_RUNNING")) throw error;
    terminal.err.write("no Gatehouse runs with this file; it is opened at the next start\n");
    return false;
  }
}
