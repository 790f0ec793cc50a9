/**
 * May one more session begin on this port?
 * Owns: how many there are, in all and per client address.
 * Never: touches a socket.
 */
import { isInsideAddress } from "../core/networks.ts";

export interface SessionBounds {
  /** Counts one in and returns how to count it out (idempotent); undefined when there is no room. */
  admit(address: string): (() => void) | undefined;
}

/**
 * @param total  asked each time: sessions of this port at once
 * One stranger gets an eighth of them, at least eight: enough for what one machine does, and it takes many machines to
 * lock the owner out. Addresses inside may be a router that hides everybody behind it: they share the whole.
 */
export function createSessionBounds(total: () => number): SessionBounds {
  /** Never more entries than open sessions. */
  const byAddress = new Map<string, number>();
  let open = 0;
  return {
    admit(address) {
      const here = byAddress.get(address) ?? 0;
      const perStranger = Math.max(8, Math.floor(total() / 8));
      if (open >= total() || (here >= perStranger && !isInsideAddress(address))) return undefined;
      open++;
      byAddress.set(address, here + 1);
      let isOut = false;
      return () => {
        if (isOut) return;
        isOut = true;
        open--;
        const left = (byAddress.get(address) ?? 1) - 1;
        if (left === 0) byAddress.delete(address);
        else byAddress.set(address, left);
      };
    },
  };
}
