/**
 * TLS handshakes and nothing after them.
 * Owns: the words for handshakes-client.ts.
 * Never: sends a request, so no proxy writes a line for it.
 */
import type { Load } from "./load.ts";
import { runClient } from "./own-client.ts";

export interface HandshakeOptions {
  isResumed: boolean;
  /** At the same time. */
  connections: number;
}

export function handshakes(options: HandshakeOptions): Load {
  return (front, amount) => runClient("handshakes-client.ts", front, amount, options);
}
