/**
 * Does the home's name follow its address?
 * Owns: what the running Gatehouse's dynamic DNS says of each name, in the words of a finding.
 * Never: asks a service.
 */
import type { DdnsNameReport, DdnsReport } from "../network/ddns-report.ts";
import { type Note, note } from "./finding.ts";

export function lookAtDynamicDns(
  kept: readonly string[],
  report: DdnsReport | undefined,
  only: string | undefined,
): Note[] {
  if (kept.length === 0) {
    return [note("ok", "DDNS_OFF", { seen: "No name's address is kept by Gatehouse (ddns is not set)." })];
  }
  if (report?.isOn !== true) {
    const seen = `Whether the address of ${kept.join(", ")} is kept was not seen: no Gatehouse runs.`;
    return [note("unknown", "DDNS_NOT_SEEN", { seen })];
  }
  return report.names.filter(({ name }) => only === undefined || name === only).map(judgeKept);
}

function judgeKept(one: DdnsNameReport): Note {
  const { name: subject, service, state, wanted, good, shown, error, nextTryAt } = one;
  const address = [wanted.ipv4, wanted.ipv6].filter((each) => each !== undefined).join(", ");
  const why = "When the provider changes the home's address, the name leads to somebody else's.";
  const said = error === undefined ? "" : `: ${error.message}`;
  // What its name servers showed last counts for more than what was right once.
  const isGood =
    good !== undefined &&
    good.ipv4 === wanted.ipv4 &&
    good.ipv6 === wanted.ipv6 &&
    shown.every(({ ipv4 }) => wanted.ipv4 === undefined || ipv4.includes(wanted.ipv4));
  switch (state) {
    case "right":
      return note("ok", "DDNS_RIGHT", { subject, seen: `${service} has ${address} for ${subject}, as it should.` });
    case "waiting":
      return note("note", "DDNS_WAITING", {
        subject,
        seen: `${service} was told ${address} for ${subject}; its name servers do not show it yet.`,
        next: "Look again in a minute.",
      });
    case "unknown":
      return note("unknown", "DDNS_UNKNOWN", {
        subject,
        seen: `Nobody tells this home's address, so ${subject} was left as it is.`,
      });
    case "stopped":
      return note("error", "DDNS_STOPPED", {
        subject,
        seen: `${service} refuses to change ${subject}${said}`,
        why,
        next: `${error?.hint ?? "Mend what it says."} Then gatehouse ddns update; it is not tried by itself any more.`,
      });
    case "failing":
      if (error?.code === "GATEHOUSE_DNS_REFUSED") {
        return note(isGood ? "warning" : "error", "DDNS_REFUSED", {
          subject,
          seen: `${service} does not take the address of ${subject}${said}`,
          why,
          next: `${error.hint ?? "Mend what it says."} Then gatehouse ddns update.`,
        });
      }
      return note(isGood ? "warning" : "error", "DDNS_FAILING", {
        subject,
        seen: `${service} could not be told the address of ${subject}${said}`,
        why,
        next: `${error?.hint ?? "It is tried by itself."}${nextTryAt === undefined ? "" : ` The next try is at ${new Date(nextTryAt).toISOString()}.`}`,
      });
  }
}
