/**
 * Which certificate needs a person?
 * Owns: the rules: expired, not served as stored, refused, late, failing; one alert for each name, the worst of them.
 * Never: sends it, or looks anything up.
 */
import type { CertificateStatus } from "../acme/certificate-status.ts";
import type { Alert } from "../observe/notify-contract.ts";

export interface AlertRules {
  /** In a row. */
  failures: number;
  /** Share of the life, 0 … 1. */
  lifeLeft: number;
}

export const alertKey = (name: string): string => `certificate:${name}`;

const NEXT_TRY = "Nothing, if it passes: tries go on by themselves. gatehouse report shows what they came to.";

/**
 * @param served  what is wrong with what our own listener shows; undefined when nothing is, or nobody has looked yet
 * @returns undefined when nobody is needed
 */
export function certificateAlert(
  status: CertificateStatus,
  served: string | undefined,
  { failures, lifeLeft }: AlertRules,
  now: number,
): Alert | undefined {
  const { name, notBefore, notAfter, renewAt, lastFailure, consecutiveFailures, state } = status;
  const reason = lastFailure === undefined ? "" : ` The last try said: ${lastFailure.message}`;
  const nextStep = lastFailure?.hint ?? NEXT_TRY;
  const alert = (severity: Alert["severity"], title: string, message: string, step = nextStep): Alert => ({
    key: alertKey(name),
    severity,
    title: `${name}: ${title}`,
    message,
    nextStep: step,
  });
  // Whoever disabled it knows.
  if (status.isDisabled) return undefined;
  if (state === "expired") {
    return alert("critical", "the certificate has expired", `It was valid until ${day(notAfter)}.${reason}`);
  }
  if (state === "refused") {
    return alert("critical", "no certificate can be had", `Nothing valid is there.${reason}`);
  }
  if (notBefore !== undefined && notBefore > now) {
    const message = `Its certificate begins at ${time(notBefore)}, and the clock of this machine says ${time(now)}.`;
    return alert("critical", "the clock is wrong", message, "Let this machine set its clock by NTP (timedatectl).");
  }
  if (served !== undefined) {
    return alert(
      "critical",
      "something else is served than is stored",
      served,
      "Restart Gatehouse; if it stays so, look at its log for certificate.unusable.",
    );
  }
  if (consecutiveFailures >= failures) {
    const title = `${consecutiveFailures} failed orders in a row`;
    const left = notAfter === undefined ? "Nothing valid is there." : `The one there is valid until ${day(notAfter)}.`;
    return alert(notAfter === undefined ? "critical" : "warning", title, `${left}${reason}`);
  }
  if (notBefore === undefined || notAfter === undefined || (renewAt ?? 0) > now) return undefined;
  const share = (notAfter - now) / Math.max(notAfter - notBefore, 1);
  if (share >= lifeLeft) return undefined;
  const message = `It is valid until ${time(notAfter)}, and no new one is there.${reason}`;
  return alert(share < lifeLeft / 2 ? "critical" : "warning", "the certificate is running out", message);
}

const time = (ms: number): string => `${new Date(ms).toISOString().slice(0, 16).replace("T", " ")} UTC`;
const day = (ms: number | undefined): string => (ms === undefined ? "?" : new Date(ms).toISOString().slice(0, 10));
