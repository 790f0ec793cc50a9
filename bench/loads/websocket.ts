/**
 * Messages to and fro over open WebSockets.
 * Owns: the words for websocket-client.ts.
 * Never: counts the upgrade.
 */
import type { Load } from "./load.ts";
import { runClient } from "./own-client.ts";

export interface WebSocketOptions {
  /** At the same time; each has one message under way. */
  connections: number;
  /** Of one message, below 65,536. */
  bytes: number;
}

export function websocketEcho(options: WebSocketOptions): Load {
  return (front, amount) => runClient("websocket-client.ts", front, amount, options);
}
