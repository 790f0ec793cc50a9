/**
 * May one more tunnel be dug?
 * Owns: how many upgraded connections there are, in all and per network of clients.
 * Never: knows how they came; a stream of HTTP/2 counts like a connection.
 */
import type { LimitsConfig } from "../config/model.ts";
import type { LimitName } from "../observe/limit-names.ts";
import { createNetworkSet, isNeighbour, networkOf } from "../core/networks.ts";

export interface TunnelBounds {
  /** Counts one in and returns how to count it out (once), or the limit that is reached. */
  admit(clientAddress: string): (() => void) | LimitName;
}

export function createTunnelBounds(limits: () => LimitsConfig): TunnelBounds {
  /** Never more entries than tunnels. */
  const networks = new Map<string, number>();
  let open = 0;
  return {
    admit(clientAddress) {
      const { tunnels, tunnelsPerAddress, exempt } = limits();
      const network = networkOf(clientAddress);
      const here = networks.get(network) ?? 0;
      if (open >= tunnels) return "tunnels";
      // Only who is at his limit is looked up.
      if (here >= tunnelsPerAddress && !isNeighbour(clientAddress) && !createNetworkSet(exempt).has(clientAddress))
        return "tunnels_per_address";
      open++;
      networks.set(network, here + 1);
      return () => {
        open--;
        const left = (networks.get(network) ?? 1) - 1;
        if (left === 0) networks.delete(network);
        else networks.set(network, left);
      };
    },
  };
}
