/**
 * Who looks at every link now and then, without being asked?
 * Owns: the companion that has the doctor look some minutes after the start and four times a day, and what it last found.
 * Never: asks a witness that the file does not name, or mends anything.
 */
import type { CompanionActions, DoctorLook } from "../admin/actions.ts";
import { createAdminClient } from "../admin/client.ts";
import type { Config } from "../config/model.ts";
import { systemClock } from "../core/time.ts";
import { errorText } from "../core/errors.ts";
import { askRunning } from "../doctor/running.ts";
import type { Logger } from "../observe/log.ts";
import type { Companion } from "./companion.ts";

/** First certificates and mappings are there by then, or failing. */
const FIRST_MS = 180_000;
const EVERY_MS = 6 * 3_600_000;

export interface Checkups {
  companion: Companion;
  actions: Pick<CompanionActions, "doctor">;
}

export function createCheckups(options: { log: Logger; firstMs?: number; everyMs?: number }): Checkups {
  const { log, firstMs = FIRST_MS, everyMs = EVERY_MS } = options;
  const stopping = new AbortController();
  let config: Config | undefined;
  let timer: NodeJS.Timeout | undefined;
  let last: DoctorLook | undefined;

  async function look(now: Config): Promise<void> {
    // By the socket, as everybody who asks the running one; and nobody pays for the doctor before it looks.
    const [{ lookAtEverything }, client] = [await import("../doctor/look.ts"), createAdminClient(now.admin)];
    const { ok, summary, findings } = await lookAtEverything({
      config: now,
      warnings: [],
      running: await askRunning(client),
      notRunning: undefined,
      visitors: async () => (await client.status()).visitors,
      only: undefined,
      witnesses: now.ddns?.witnesses ?? [],
      rehearse: undefined,
      signal: stopping.signal,
    });
    const trouble = findings.filter(({ severity }) => severity === "error" || severity === "warning");
    last = { at: systemClock.now(), ok, summary, findings: trouble };
    const facts = { event: "doctor.looked", ok, codes: trouble.map(({ code }) => code) };
    if (ok) log.info(facts, summary);
    else log.warn(facts, summary);
  }

  function plan(inMs: number): void {
    timer = setTimeout(() => {
      const now = config;
      if (now === undefined) return;
      look(now)
        .catch((error: unknown) => {
          if (stopping.signal.aborted) return;
          log.warn({ event: "doctor.failed", reason: errorText(error) }, "the doctor could not look");
        })
        .finally(() => {
          if (!stopping.signal.aborted) plan(everyMs);
        });
    }, inMs).unref();
  }

  return {
    companion: {
      name: "doctor",
      apply(next) {
        config = next;
        if (timer === undefined) plan(firstMs);
      },
      stop() {
        clearTimeout(timer);
        stopping.abort(new Error("Gatehouse stops"));
      },
    },
    actions: { doctor: async () => ({ last }) },
  };
}
