/**
 * Could a worker open these ports?
 * Owns: trying each new one for a moment before the workers are asked, so that the answer is the same as without workers.
 * Never: keeps one open.
 *
 * node:cluster binds in the primary, and the kernel's "in use" may only come with listen(), in the worker. Node 24 reports
 * it there but forgets to close its handle, and the next try on that port ends the worker with an assertion
 * (internal/cluster/child, `shared`).
 */
import type { Config, ListenAddress } from "../config/model.ts";
import { GatehouseError, isGatehouseError } from "../core/errors.ts";
import { createListeners, type ListenerKind } from "../proxy/front/listen.ts";

const KINDS: readonly ListenerKind[] = ["https", "http"];

/** @throws GATEHOUSE_PORT_IN_USE, GATEHOUSE_PORT_FORBIDDEN, GATEHOUSE_LISTEN_FAILED */
export async function probePorts(next: Config["listen"], current: Config["listen"] | undefined): Promise<void> {
  const held = current === undefined ? [] : KINDS.flatMap((kind) => current[kind]);
  const isHeld = (address: ListenAddress) => held.some((one) => textOf(one) === textOf(address));
  const listeners = createListeners({
    // Nobody should have come yet; who did finds the port closed, as it was.
    accept: (_kind, socket) => socket.destroy(),
    failed: () => {},
  });
  try {
    for (const kind of KINDS) {
      for (const address of next[kind]) {
        // A descriptor is taken as it is; closing it would take it away for good. Port 0 is always free.
        if ("fd" in address || address.port === 0 || isHeld(address)) continue;
        await listeners.listen(kind, address).catch((error: unknown) => {
          const isOurs = held.some((one) => "port" in one && one.port === address.port);
          throw isOurs && isGatehouseError(error, "GATEHOUSE_PORT_IN_USE") ? sharedPort(error) : error;
        });
      }
    }
  } finally {
    listeners.stop();
  }
}

const textOf = (address: ListenAddress): string =>
  "fd" in address ? `fd:${address.fd}` : `${address.host ?? "*"}:${address.port}`;

/** The workers let it go one after another, and it is free when the last one has. */
function sharedPort(cause: GatehouseError): GatehouseError {
  return new GatehouseError(cause.code, {
    message: "With workers, a listener cannot keep its port and change its address while running.",
    hint: "Restart Gatehouse, or take another port.",
    cause,
  });
}
