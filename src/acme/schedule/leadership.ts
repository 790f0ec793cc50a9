/**
 * Of two processes on one state folder, which one schedules?
 * Owns: the lock `scheduler`, for as long as the scheduler runs.
 * Never: orders. Each order has a lock of its own beside this one, so being wrong here costs a look and no certificate.
 */
import { errorText, isGatehouseError } from "../../core/errors.ts";
import type { Logger } from "../../observe/log.ts";
import type { Storage, StorageLock } from "../../storage/contract.ts";

/** For a while at a time, so that a lock in trouble is tried anew. */
const WAIT_MS = 3_600_000;

export interface Leadership {
  /** Undefined until the first look is over. */
  isLeader(): boolean | undefined;
  stop(): Promise<void>;
}

export function createLeadership(storage: Storage, log: Logger, onChange: () => void): Leadership {
  const controller = new AbortController();
  let lock: StorageLock | undefined;
  let isLeader: boolean | undefined;
  const seeking = seek();

  async function seek(): Promise<void> {
    for (let withinMs = 0; !controller.signal.aborted; withinMs = WAIT_MS) {
      try {
        lock = await storage.lock("scheduler", { withinMs, signal: controller.signal });
        if (isLeader === false) log.info({ event: "scheduler.leads" }, "this process schedules from now on");
        settle(true);
        return;
      } catch (error) {
        if (controller.signal.aborted) return;
        if (!isGatehouseError(error, "GATEHOUSE_LOCK_TIMEOUT")) {
          // Whatever is wrong with the disk is found again, and told for each name, by the order that needs it.
          log.warn({ event: "scheduler.unlocked", reason: errorText(error) }, "scheduling without the lock");
          settle(true);
          return;
        }
        if (isLeader === undefined) {
          log.info(
            { event: "scheduler.stands_by", reason: errorText(error) },
            "another process schedules, this one serves",
          );
        }
        settle(false);
      }
    }
  }

  function settle(leads: boolean): void {
    isLeader = leads;
    onChange();
  }

  return {
    isLeader: () => isLeader,
    async stop() {
      controller.abort(new Error("stopping"));
      await seeking;
      await lock?.release().catch(() => {}); // it grows stale by itself
    },
  };
}
