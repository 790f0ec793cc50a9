/**
 * `gatehouse issue`, `renew` and `auto-renew`: certificates, now.
 * Owns: which names are meant, the steps as a person sees them, what each came to, and the exit code of all.
 * Never: orders; the one with the state folder does.
 */
import type { AdminClient, CertificateStatus, IssueOutcome } from "../admin/client.ts";
import { GatehouseError, isGatehouseError } from "../core/errors.ts";
import { byTimeLeft } from "./certificates.ts";
import { EXIT, exitCodeOf } from "./exit-codes.ts";
import { span } from "./span.ts";
import { harmless, isoTime, paint, printJson, reportError, type Terminal } from "./terminal.ts";

export interface Wanted {
  names: readonly string[];
  all: boolean;
  force: boolean;
  really: boolean;
  staging: boolean;
  json: boolean;
}

type Result = IssueOutcome | { name: string; outcome: "failed"; error: GatehouseError };

/** @throws GATEHOUSE_REQUEST_REFUSED when neither names nor --all were given */
export async function issueCertificates(client: AdminClient, wanted: Wanted, terminal: Terminal): Promise<number> {
  const names = await namesMeant(client, wanted);
  return issueEach(client, names, wanted, terminal);
}

async function namesMeant(client: AdminClient, { names, all }: Wanted): Promise<readonly string[]> {
  if (all) {
    const certificates = await client.certificates();
    return [...certificates]
      .filter(isOrdered)
      .sort(byTimeLeft)
      .map(({ name }) => name);
  }
  if (names.length > 0) return names.map((name) => name.toLowerCase().replace(/\.$/, ""));
  throw new GatehouseError("GATEHOUSE_REQUEST_REFUSED", {
    message: "For which names? None was given.",
    hint: "Write them, or --all. gatehouse ls shows which there are.",
  });
}

/** Neither put to rest nor from files of its own. */
const isOrdered = ({ isDisabled, hasOwnFiles }: CertificateStatus): boolean => !isDisabled && hasOwnFiles !== true;

/** What is due, least time left first. Nothing due is well done. */
export async function renewWhatIsDue(
  client: AdminClient,
  wanted: Pick<Wanted, "names" | "json">,
  terminal: Terminal,
): Promise<number> {
  const certificates = [...(await client.certificates())].sort(byTimeLeft).filter(isOrdered);
  // After the answer: a next try that is due already comes as the instant of the answer.
  const now = Date.now();
  const meant = certificates.filter(({ name }) => wanted.names.length === 0 || wanted.names.includes(name));
  for (const name of wanted.names) {
    if (!certificates.some((one) => one.name === name)) {
      throw new GatehouseError("GATEHOUSE_CERTIFICATE_UNKNOWN_NAME", {
        message: `${name} is not a name that Gatehouse keeps a certificate for, or it is disabled.`,
        hint: "gatehouse ls shows the names there are.",
      });
    }
  }
  const due = meant.filter(({ renewAt, isRevoked }) => isRevoked || (renewAt ?? 0) <= now);
  // After a failure the pause counts for cron as it does for the daemon: it keeps a CA's limits.
  const ready = due.filter(({ nextTry }) => (nextTry ?? 0) <= now);
  const waiting = due.filter((one) => !ready.includes(one));
  const talk = wanted.json ? () => {} : (text: string) => void terminal.err.write(`${harmless(text)}\n`);
  for (const { name, nextTry, lastError } of waiting) {
    talk(`${name}: the last try failed, the next is allowed at ${isoTime(nextTry)}. ${lastError ?? ""}`);
  }
  if (due.length === 0) {
    const soonest = Math.min(...meant.map(({ renewAt }) => renewAt ?? Infinity));
    talk(Number.isFinite(soonest) ? `nothing is due; the next one is in ${span(soonest - now)}` : "nothing is due");
  }
  const names = ready.map(({ name }) => name);
  const code = await issueEach(client, names, { ...wanted, force: false, really: false, staging: false }, terminal);
  return code === EXIT.ok && waiting.length > 0 ? EXIT.tryLater : code;
}

async function issueEach(
  client: AdminClient,
  names: readonly string[],
  wanted: Omit<Wanted, "names" | "all">,
  terminal: Terminal,
): Promise<number> {
  const { force, really, staging, json } = wanted;
  const results: Result[] = [];
  for (const name of names) {
    const tell = json ? () => {} : ({ text }: { text: string }) => void terminal.err.write(stepLine(text, terminal));
    try {
      if (!json) terminal.err.write(`${paint(terminal.err, "bold", harmless(name))}\n`);
      const outcome = await client.issue({ name, force, really, staging }, tell);
      results.push(outcome);
      if (!json) terminal.out.write(`${harmless(sentenceOf(outcome))}\n`);
    } catch (error) {
      if (!isGatehouseError(error) || isFatal(error)) throw error;
      results.push({ name, outcome: "failed", error });
      if (!json) reportError(terminal, error);
    }
  }
  if (json) printJson(terminal, { results: results.map(asJson) });
  return worst(results.map((one) => ("error" in one ? exitCodeOf(one.error.code) : EXIT.ok)));
}

const stepLine = (text: string, { err }: Terminal): string => `${paint(err, "dim", `  … ${harmless(text)}`)}\n`;

/** Nobody is there any more: the next name would meet the same. */
const isFatal = ({ code }: GatehouseError): boolean =>
  code === "GATEHOUSE_NOT_RUNNING" || code === "GATEHOUSE_ADMIN_FORBIDDEN" || code === "GATEHOUSE_ADMIN_FAILED";

function sentenceOf({ name, outcome, issuer, notAfter }: IssueOutcome): string {
  const until = `until ${isoTime(notAfter) ?? "?"}`;
  switch (outcome) {
    case "issued":
      return `${name}: issued by ${issuer ?? "?"}, valid ${until}`;
    case "kept":
      return `${name}: the one of ${issuer ?? "?"} is valid ${until} and not due; --force orders all the same`;
    case "rehearsed":
      return `${name}: the rehearsal went well, the CA's staging could check the name`;
  }
}

function asJson(one: Result): Record<string, unknown> {
  if (!("error" in one)) return { ...one, issuer: one.issuer ?? null, notAfter: isoTime(one.notAfter) ?? null };
  const { code, message, hint, notBefore } = one.error;
  return {
    name: one.name,
    outcome: "failed",
    error: { code, message, hint: hint ?? null, notBefore: isoTime(notBefore) ?? null },
  };
}

/** "Later" only when nothing is worse. */
function worst(codes: readonly number[]): number {
  return (
    codes.find((code) => code !== EXIT.ok && code !== EXIT.tryLater) ?? codes.find((code) => code !== 0) ?? EXIT.ok
  );
}
