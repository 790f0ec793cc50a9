/**
 * How do two connections become one?
 * Owns: bytes both ways with backpressure, half-close, the idle limit, and that both ends go together.
 * Never: looks at the bytes.
 */
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import type { SharedReading } from "../fast/shared-reading.ts";

export interface TunnelEnd {
  readonly stream: Duplex;
  /** Ends it so that nobody takes what was sent for the whole. */
  cut(): void;
}

export interface TunnelEvents {
  fromClient(bytes: number): void;
  fromTarget(bytes: number): void;
  /** Nothing moved for so long: both ends go. */
  silent(): void;
  /** Once, when both ends are closed. */
  closed(): void;
}

/** After one side is gone: what its last bytes may need to reach the other. */
const LAST_BYTES_MS = 10_000;

/**
 * Both streams have their 'error' listener already and are not read by anybody else.
 * @param reading  for those of them that are sockets: Node otherwise makes a buffer for each message, 64 KiB for a plain target's
 */
export function joinTunnel(
  reading: SharedReading,
  client: TunnelEnd,
  target: TunnelEnd,
  idleMs: number,
  on: TunnelEvents,
): void {
  const cutBoth = (): void => {
    client.cut();
    target.cut();
  };
  const timer = setTimeout(() => {
    on.silent();
    cutBoth();
  }, idleMs);
  let open = 2;

  const relay = (fromEnd: TunnelEnd, toEnd: TunnelEnd, count: (bytes: number) => void): void => {
    const from = fromEnd.stream;
    const to = toEnd.stream;
    const encrypts = to instanceof TLSSocket;
    const take = (bytes: Buffer): void => {
      timer.refresh();
      count(bytes.length);
      if (to.destroyed) return;
      // With nothing waiting before it, OpenSSL takes it within this call (see PacketWriter).
      const isTaken = encrypts && to.writableLength === 0;
      if (!to.write(isTaken ? bytes : reading.keep(bytes, to))) from.pause();
    };
    if (from instanceof Socket) reading.start(from, take);
    else from.on("data", take);
    to.on("drain", () => {
      timer.refresh();
      from.resume();
    });
    // A FIN goes on as a FIN (RFC 9293 §3.6): the other direction may still have something to say.
    from.once("end", () => to.end());
    // HTTP/2 says 'end' for a reset as well, but this before it: a reset goes on as a cut (RFC 8441 §5).
    from.once("aborted", () => toEnd.cut());
    from.once("close", () => {
      if (from instanceof Socket) reading.end(from);
      open--;
      if (open === 0) {
        clearTimeout(timer);
        on.closed();
      } else if (from.readableEnded && !to.destroyed && !to.writableFinished) {
        const last = setTimeout(() => toEnd.cut(), LAST_BYTES_MS);
        to.once("finish", () => to.destroy());
        to.once("close", () => clearTimeout(last));
      } else if (!to.destroyed) {
        toEnd.cut();
      }
    });
  };
  relay(client, target, on.fromClient);
  relay(target, client, on.fromTarget);

  if (client.stream.destroyed || target.stream.destroyed) cutBoth();
  client.stream.resume();
  target.stream.resume();
}
