/**
 * The end of a connection, whatever came before it: `once` of node:events rejects at an error, and who is cut while he
 * writes has one first.
 */
import type { Duplex } from "node:stream";

/** Resolves at the event "close", which must still be to come. */
export const closeOf = (socket: Duplex): Promise<void> =>
  new Promise((resolve) => {
    socket.once("close", () => resolve());
  });
