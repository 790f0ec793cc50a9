/**
 * May one more connection come in?
 * Owns: how many connections there are, in all and per network of clients.
 * Never: touches a socket.
 */
import type { LimitsConfig } from "../config/model.ts";
import type { LimitName } from "../observe/limit-names.ts";
import { createNetworks, isPrivate, networkOf } from "./front-networks.ts";
import { plainAddress } from "./rules/client-identity.ts";

export interface ConnectionBounds {
  /** Counts the connection in and returns how to count it out (idempotent), or which limit has no room for it. */
  admit(peerAddress: string): (() => void) | LimitName;
  open(): number;
}

export function createConnectionBounds(limits: () => LimitsConfig): ConnectionBounds {
  /** Never more entries than open connections. */
  const networks = new Map<string, number>();
  let open = 0;
  let exempt: { cidrs: readonly string[]; holds(address: string): boolean } | undefined;

  function isExempt(address: string): boolean {
    const { exempt: cidrs } = limits();
    if (exempt?.cidrs !== cidrs) exempt = { cidrs, holds: createNetworks(cidrs) };
    return exempt.holds(address);
  }

  function refusal(address: string, here: number): LimitName | undefined {
    const { connections, connectionsReserved, connectionsPerAddress, connectionsPerNeighbour } = limits();
    if (open >= connections) return "connections";
    if (isExempt(address)) return undefined;
    if (isPrivate(address)) return here >= connectionsPerNeighbour ? "connections_per_neighbour" : undefined;
    if (open >= connections - connectionsReserved) return "connections";
    return here >= connectionsPerAddress ? "connections_per_address" : undefined;
  }

  return {
    admit(peerAddress) {
      const address = plainAddress(peerAddress);
      const network = networkOf(address);
      const here = networks.get(network) ?? 0;
      const refused = refusal(address, here);
      if (refused !== undefined) return refused;
      open++;
      networks.set(network, here + 1);
      let isOut = false;
      return () => {
        if (isOut) return;
        isOut = true;
        open--;
        const left = (networks.get(network) ?? 1) - 1;
        if (left === 0) networks.delete(network);
        else networks.set(network, left);
      };
    },
    open: () => open,
  };
}
