/**
 * With which key are session tickets sealed now?
 * Owns: the key (memory only) and the instant at which all listeners and workers change it together.
 * Never: writes it anywhere: whoever has it reads recorded TLS 1.2 sessions.
 *
 * One key and no previous one: after a change, an older ticket costs its client one full handshake and
 * nothing else. So twice a day and not more often.
 */
import { randomBytes } from "node:crypto";

/** Name, AES and HMAC key of 16 bytes each: what tls.Server takes. */
const KEY_BYTES = 48;
export const ROTATE_EVERY_MS = 12 * 3_600_000;

export interface TicketKeys {
  /** The same buffer until the next rotation. */
  current(): Buffer;
  /** A new key now, as the timer does it; `onRotate` hears of it. */
  rotate(): void;
  stop(): void;
}

export function createTicketKeys(options: { rotateEveryMs?: number; onRotate: (keys: Buffer) => void }): TicketKeys {
  let keys = randomBytes(KEY_BYTES);
  const rotate = (): void => {
    keys = randomBytes(KEY_BYTES);
    options.onRotate(keys);
  };
  const timer = setInterval(rotate, options.rotateEveryMs ?? ROTATE_EVERY_MS);
  timer.unref();
  return { current: () => keys, rotate, stop: () => clearInterval(timer) };
}
