/**
 * What is looked at, and what does a running Gatehouse say of itself?
 * Owns: what the doctor is given; what file and process come to.
 * Never: asks the running one (the caller did).
 */
import type { CertificateStatus } from "../acme/certificate-status.ts";
import type { Config } from "../config/model.ts";
import type { VisitorsReport } from "../core/visitors.ts";
import type { DdnsReport } from "../network/ddns-report.ts";
import type { Witness } from "../network/public-ip.ts";
import type { RouterReport } from "../network/router-report.ts";
import { type Note, note } from "./finding.ts";

/** What a running Gatehouse says of itself. */
export interface Running {
  listeners: readonly { kind: "https" | "http" | "metrics"; host: string; port: number }[];
  certificates: readonly CertificateStatus[];
  router: RouterReport;
  ddns: DdnsReport;
}

/** Who can be asked about a running Gatehouse. */
export interface RunningSource {
  status(): Promise<Pick<Running, "listeners">>;
  certificates(): Promise<Running["certificates"]>;
  router(): Promise<{ report: RouterReport }>;
  ddns(): Promise<DdnsReport>;
}

/** Rejects as the source does. */
export async function askRunning(source: RunningSource): Promise<Running> {
  const [{ listeners }, certificates, { report: router }, ddns] = await Promise.all([
    source.status(),
    source.certificates(),
    source.router(),
    source.ddns(),
  ]);
  return { listeners, certificates, router, ddns };
}

/** Asked again while the doctor looks: what has changed since is what a look did. */
export type AskVisitors = () => Promise<VisitorsReport>;

export interface Surroundings {
  config: Config;
  /** What the file is warned about, a line each. */
  warnings: readonly string[];
  running: Running | undefined;
  /** Of the running one. */
  visitors: AskVisitors | undefined;
  /** Why `running` is undefined. */
  notRunning: { message: string; next: string; isExpected: boolean } | undefined;
  /** One name alone; undefined: all. */
  only: string | undefined;
  witnesses: readonly Witness[];
  /** Has the CA's staging check a name, within two minutes; undefined: nobody wanted that. */
  rehearse: ((name: string) => Promise<{ name: string }>) | undefined;
  signal: AbortSignal;
}

export function configurationNotes({ config, warnings, only }: Surroundings): Note[] {
  if (only !== undefined && !config.sites.some(({ name }) => name === only)) {
    return [
      note("error", "SITE_UNKNOWN", {
        subject: only,
        seen: `${only} is not a site of ${config.file}.`,
        next: `gatehouse add ${only} HOST:PORT makes it one.`,
      }),
    ];
  }
  const next = "Change that line, then gatehouse check.";
  const notes = [
    ...config.quarantined.map(({ name: subject, finding: seen }) =>
      note("error", "SITE_LEFT_OUT", { subject, seen, why: `${subject} is not served; the rest is.`, next }),
    ),
    ...warnings.map((seen) => note("warning", "CONFIG_WARNING", { seen, next })),
  ];
  if (notes.length > 0) return notes;
  const count = config.sites.length === 1 ? "1 site" : `${config.sites.length} sites`;
  return [note("ok", "CONFIG_WELL", { seen: `${config.file} is well: ${count}.` })];
}

export function runningNotes({ running, notRunning }: Surroundings): Note[] {
  if (running !== undefined) return [note("ok", "RUNNING", { seen: "Gatehouse runs with this file." })];
  if (notRunning === undefined) return [];
  return [
    note(notRunning.isExpected ? "note" : "error", "NOT_RUNNING", {
      seen: notRunning.message,
      why: "Nobody answers visitors until it does.",
      next: notRunning.next,
    }),
  ];
}
