/**
 * How often does one network come?
 * Owns: counts of new connections per network in windows of ten seconds.
 * Never: holds more than a bounded number of networks.
 */

const WINDOW_MS = 10_000;
/**
 * Networks remembered at once, some 100 bytes each. When more come within ten seconds, the first ones are forgotten:
 * somebody who has that many addresses is not held by a limit per address.
 */
const MAX_NETWORKS = 4_096;

export interface Arrivals {
  /** Counts one arrival; false when there were `most` in this window already. */
  mayCome(network: string, most: number): boolean;
}

export function createArrivals(now: () => number = () => performance.now()): Arrivals {
  /** In the order in which their windows began. */
  const windows = new Map<string, { endsAt: number; count: number }>();
  return {
    mayCome(network, most) {
      const at = now();
      let window = windows.get(network);
      if (window === undefined || at >= window.endsAt) {
        windows.delete(network);
        for (const [old, { endsAt }] of windows) {
          if (endsAt > at && windows.size < MAX_NETWORKS) break;
          windows.delete(old);
        }
        window = { endsAt: at + WINDOW_MS, count: 0 };
        windows.set(network, window);
      }
      if (window.count >= most) return false;
      window.count++;
      return true;
    },
  };
}
