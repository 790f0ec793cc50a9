/**
 * How much of what Gatehouse may take is one worker's?
 * Owns: sharing out the limits that stand for memory and time of the whole machine.
 * Never: looks at a connection.
 *
 * Totals are divided evenly and rounded up: counting them together would need a message for each connection. What holds
 * per address or per connection stays: the kernel may give all of one client to one worker, and an even part of 64
 * would then refuse a family that is well within it.
 */
import type { Config } from "../config/model.ts";

export function shareOf(config: Config, workers: number): Config {
  const { limits } = config;
  const part = (whole: number): number => Math.ceil(whole / workers);
  return {
    ...config,
    limits: {
      ...limits,
      connections: part(limits.connections),
      connectionsReserved: part(limits.connectionsReserved),
      handshakes: part(limits.handshakes),
      tunnels: part(limits.tunnels),
    },
  };
}
