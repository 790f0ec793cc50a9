/**
 * Whose address is certainly his own?
 * Owns: the addresses with an open TCP session on a forwarded port.
 * Never: grows past those sessions, which are bounded.
 */

export interface KnownAddresses {
  /** @returns forgets it again; each session counts by itself */
  add(address: string): () => void;
  has(address: string): boolean;
}

/** A TCP handshake cannot be done under a forged address (RFC 9293 §3.5), a datagram can be sent under any. */
export function createKnownAddresses(): KnownAddresses {
  const sessions = new Map<string, number>();
  return {
    add(address) {
      sessions.set(address, (sessions.get(address) ?? 0) + 1);
      return () => {
        const left = (sessions.get(address) ?? 0) - 1;
        if (left > 0) sessions.set(address, left);
        else sessions.delete(address);
      };
    },
    has: (address) => sessions.has(address),
  };
}
