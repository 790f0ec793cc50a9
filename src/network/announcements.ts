/**
 * Has the router just said that it started anew, or has a new address?
 * Owns: listening for the announcements of PCP (RFC 6887 §14.1) and NAT-PMP (RFC 6886 §3.2.1) on UDP 5350.
 * Never: believes one: it is a reason to look, and looking is bounded.
 */
import { createSocket } from "node:dgram";

const PORT = 5350;
const FROM_PORT = 5351;
const GROUP = "224.0.0.1";
/** A whole home that asks at the same instant is what §14.1.3 fears. */
const LOOK_WITHIN_MS = 3_000;

export interface Announcements {
  stop(): void;
}

/**
 * Calls back some moment within three seconds after an announcement, and not again before that moment. Where the port
 * cannot be had, nothing is heard, and the mapper's own checks have to do.
 */
export function hearAnnouncements(options: {
  isGateway(address: string): boolean;
  onAnnounced(): void;
  random?: () => number;
}): Announcements {
  const { isGateway, onAnnounced, random = Math.random } = options;
  const socket = createSocket({ type: "udp4", reuseAddr: true });
  let timer: NodeJS.Timeout | undefined;
  let isOpen = true;
  const close = (): void => {
    if (isOpen) socket.close();
    isOpen = false;
    clearTimeout(timer);
  };
  socket.on("error", close);
  socket.on("message", (message, { address, port }) => {
    if (port !== FROM_PORT || !isGateway(address) || timer !== undefined || !isAnnouncement(message)) return;
    timer = setTimeout(() => {
      timer = undefined;
      onAnnounced();
    }, random() * LOOK_WITHIN_MS);
  });
  socket.bind(PORT, GROUP);
  socket.unref();
  return { stop: close };
}

/** PCP: version 2, an ANNOUNCE response that succeeded. NAT-PMP: version 0, an answer nobody asked for about the address. */
export function isAnnouncement(message: Uint8Array): boolean {
  const [version, opcode, , result] = message;
  if (version === 2) return message.length >= 24 && opcode === 0x80 && result === 0;
  return version === 0 && message.length === 12 && opcode === 0x80;
}
