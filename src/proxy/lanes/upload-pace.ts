/**
 * Is the client still sending its body, and fast enough?
 * Owns: the watch on one upload.
 * Never: limits its whole length in time: a photo library takes hours.
 */

import type { LimitsConfig } from "../../config/model.ts";

export interface UploadFacts {
  /** Longest silence. */
  idleMs: number;
  /** Received so far. */
  bytes(): number;
  /** We, or the target, are the ones who hold things up: then the client is not judged. */
  isOurTurn(): boolean;
  limits: Pick<LimitsConfig, "bodyRate" | "bodyGraceMs">;
  onSlow(limit: "body_silence" | "body_rate"): void;
}

/** @returns stops the watch */
export function watchUpload(facts: UploadFacts): () => void {
  const { bodyRate, bodyGraceMs } = facts.limits;
  const everyMs = Math.max(50, Math.min(facts.idleMs / 2, bodyGraceMs / 2, 5_000));
  let seen = 0;
  let silentMs = 0;
  let windowMs = 0;
  let windowBytes = 0;
  let isWindowOurs = false;
  const timer = setInterval(() => {
    const bytes = facts.bytes();
    const isOurs = facts.isOurTurn();
    silentMs = bytes > seen || isOurs ? 0 : silentMs + everyMs;
    seen = bytes;
    windowMs += everyMs;
    isWindowOurs ||= isOurs;
    let isDripping = false;
    if (windowMs >= bodyGraceMs) {
      isDripping = !isWindowOurs && bytes - windowBytes < (bodyRate * windowMs) / 1_000;
      windowMs = 0;
      windowBytes = bytes;
      isWindowOurs = false;
    }
    if (silentMs < facts.idleMs && !isDripping) return;
    clearInterval(timer);
    facts.onSlow(isDripping ? "body_rate" : "body_silence");
  }, everyMs);
  timer.unref();
  return () => clearInterval(timer);
}
