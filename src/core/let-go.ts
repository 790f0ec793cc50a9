/**
 * What does a closed socket keep from being collected?
 * Owns: parting it from all who listened to it.
 * Never: closes anything.
 *
 * Every stream of Node's that can be written has a function of its own, assigned to a property where it is made
 * (`WritableState.onwrite`). V8 puts such a function into the old generation at once, and it knows its stream: so a closed
 * socket, and all that its listeners know, stays until everything is collected. Connections of a few milliseconds were
 * copied into the old generation, 7 KB each, and each collection of the young one stopped everything for 30 ms
 * (docs/performance.md, "Handshakes").
 */
import type { Duplex } from "node:stream";

/** For a listener of 'close': the others still hear of it, because it is being told already. */
export function letGo(socket: Duplex): void {
  socket.removeAllListeners();
  socket.on("error", ignore);
}

const ignore = (): void => {};
