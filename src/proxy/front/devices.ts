/**
 * Whose device is it that has shown a certificate?
 * Owns: what each connection that was asked has shown, and ending those that are dismissed.
 * Never: knows a site, or judges by who signed: whoever keeps the list of accepted certificates says whose one is.
 */
import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Device } from "../rules/device.ts";

export interface Devices {
  /** Undefined when it has shown none. To be asked once per connection. */
  deviceOf(secure: TLSSocket, raw: Socket): Device | undefined;
  /** Ends connections, tunnels among them, whose certificate was accepted and is no longer. */
  dismiss(): void;
}

export function createDevices(ownerOf: (sha256: string) => string | undefined = () => undefined): Devices {
  const connected = new Map<Socket, string>();
  return {
    deviceOf(secure, raw) {
      // The handshake has proved that the client has its key, whoever signed it. Nothing is resumed here; if something
      // were, what it was told then would not count.
      const shown = secure.isSessionReused() ? undefined : secure.getPeerX509Certificate();
      if (shown === undefined) return undefined;
      const sha256 = createHash("sha256").update(shown.raw).digest("hex");
      if (ownerOf(sha256) !== undefined && !raw.destroyed) {
        connected.set(raw, sha256);
        raw.once("close", () => connected.delete(raw));
      }
      return { sha256, owner: () => ownerOf(sha256) };
    },
    dismiss() {
      for (const [raw, sha256] of connected) if (ownerOf(sha256) === undefined) raw.destroy();
    },
  };
}
