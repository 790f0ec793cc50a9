/**
 * How does an HTTP/1.x connection end so that nothing on its way is lost?
 * Owns: the lingering close: our side ends, what the client still sends is read, then the connection goes.
 * Never: decides that it should end, or counts what is read.
 */
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";

/**
 * Closing with unread bytes makes the kernel send a reset, and a reset overtakes what the client has not read yet
 * (RFC 9112 §9.6). A client that sees an orderly end, and no reset, also knows that a request it has just sent was not
 * processed, and asks again on a new connection (§9.3.1).
 */
const LINGER_MS = 1_000;

/** @param watched  someone else ends it when the client does not take what is written; else that has a second, too */
export function farewell(socket: Duplex, options: { last?: Buffer; watched?: boolean } = {}): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const linger = (): void => {
    const timer = setTimeout(() => socket.destroy(), LINGER_MS);
    socket.once("close", () => clearTimeout(timer));
  };
  if (options.watched === true) socket.once("finish", linger);
  else linger();
  socket.end(options.last);
  // A client that has said its last word as well has heard ours, or will.
  socket.once("end", () => {
    if (socket.writableFinished) socket.destroy();
    else socket.once("finish", () => socket.destroy());
  });
  socket.resume();
}

/**
 * The client has said its last word. With nothing left to write, ours is the end of TLS (RFC 8446 §6.1), which is written at
 * once; the kernel sends the FIN when it closes. Waiting for a shutdown(2) before that lost: a call more into the kernel and
 * two turns of the loop for each connection.
 */
export function partFrom(socket: Socket): void {
  if (socket.writableLength > 0) {
    socket.destroySoon();
    return;
  }
  socket.end();
  socket.destroy();
}
