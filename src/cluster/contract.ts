/**
 * Who serves clients, and what do they ask of the one that keeps?
 * Owns: the seam between the two halves of an edge. In one process it is direct calls, with workers it is messages.
 * Never: does either.
 */
import type { Config } from "../config/model.ts";
import type { VisitorsReport } from "../core/visitors.ts";
import type { Families } from "../observe/families.ts";
import type { CertificateBundle } from "../storage/bundles.ts";

export interface Bound {
  host: string;
  port: number;
}

export interface Addresses {
  https: Bound[];
  http: Bound[];
}

/** One worker process. Times in ms since 1970. */
export interface WorkerReport {
  pid: number;
  startedAt: number;
  openConnections: number;
  /** How often this place had to be filled again since the start. */
  restarts: number;
  state: "serving" | "starting" | "waiting";
}

/** Devices whose client certificate is accepted, and who signs for them. */
export interface Devices {
  /** Undefined: no certificate was ever made. */
  caPem: string | undefined;
  accepted: readonly { /** Of the certificate, hex, lower case. */ sha256: string; name: string; notAfter: number }[];
}

export const NO_DEVICES: Devices = { caPem: undefined, accepted: [] };

/** The half that clients meet: listeners, TLS, lanes, targets, access log. It reads no disk and orders nothing. */
export interface Serving {
  /**
   * Serve this configuration from now on, listeners included. The first call starts.
   *
   * @throws GATEHOUSE_PORT_IN_USE, GATEHOUSE_PORT_FORBIDDEN, GATEHOUSE_LISTEN_FAILED, GATEHOUSE_WORKER_FAILED: then
   *   nothing has changed
   */
  apply(config: Config): Promise<void>;
  /** A certificate was issued: new handshakes get it. One that cannot be used is logged, and the one before it stays. */
  setBundle(bundle: CertificateBundle): void;
  /** From now on these are accepted; connections of others, tunnels among them, end. Call before the first `apply`. */
  setDevices(devices: Devices): void;
  /** 48 bytes; see tls/tickets. */
  setTicketKeys(keys: Buffer): void;
  /** What is really listened on (port 0 resolved). */
  addresses(): Addresses;
  /** With workers as of their last pulse, a second ago. */
  openConnections(): number;
  /** Who came so far; of the workers that live now, as of their last pulse. */
  visitors(): VisitorsReport;
  /** Empty when this process serves by itself. */
  workers(): readonly WorkerReport[];
  /** What keeps it from serving, in words; empty when all is well. */
  problems(): readonly string[];
  /** The numbers of other processes, to be added to those of this one. Never rejects. */
  numbers(): Promise<readonly Families[]>;
  /**
   * No new connections; what is under way has this long. A second call may set an earlier end.
   *
   * @param options.idleMs  how long a kept connection may take to ask once more; see proxy/front
   */
  drain(options: { withinMs: number; idleMs?: number | undefined }): Promise<void>;
  /** Everything of a client goes now. */
  destroy(): void;
  /** The rest: targets, timers, processes. After `drain`, or after an `apply` that failed at the start. Idempotent. */
  close(): void;
}

/** The other half, as the serving one sees it: storage, certificates, schedules. */
export interface Keeper {
  /** What is stored for a site's name; undefined when nothing whole is. Never rejects: a failure is logged there. */
  bundle(name: string): Promise<CertificateBundle | undefined>;
  /**
   * A client wants a name that is no site, below the star of one whose certificates are ordered on demand: the one that is
   * stored, or undefined, and then whatever has to be done is begun. Never waits for a CA, and never rejects.
   */
  wish(name: string): Promise<CertificateBundle | undefined>;
  /** The key authorization for port 80, or undefined for 404. */
  answerChallenge(host: string, token: string): Promise<string | undefined>;
  /** Key and certificate (PEM) that prove a name on port 443 (RFC 8737), while an order is open. Never rejects. */
  challengeCertificate(serverName: string): Promise<{ keyPem: string; certificatePem: string } | undefined>;
}
