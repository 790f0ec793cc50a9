/**
 * What may be asked of a running Gatehouse, and what does it answer?
 * Owns: the questions of the admin socket and the shapes that travel over it (plain JSON, times in ms since 1970).
 * Never: answers one: edge.ts knows, the server carries, the client asks.
 */
import type { CertificateStatus } from "../acme/certificate-status.ts";
import type { VisitorsReport } from "../core/visitors.ts";
import type { TestResult } from "../observe/notify.ts";
import type { SiteConfig } from "../config/model.ts";
import type { ForwardReport } from "../forward/forwards.ts";
import type { DdnsReport } from "../network/ddns-report.ts";
import type { Checklist, RouterReport } from "../network/router-report.ts";
import type { DoctorLook } from "./doctor-look.ts";

export type { CertificateStatus, Checklist, DdnsReport, DoctorLook, ForwardReport, RouterReport };

export interface StatusReport {
  version: string;
  pid: number;
  startedAt: number;
  configFile: string;
  isDraining: boolean;
  listeners: readonly { kind: "https" | "http" | "metrics"; host: string; port: number }[];
  /** Targets as configured; a redirecting site has none and says where to. */
  sites: readonly {
    name: string;
    routes: readonly { prefix: string; target: string }[];
    redirect: string | undefined;
  }[];
  /** Sites that were left out, each with `file:line:column …`. */
  quarantined: readonly { name: string; finding: string }[];
  certificates: { valid: number; pending: number; expired: number; refused: number };
  openConnections: number;
  visitors: VisitorsReport;
  /** Worker processes; none when one process does everything. Connections are as of a second ago. */
  workers: readonly {
    pid: number;
    startedAt: number;
    openConnections: number;
    restarts: number;
    state: "serving" | "starting" | "waiting";
  }[];
  lastReload: LastReload | undefined;
}

/** Sites as people read them: which path goes where. */
export function reportSites(sites: readonly SiteConfig[]): StatusReport["sites"] {
  return sites.map(({ name, routes, redirect, passthrough }) => ({
    name,
    routes:
      passthrough === undefined
        ? routes.map(({ prefix, target }) => ({ prefix, target: target.text }))
        : [{ prefix: "TLS", target: passthrough.target.text }],
    redirect: redirect?.to,
  }));
}

export function countStates(certificates: readonly CertificateStatus[]): StatusReport["certificates"] {
  const states = { valid: 0, pending: 0, expired: 0, refused: 0 };
  for (const { state } of certificates) states[state]++;
  return states;
}

export interface LastReload {
  at: number;
  ok: boolean;
  /** What the file was refused for; empty when it was taken. */
  findings: readonly string[];
}

export interface HealthReport {
  ok: boolean;
  /** In words, one each; empty when all is well. */
  problems: readonly string[];
}

export interface ReloadReport {
  ok: boolean;
  /** Each `file:line:column …`, or the sentence of another failure. */
  findings?: readonly string[];
}

export interface RouterAnswer {
  report: RouterReport;
  /** The router's form, filled in for the ports that are listened on. */
  checklist: Checklist;
}

/** One step of an order that is under way, in words for a person. */
export interface Step {
  text: string;
}

export interface IssueWanted {
  name: string;
  /** Also when the one there is not due. */
  force: boolean;
  /** Also when a CA or our own count of its limits says later. */
  really: boolean;
  /** A rehearsal: the name is proved at the CA's staging, and nothing is signed. */
  staging: boolean;
}

export interface IssueOutcome {
  name: string;
  /** `kept`: what is there is valid and not due. `rehearsed`: the CA's staging was satisfied with the name. */
  outcome: "issued" | "kept" | "rehearsed";
  /** Not of a rehearsal. */
  issuer: string | undefined;
  notAfter: number | undefined;
}

export interface RevokeOutcome {
  name: string;
  serial: string;
  /** False where the CA keeps no list (the embedded one). */
  isTold: boolean;
  /** What follows: a new one, or none while it is disabled. */
  next: "issued" | "failed" | "disabled";
  problem: string | undefined;
}

export interface CleanupReport {
  /** Names that the configuration no longer has, and how many files of each went (or would go). */
  removed: readonly { name: string; files: number; notAfter: number | undefined }[];
}

/** A stored certificate; never its key. */
export interface CertificateDetails {
  status: CertificateStatus;
  names: readonly string[];
  ca: string;
  serial: string;
  chainPem: string;
  issuedAt: number;
  revokedAt: number | undefined;
  /** How the CA was satisfied the last time. */
  challenge: string | undefined;
}

export interface AccountReport {
  ca: string;
  url: string | undefined;
  email: string | undefined;
  /** Key of the state folder. */
  place: string;
  savedAt: number | undefined;
}

/** A certificate that was not ordered here. PEM; the chain begins with the leaf. */
export interface ImportWanted {
  keyPem: string;
  chainPem: string;
  /** Directory URL of the CA that signed, when that is known. */
  ca: string | undefined;
  /** Undefined: every site that it covers. */
  name: string | undefined;
  /** Also in place of one that is valid for longer. */
  force: boolean;
}

export interface ImportOutcome {
  name: string;
  /** `kept`: the one that is there is valid for as long or longer. */
  outcome: "imported" | "kept";
  issuer: string;
  notAfter: number;
}

export interface ExportOutcome {
  name: string;
  keyPem: string;
  chainPem: string;
  notAfter: number;
}

/** What comes from elsewhere and goes there. */
export interface BringActions {
  /** @throws GATEHOUSE_CERTIFICATE_UNKNOWN_NAME when no site has one of its names, GATEHOUSE_IMPORT_KEY when it does not fit */
  importBundle(wanted: ImportWanted): Promise<{ results: readonly ImportOutcome[] }>;
  /** The private key included: the socket's file mode is who may ask. @throws GATEHOUSE_CERTIFICATE_PENDING */
  exportBundle(wanted: { name: string }): Promise<ExportOutcome>;
}

/** A client certificate that was made here; its key is nowhere but on the device. */
export interface DeviceReport {
  name: string;
  serial: string;
  /** Hex, lower case. */
  sha256: string;
  issuedAt: number;
  notAfter: number;
  revokedAt: number | undefined;
}

export interface DeviceWanted {
  name: string;
  days: number;
  password: string;
  /** AES-256 in place of what every device reads. */
  isModern: boolean;
}

/** What the verbs about client certificates ask. All may throw GATEHOUSE_STORAGE_FAILED. */
export interface DeviceActions {
  /** Newest first, those that are over included. */
  devices(): Promise<readonly DeviceReport[]>;
  /** @returns also the PKCS#12 file, base64 @throws GATEHOUSE_REQUEST_REFUSED */
  addDevice(wanted: DeviceWanted): Promise<DeviceReport & { p12: string }>;
  /** Its connections end at once. @throws GATEHOUSE_REQUEST_REFUSED when none in force has this name */
  revokeDevice(wanted: { name: string }): Promise<readonly DeviceReport[]>;
}

/** What the verbs about certificates ask. All may throw GATEHOUSE_CERTIFICATE_UNKNOWN_NAME. */
export interface CertificateActions extends BringActions {
  /** Steps come while it works. @throws what the CA or the scheduler said, with `notBefore` */
  issue(wanted: IssueWanted, tell: (step: Step) => void): Promise<IssueOutcome>;
  /** @param reason  a word of RFC 5280 §5.3.1, such as keyCompromise */
  revoke(wanted: { name: string; reason: string }, tell: (step: Step) => void): Promise<RevokeOutcome>;
  /** No further orders for this name until it is issued by hand; what is there serves on. */
  disable(wanted: { name: string }): Promise<{ name: string; wasDisabled: boolean }>;
  cleanup(wanted: { isRehearsal: boolean }): Promise<CleanupReport>;
  show(wanted: { name: string }): Promise<CertificateDetails>;
  accounts(wanted: { rollOver: boolean }): Promise<readonly AccountReport[]>;
}

export interface AdminActions extends CertificateActions, DeviceActions {
  /** One message to each receiver of alerts, now and once. */
  testNotify(): Promise<readonly TestResult[]>;
  status(): Promise<StatusReport>;
  certificates(): Promise<readonly CertificateStatus[]>;
  health(): Promise<HealthReport>;
  reload(): Promise<ReloadReport>;
  /** Every forwarded port of the configuration, those that could not be opened included. */
  forwards(): Promise<readonly ForwardReport[]>;
  router(): Promise<RouterAnswer>;
  /** Names whose addresses follow the home's. */
  ddns(): Promise<DdnsReport>;
  /** The same after a check that a person wanted. */
  updateDdns(): Promise<DdnsReport>;
  /** `last` is undefined before the first look. */
  doctor(): Promise<{ last: DoctorLook | undefined }>;
}

/** What the rooms beside the serving answer themselves. */
export type CompanionActions = Pick<AdminActions, "forwards" | "router" | "ddns" | "updateDdns" | "doctor">;

/** The whole protocol. A new question is a new line here, in the server's table and in the client. */
export const QUESTIONS = {
  status: "GET /v1/status",
  certificates: "GET /v1/certificates",
  health: "GET /v1/health",
  reload: "POST /v1/reload",
  forwards: "GET /v1/forwards",
  router: "GET /v1/router",
  ddns: "GET /v1/ddns",
  doctor: "GET /v1/doctor",
  updateDdns: "POST /v1/ddns",
  issue: "POST /v1/issue",
  revoke: "POST /v1/revoke",
  disable: "POST /v1/disable",
  cleanup: "POST /v1/cleanup",
  show: "POST /v1/show",
  accounts: "POST /v1/accounts",
  devices: "GET /v1/devices",
  addDevice: "POST /v1/devices/add",
  revokeDevice: "POST /v1/devices/revoke",
  importBundle: "POST /v1/import",
  exportBundle: "POST /v1/export",
  testNotify: "POST /v1/notify/test",
} as const satisfies Record<keyof AdminActions, string>;

/** What went wrong, as it travels. */
export interface Failure {
  code: string;
  message: string;
  hint?: string | undefined;
  /** ms since 1970. */
  notBefore?: number | undefined;
}

/**
 * A line of an answer that comes in steps (application/x-ndjson): steps and empty lines for as long as it takes, then a
 * result or a failure, once.
 */
export type Told<T> = { step: Step } | { result: T } | { failure: Failure };

/** An empty line this often says that the running one is still at it, ms. */
export const SIGN_OF_LIFE_MS = 5_000;
