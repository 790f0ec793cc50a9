/**
 * `gatehouse ls`: which certificates are there, and what happens to them next?
 * Owns: the order (least time left first), the table and the JSON of it.
 * Never: asks a CA; it shows what the running Gatehouse knows.
 */
import type { AdminClient, CertificateStatus } from "../admin/client.ts";
import { span } from "./span.ts";
import { type Cell, table } from "./table.ts";
import { isoTime, printJson, type Style, type Terminal } from "./terminal.ts";

const STYLES: Record<CertificateStatus["state"], Style> = {
  valid: "green",
  pending: "yellow",
  expired: "red",
  refused: "red",
};

/** What has none comes first: it has no time left at all. */
export const byTimeLeft = (a: CertificateStatus, b: CertificateStatus): number =>
  (a.notAfter ?? 0) - (b.notAfter ?? 0) || (a.name < b.name ? -1 : 1);

export async function listCertificates(client: AdminClient, json: boolean, terminal: Terminal): Promise<number> {
  const certificates = [...(await client.certificates())].sort(byTimeLeft);
  const now = Date.now();
  if (json) {
    printJson(terminal, { certificates: certificates.map((one) => asJson(one, now)) });
    return 0;
  }
  if (certificates.length === 0) {
    terminal.err.write("no certificates: the configuration has no sites\n");
    return 0;
  }
  const head = ["NAME", "STATE", "ISSUER", "PROFILE", "EXPIRES", "RENEWS IN", "NEXT TRY", "LAST ERROR"];
  const rows = certificates.map((one) => row(one, now));
  terminal.out.write(table(terminal.out, head, rows));
  return 0;
}

function row(one: CertificateStatus, now: number): Cell[] {
  const left = one.notAfter === undefined ? undefined : one.notAfter - now;
  return [
    one.name,
    stateOf(one),
    one.issuer ?? "-",
    one.profile ?? "-",
    left === undefined ? "-" : `${day(one.notAfter)} (${left > 0 ? span(left) : `${span(-left)} ago`})`,
    renewsIn(one, now),
    minute(one.nextTry),
    one.lastError === undefined ? "-" : `${one.lastError} (${one.consecutiveFailures} in a row)`,
  ];
}

function stateOf({ state, isDisabled, isRevoked, hasOwnFiles }: CertificateStatus): Cell {
  if (hasOwnFiles) return { text: `${state}, own files`, style: STYLES[state] };
  if (isDisabled) return { text: `${state}, disabled`, style: "yellow" };
  return isRevoked ? { text: "revoked", style: "red" } : { text: state, style: STYLES[state] };
}

/** What is due waits only for its next try. */
function renewsIn({ renewAt, nextTry }: CertificateStatus, now: number): string {
  if (nextTry === undefined) return "-";
  const at = renewAt ?? nextTry;
  return at <= now ? "now" : span(at - now);
}

export function asJson(one: CertificateStatus, now: number): Record<string, unknown> {
  return {
    name: one.name,
    state: one.state,
    issuer: one.issuer ?? null,
    notBefore: isoTime(one.notBefore) ?? null,
    notAfter: isoTime(one.notAfter) ?? null,
    nextTry: isoTime(one.nextTry) ?? null,
    secondsLeft: secondsFrom(now, one.notAfter),
    secondsToRenewal: secondsFrom(now, one.nextTry),
    lastError: one.lastError ?? null,
    consecutiveFailures: one.consecutiveFailures,
    profile: one.profile ?? null,
    renewAt: isoTime(one.renewAt) ?? null,
    lastFailure: one.lastFailure === undefined ? null : failureJson(one.lastFailure),
    isRevoked: one.isRevoked,
    isDisabled: one.isDisabled,
    hasOwnFiles: one.hasOwnFiles === true,
  };
}

const failureJson = ({ code, hint, at, notBefore }: NonNullable<CertificateStatus["lastFailure"]>) => ({
  code,
  hint: hint ?? null,
  at: isoTime(at),
  notBefore: isoTime(notBefore) ?? null,
});

const secondsFrom = (now: number, then: number | undefined): number | null =>
  then === undefined ? null : Math.round((then - now) / 1000);

const day = (ms: number | undefined): string => isoTime(ms)?.slice(0, 10) ?? "-";

/** UTC, like the log. */
const minute = (ms: number | undefined): string => isoTime(ms)?.slice(0, 16).concat("Z").replace("T", " ") ?? "-";
