/**
 * Which devices of the house are let in, and who tells those that serve?
 * Owns: opening the client CA when it is wanted, its answers to people, and handing the accepted ones to the serving half.
 * Never: meets a client.
 */
import type { DeviceActions, DeviceReport } from "../admin/actions.ts";
import { type Devices, NO_DEVICES } from "../cluster/contract.ts";
import { GatehouseError, errorText } from "../core/errors.ts";
import { systemClock } from "../core/time.ts";
import type { Logger } from "../observe/log.ts";
import type { Storage } from "../storage/contract.ts";
import { type ClientCa, type ClientRecord, isAccepted, MAX_DAYS, openClientCa } from "../tls/client-ca.ts";

export interface DeviceDesk extends DeviceActions {
  /** Tell those that serve who is accepted. Makes the CA when a site asks for certificates. Never rejects. */
  refresh(): Promise<void>;
}

export function createDeviceDesk(tools: {
  storage: Storage;
  log: Logger;
  /** Does any site ask for certificates? */
  isWanted(): boolean;
  tell(devices: Devices): void;
}): DeviceDesk {
  const { storage, log } = tools;
  let ca: Promise<ClientCa> | undefined;

  function open(): Promise<ClientCa> {
    ca ??= openClientCa({ storage }).catch((error: unknown) => {
      ca = undefined; // the disk may be well again at the next try
      throw error;
    });
    return ca;
  }

  async function refresh(): Promise<void> {
    if (ca === undefined && !tools.isWanted()) return;
    try {
      const opened = await open();
      const now = systemClock.now();
      const accepted = (await opened.list()).filter((one) => isAccepted(one, now));
      tools.tell({
        caPem: opened.rootPem(),
        accepted: accepted.map(({ sha256, name, notAfter }) => ({ sha256, name, notAfter })),
      });
    } catch (error) {
      log.error({ event: "devices.unreadable", reason: errorText(error) }, "no client certificate is accepted");
      tools.tell(NO_DEVICES);
    }
  }

  const reportOf = ({ name, serial, sha256, notAfter, issuedAt, revokedAt }: ClientRecord): DeviceReport => ({
    name,
    serial,
    sha256,
    notAfter,
    issuedAt,
    revokedAt,
  });

  return {
    refresh,
    async devices() {
      return (await (await open()).list()).map(reportOf);
    },
    async addDevice({ name, days, password, isModern }) {
      if (!Number.isInteger(days) || days < 1 || days > MAX_DAYS) {
        throw new GatehouseError("GATEHOUSE_REQUEST_REFUSED", {
          message: `A client certificate lives from 1 to ${MAX_DAYS} days.`,
          hint: "Write --days 730 for two years.",
        });
      }
      const format = isModern ? "modern" : "compatible";
      const { record, p12 } = await (await open()).add({ name, days, password, format });
      log.warn(
        { event: "device.added", name, serial: record.serial, notAfter: record.notAfter },
        "a device may come in",
      );
      await refresh();
      return { ...reportOf(record), p12: p12.toString("base64") };
    },
    async revokeDevice({ name }) {
      const ended = await (await open()).revoke(name);
      for (const { serial } of ended) {
        log.warn({ event: "device.revoked", name, serial }, "a device may no longer come in");
      }
      await refresh();
      return ended.map(reportOf);
    },
  };
}
