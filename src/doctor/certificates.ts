/**
 * Is the certificate that visitors meet the one that is kept, and will it be renewed in time?
 * Owns: comparing what our own port serves with what the running Gatehouse says; expiry, next renewal, test CAs.
 * Never: orders one.
 */
import { isIPv6 } from "node:net";
import { connect } from "node:tls";
import type { CertificateStatus } from "../acme/certificate-status.ts";
import type { SiteConfig } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import { type Note, note } from "./finding.ts";
import { nearHost } from "./listening.ts";
import type { Running } from "./running.ts";

const HANDSHAKE_WITHIN_MS = 5_000;
const DAY_MS = 86_400_000;
const MAX_NAMES = 32;

export interface Served {
  fingerprint: string;
  notAfter: number;
}

/** Whoever vouches for it. @throws the network's error; one after 5 s */
export function servedAt(host: string, port: number, name: string, signal: AbortSignal): Promise<Served> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, servername: name, rejectUnauthorized: false, timeout: HANDSHAKE_WITHIN_MS });
    const end = (then: () => void): void => {
      signal.removeEventListener("abort", stop);
      socket.destroy();
      then();
    };
    const stop = (): void => end(() => reject(signal.reason as Error));
    signal.addEventListener("abort", stop, { once: true });
    socket.on("error", (error: Error) => end(() => reject(error)));
    const late = Object.assign(new Error("no answer within 5 s"), { code: "ETIMEDOUT" });
    socket.on("timeout", () => end(() => reject(late)));
    socket.on("secureConnect", () => {
      const { fingerprint256, valid_to } = socket.getPeerCertificate();
      end(() => resolve({ fingerprint: fingerprint256, notAfter: Date.parse(valid_to) }));
    });
  });
}

/** Where visitors of this machine meet TLS; undefined when nothing listens by itself. */
export const httpsPlace = (running: Running | undefined): { host: string; port: number } | undefined => {
  const found = running?.listeners.find(({ kind }) => kind === "https");
  return found && { host: nearHost(found.host), port: found.port };
};

export async function lookAtCertificates(
  sites: readonly SiteConfig[],
  running: Running | undefined,
  signal: AbortSignal,
): Promise<Note[]> {
  const place = httpsPlace(running);
  if (running === undefined || place === undefined) {
    return [note("unknown", "CERTIFICATES_NOT_SEEN", { seen: "No certificate was looked at: none is served now." })];
  }
  const own = sites.filter(({ passthrough }) => passthrough === undefined);
  const notes = await Promise.all(
    own.slice(0, MAX_NAMES).map(async (site) => {
      const status = running.certificates.find(({ name }) => name === site.name);
      return status === undefined ? [] : lookAt(status, place, signal);
    }),
  );
  if (own.length > MAX_NAMES) {
    const seen = `${own.length - MAX_NAMES} more names were not asked; gatehouse ls lists all.`;
    notes.push([note("unknown", "CERTIFICATES_NOT_ASKED", { seen })]);
  }
  return notes.flat();
}

async function lookAt(
  status: CertificateStatus,
  { host, port }: { host: string; port: number },
  signal: AbortSignal,
): Promise<Note[]> {
  const { name: subject, state, notAfter, nextTry, lastError, issuer } = status;
  if (state !== "valid" || notAfter === undefined) return [missing(status)];
  const asked = subject.replace("*", "gatehouse-doctor");
  const notes: Note[] = [];
  try {
    const served = await servedAt(host, port, asked, signal);
    // X509 times have whole seconds.
    if (Math.abs(served.notAfter - notAfter) >= 1_000) {
      notes.push(
        note("error", "CERTIFICATE_NOT_SERVED", {
          subject,
          seen: `${subject} is served with a certificate until ${day(served.notAfter)}, and the kept one ends ${day(notAfter)}.`,
          why: "Visitors meet another certificate than the one that is renewed.",
          next: "gatehouse reload makes it serve what is kept; please report it.",
        }),
      );
    }
  } catch (error) {
    signal.throwIfAborted();
    notes.push(
      note("error", "TLS_FAILS", {
        subject,
        seen: `No TLS for ${subject} on ${isIPv6(host) ? `[${host}]` : host}:${port}: ${errorText(error)}.`,
        why: "No browser gets further.",
        next: "The log says what happened to the handshake.",
      }),
    );
  }
  if (lastError !== undefined) {
    notes.push(
      note("warning", "CERTIFICATE_RENEWAL_FAILS", {
        subject,
        seen: `The last try to renew ${subject} failed: ${lastError}`,
        why: `The certificate ends on ${day(notAfter)}.`,
        next: nextTry === undefined ? undefined : `Mend that; the next try is at ${minute(nextTry)}.`,
      }),
    );
  }
  if (/\(STAGING\)/i.test(issuer ?? "")) {
    notes.push(
      note("warning", "CERTIFICATE_OF_TEST_CA", {
        subject,
        seen: `The certificate of ${subject} is from a test CA (${issuer}).`,
        why: "No browser trusts it.",
        next: "Write acme: { ca: letsencrypt }; the real one is ordered at once.",
      }),
    );
  }
  if (notes.length > 0) return notes;
  const left = Math.floor((notAfter - Date.now()) / DAY_MS);
  const renewal = nextTry === undefined ? "" : `, next renewal ${day(nextTry)}`;
  const seen = `${subject} is served with the kept certificate: ${left} days left${renewal}.`;
  return [note("ok", "CERTIFICATE_WELL", { subject, seen })];
}

function missing({ name: subject, state, lastError, nextTry }: CertificateStatus): Note {
  const isNew = state === "pending" && lastError === undefined;
  const what = state === "expired" ? "The certificate of" : "No certificate yet for";
  const seen = `${what} ${subject}${state === "expired" ? " has expired" : ""}${lastError === undefined ? "." : `: ${lastError}`}`;
  return note(isNew ? "warning" : "error", `CERTIFICATE_${state.toUpperCase()}`, {
    subject,
    seen,
    why: "Browsers refuse the name without one.",
    next: nextTry === undefined ? undefined : `Mend what is above in this list; the next try is at ${minute(nextTry)}.`,
  });
}

const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
const minute = (ms: number): string => `${new Date(ms).toISOString().slice(0, 16).replace("T", " ")}Z`;
