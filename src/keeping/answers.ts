/**
 * What does the running one say of itself?
 * Owns: the answers to the admin socket's questions, put together from the rooms.
 * Never: carries them (admin does) or words them for people (cli does).
 */
import {
  type AdminActions,
  type CertificateActions,
  type CompanionActions,
  countStates,
  type DeviceActions,
  type LastReload,
  reportSites,
} from "../admin/actions.ts";
import type { CertificateStatus } from "../acme/certificate-status.ts";
import type { Bound, Serving } from "../cluster/contract.ts";
import type { Config } from "../config/model.ts";

export interface AnswerSources {
  version: string;
  startedAt: number;
  config(): Config;
  serving: Pick<Serving, "addresses" | "openConnections" | "visitors" | "workers" | "problems">;
  isListening(): boolean;
  isDraining(): boolean;
  metricsBound(): Bound | undefined;
  certificates(): readonly CertificateStatus[];
  lastReload(): LastReload | undefined;
  reload(reason: string): Promise<void>;
}

export function createAnswers(
  sources: AnswerSources,
): Omit<
  AdminActions,
  keyof CompanionActions | keyof CertificateActions | keyof DeviceActions | "certificates" | "testNotify"
> {
  const { version, startedAt, serving } = sources;
  return {
    health: async () => {
      const problems = [
        ...(sources.isDraining() ? ["Gatehouse is draining"] : []),
        ...(sources.isListening() ? [] : ["the listeners are not open yet"]),
        ...serving.problems(),
      ];
      return { ok: problems.length === 0, problems };
    },
    reload: async () => {
      await sources.reload("command").catch(() => {});
      const last = sources.lastReload();
      return { ok: last?.ok ?? true, findings: last?.findings ?? [] };
    },
    status: async () => {
      const config = sources.config();
      const { https, http } = serving.addresses();
      const metrics = sources.metricsBound();
      return {
        version,
        pid: process.pid,
        startedAt,
        configFile: config.file,
        isDraining: sources.isDraining(),
        listeners: [
          ...https.map((bound) => ({ kind: "https" as const, ...bound })),
          ...http.map((bound) => ({ kind: "http" as const, ...bound })),
          ...(metrics === undefined ? [] : [{ kind: "metrics" as const, ...metrics }]),
        ],
        sites: reportSites(config.sites),
        quarantined: config.quarantined,
        certificates: countStates(sources.certificates()),
        openConnections: serving.openConnections(),
        visitors: serving.visitors(),
        workers: serving.workers(),
        lastReload: sources.lastReload(),
      };
    },
  };
}
