/**
 * Where are metrics and health told?
 * Owns: the listener for both, opened beside the old one and swapped.
 * Never: counts anything.
 */
import { isDeepStrictEqual } from "node:util";
import type { Bound } from "../cluster/contract.ts";
import type { ListenAddress } from "../config/model.ts";
import { createObserveServer, type ObserveServer } from "../observe/health.ts";

interface Opened {
  server: ObserveServer;
  wanted: ListenAddress;
  bound: Bound;
}

export interface Observing {
  /** What is really listened on. */
  bound(): Bound | undefined;
  /** Opens what is asked for when it is another one. @throws GATEHOUSE_PORT_*, GATEHOUSE_LISTEN_FAILED: nothing has changed then */
  open(wanted: ListenAddress | undefined): Promise<Opened | undefined>;
  /** The second step: from now on this one, and the old one is closed. */
  take(opened: Opened | undefined, wanted: ListenAddress | undefined): Promise<void>;
  close(): Promise<void>;
}

export function createObserving(options: Parameters<typeof createObserveServer>[0]): Observing {
  let current: Opened | undefined;
  return {
    bound: () => current?.bound,
    async open(wanted) {
      if (wanted === undefined || isDeepStrictEqual(wanted, current?.wanted)) return undefined;
      const server = createObserveServer(options);
      return { server, wanted, bound: await server.listen(wanted) };
    },
    async take(opened, wanted) {
      if (opened === undefined && wanted !== undefined) return;
      const last = current;
      current = opened;
      await last?.server.close();
    },
    close: async () => current?.server.close(),
  };
}
