/**
 * `gatehouse doctor`: which link is broken, and what is the one thing to do next?
 * Owns: gathering what the doctor looks with, its words and its JSON.
 * Never: looks by itself (the doctor does), or changes anything.
 */
import type { AdminClient } from "../admin/client.ts";
import { ConfigInvalid, findingText } from "../config/findings.ts";
import { loadConfig, type LoadedConfig } from "../config/load.ts";
import { isGatehouseError } from "../core/errors.ts";
import type { Finding, Report, Severity } from "../doctor/finding.ts";
import { lookAtEverything, unreadable } from "../doctor/look.ts";
import { askRunning, type Surroundings } from "../doctor/running.ts";
import { EXIT } from "./exit-codes.ts";
import { harmless, paint, printJson, type Style, type Terminal } from "./terminal.ts";

export interface DoctorRequest {
  file: string;
  only: string | undefined;
  json: boolean;
  /** As written, with commas between; undefined: those of `ddns`, else the preset ones. */
  witnesses: string | undefined;
  client: () => Promise<AdminClient>;
  /** After `init` none runs yet, and that is no fault. */
  isNew?: boolean;
  /** The CA's staging is to look as well. */
  rehearse?: boolean;
}

/** Three owners, of which two must agree; they see the address that every site sees. */
const WITNESSES: Surroundings["witnesses"] = [
  { kind: "https", url: "https://api.ipify.org/" },
  { kind: "https", url: "https://ipv4.icanhazip.com/" },
  { kind: "dns", server: "216.239.32.10", name: "o-o.myaddr.l.google.com" },
];

export async function runDoctor(request: DoctorRequest, terminal: Terminal): Promise<number> {
  const { witnesses: wanted } = request;
  const witnesses = wanted === undefined ? undefined : readWitnesses(wanted);
  if (wanted !== undefined && witnesses === undefined) {
    terminal.err.write("gatehouse: --witness takes https://… or dns://SERVER/NAME, with commas between, or none\n");
    return EXIT.usage;
  }
  const stopping = new AbortController();
  const stop = (): void => stopping.abort(new Error("stopped"));
  process.once("SIGINT", stop);
  try {
    const report = await look(request, witnesses, stopping.signal, terminal);
    if (request.json) printJson(terminal, { ...report, findings: report.findings.map(asJson) });
    else terminal.out.write(asText(report, terminal));
    return report.ok ? EXIT.ok : EXIT.failed;
  } catch (error) {
    if (!stopping.signal.aborted) throw error;
    terminal.err.write("gatehouse: stopped\n");
    return EXIT.failed;
  } finally {
    process.off("SIGINT", stop);
  }
}

async function look(
  { file, only, client, isNew = false, rehearse = false }: DoctorRequest,
  witnesses: Surroundings["witnesses"] | undefined,
  signal: AbortSignal,
  terminal: Terminal,
): Promise<Report> {
  let loaded: LoadedConfig;
  try {
    loaded = await loadConfig(file, { env: terminal.env, quarantine: true });
  } catch (error) {
    if (error instanceof ConfigInvalid) {
      const [first, ...others] = error.findings.map(findingText);
      return unreadable([first ?? error.message, ...others].join("\n"), "Change that line; gatehouse check lists all.");
    }
    if (!isGatehouseError(error, "GATEHOUSE_CONFIG_UNREADABLE")) throw error;
    return unreadable(error.message, error.hint ?? "gatehouse init makes one.");
  }
  const { config, warnings } = loaded;
  const running = await ask(client, isNew);
  if (rehearse && running.running !== undefined)
    terminal.err.write("The CA's staging is asked to look; that may take a minute.\n");
  return lookAtEverything({
    config,
    warnings: warnings.map(findingText),
    ...running,
    visitors: running.running === undefined ? undefined : async () => (await (await client()).status()).visitors,
    only: only?.toLowerCase(),
    witnesses: witnesses ?? config.ddns?.witnesses ?? WITNESSES,
    rehearse: rehearse
      ? async (name) => (await client()).issue({ name, force: true, really: false, staging: true }, () => {})
      : undefined,
    signal,
  });
}

async function ask(
  client: () => Promise<AdminClient>,
  isNew: boolean,
): Promise<Pick<Surroundings, "running" | "notRunning">> {
  try {
    return { running: await askRunning(await client()), notRunning: undefined };
  } catch (error) {
    if (!isGatehouseError(error)) throw error;
    const isNone = error.code === "GATEHOUSE_NOT_RUNNING";
    const next = isNone ? "Start it: gatehouse run" : (error.hint ?? "gatehouse status says more.");
    return { running: undefined, notRunning: { message: error.message, next, isExpected: isNew && isNone } };
  }
}

/** Undefined when one of them is none. */
function readWitnesses(text: string): Surroundings["witnesses"] | undefined {
  if (text === "none") return [];
  const read = text.split(",").map((one) => {
    const url = URL.parse(one.trim());
    if (url?.protocol === "https:") return { kind: "https" as const, url: url.href };
    const name = url?.pathname.slice(1) ?? "";
    if (url?.protocol === "dns:" && name !== "") return { kind: "dns" as const, server: url.host, name };
    return undefined;
  });
  const good = read.filter((one) => one !== undefined);
  return good.length === read.length ? good : undefined;
}

const asJson = ({ subject, why, next, snippets, ...rest }: Finding): Record<string, unknown> => ({
  ...rest,
  subject: subject ?? null,
  why: why ?? null,
  next: next ?? null,
  snippets: snippets ?? null,
});

const MARKS: Record<Severity, { text: string; style: Style }> = {
  ok: { text: "ok", style: "green" },
  note: { text: "note", style: "bold" },
  warning: { text: "warning", style: "yellow" },
  error: { text: "error", style: "red" },
  unknown: { text: "not seen", style: "dim" },
};

function asText({ summary, findings }: Report, { out }: Terminal): string {
  let text = `${paint(out, "bold", harmless(summary))}\n\n`;
  for (const { severity, check, seen, why, next, code, snippets = {} } of findings) {
    const { text: mark, style } = MARKS[severity];
    text += `${paint(out, style, mark.padEnd(9))} ${check.padEnd(15)} ${indented(seen)}\n`;
    if (severity === "ok") continue;
    if (why !== undefined) text += `${MARGIN}${indented(why)}\n`;
    if (next !== undefined) text += `${MARGIN}Next: ${indented(next)}\n`;
    for (const [program, lines] of Object.entries(snippets)) {
      text += `${MARGIN}${harmless(program)}:\n${MARGIN}  ${indented(lines.trimEnd(), `${MARGIN}  `)}\n`;
    }
    if (severity !== "unknown") text += `${MARGIN}${paint(out, "dim", code)}\n`;
  }
  return text;
}

const MARGIN = " ".repeat(26);
const indented = (text: string, margin = MARGIN): string => harmless(text).replaceAll("\n", `\n${margin}`);
