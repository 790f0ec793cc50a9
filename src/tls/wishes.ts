/**
 * A client wants a name whose certificate is ordered on demand: is one here, and who is told if not?
 * Owns: one question per name at a time, few altogether, and for how long the same one is not put again.
 * Never: waits for a CA: what is not stored yet is pending, and comes by itself when it is there.
 */
import { LRUCache } from "lru-cache";
import { type Clock, systemClock } from "../core/time.ts";
import type { CertificateBundle } from "../storage/bundles.ts";

/** Strangers choose the names. Each question is a look at a disk at most. */
const MAX_ASKING = 32;
const MAX_REMEMBERED = 1_000;
/** A browser asks again within a second; a certificate takes some. */
const ASK_AGAIN_MS = 5_000;

export interface Wishes {
  /** Resolves when the keeper has answered; undefined where it was asked a moment ago, or is asked too much. */
  wish(name: string): Promise<void> | undefined;
}

export interface WishesOptions {
  /** Must not reject. */
  ask(name: string): Promise<CertificateBundle | undefined>;
  arrived(bundle: CertificateBundle): void;
  clock?: Clock;
}

export function createWishes({ ask, arrived, clock = systemClock }: WishesOptions): Wishes {
  const asking = new Map<string, Promise<void>>();
  const askedAt = new LRUCache<string, number>({ max: MAX_REMEMBERED });

  async function put(name: string): Promise<void> {
    try {
      const bundle = await ask(name);
      if (bundle !== undefined) arrived(bundle);
    } finally {
      askedAt.set(name, clock.now());
      asking.delete(name);
    }
  }

  return {
    wish(name) {
      const underWay = asking.get(name);
      if (underWay !== undefined) return underWay;
      if (asking.size >= MAX_ASKING || Math.abs(clock.now() - (askedAt.get(name) ?? 0)) < ASK_AGAIN_MS)
        return undefined;
      const question = put(name);
      asking.set(name, question);
      return question;
    },
  };
}
