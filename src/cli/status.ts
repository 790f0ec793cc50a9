/**
 * `gatehouse status`, `health` and `reload`: how is the running one, and please take the file again.
 * Owns: their words, their JSON and their exit codes.
 * Never: decides what healthy means; the running Gatehouse does.
 */
import type { AdminClient, DoctorLook, StatusReport } from "../admin/client.ts";
import { isGatehouseError } from "../core/errors.ts";
import { EXIT } from "./exit-codes.ts";
import { span } from "./span.ts";
import { table } from "./table.ts";
import { harmless, isoTime, paint, printJson, type Terminal } from "./terminal.ts";

export async function showStatus(client: AdminClient, json: boolean, terminal: Terminal): Promise<number> {
  const [report, { last }] = await Promise.all([client.status(), lookOf(client)]);
  if (json) printJson(terminal, { ...asJson(report), doctor: last === undefined ? null : doctorJson(last) });
  else terminal.out.write(asText(report, last, terminal));
  return EXIT.ok;
}

/** One that began before an upgrade does not know the question; the rest is worth showing. */
const lookOf = (client: AdminClient): Promise<{ last: DoctorLook | undefined }> =>
  client.doctor().catch(() => ({ last: undefined }));

/** For HEALTHCHECK and scripts: 0 or 1 and nothing else, so "nobody answers" is 1 as well. */
export async function showHealth(
  client: () => Promise<AdminClient>,
  json: boolean,
  terminal: Terminal,
): Promise<number> {
  const report = await client()
    .then((ready) => ready.health())
    .catch((error: unknown) => {
      if (!isGatehouseError(error)) throw error;
      return { ok: false, problems: [error.message] };
    });
  if (json) printJson(terminal, { ok: report.ok, problems: report.problems });
  else if (report.ok) terminal.out.write(`${paint(terminal.out, "green", "ok")}\n`);
  else for (const problem of report.problems) terminal.out.write(`${harmless(problem)}\n`);
  return report.ok ? EXIT.ok : EXIT.failed;
}

export async function requestReload(client: AdminClient, json: boolean, terminal: Terminal): Promise<number> {
  const { ok, findings = [] } = await client.reload();
  if (json) printJson(terminal, { ok, findings });
  else if (ok) terminal.err.write("the configuration was taken\n");
  else {
    terminal.err.write(`${paint(terminal.err, "red", "gatehouse:")} refused; the old configuration still serves\n`);
    for (const finding of findings) terminal.err.write(`${harmless(finding)}\n`);
  }
  return ok ? EXIT.ok : EXIT.config;
}

function asJson(report: StatusReport): Record<string, unknown> {
  const { lastReload, startedAt, visitors, ...rest } = report;
  const { fromWorld, fromInside } = visitors;
  return {
    ...rest,
    startedAt: isoTime(startedAt),
    uptimeSeconds: Math.round((Date.now() - startedAt) / 1000),
    visitors: {
      fromWorld: { ...fromWorld, lastAt: isoTime(fromWorld.lastAt) ?? null },
      fromInside: fromInside.map((one) => ({ ...one, lastAt: isoTime(one.lastAt) })),
    },
    workers: report.workers.map((worker) => ({ ...worker, startedAt: isoTime(worker.startedAt) })),
    sites: report.sites.map((site) => ({ ...site, redirect: site.redirect ?? null })),
    lastReload: lastReload === undefined ? null : { ...lastReload, at: isoTime(lastReload.at) },
  };
}

const doctorJson = ({ at, findings, ...rest }: DoctorLook): Record<string, unknown> => ({
  at: isoTime(at),
  ...rest,
  findings: findings.map(({ subject, next, ...one }) => ({ ...one, subject: subject ?? null, next: next ?? null })),
});

function asText(report: StatusReport, doctor: DoctorLook | undefined, { out }: Terminal): string {
  const now = Date.now();
  const counts = Object.entries(report.certificates).filter(([, count]) => count > 0);
  const facts: [string, string][] = [
    ["Version", `${report.version}, pid ${report.pid}`],
    ["Up", `${span(now - report.startedAt)}${report.isDraining ? ", draining" : ""}`],
    ["File", report.configFile],
    [
      "Listens",
      report.listeners.map(({ kind, host, port }) => `${kind} ${address(host, port)}`).join(", ") || "nowhere",
    ],
    ["Clients", `${report.openConnections} connections`],
    ...report.workers.map((worker, at): [string, string] => [at === 0 ? "Workers" : "", workerText(worker, now)]),
    ["Certificates", counts.map(([state, count]) => `${count} ${state}`).join(", ") || "none"],
    ["Last reload", reloadText(report, now)],
    ...(doctor === undefined
      ? []
      : [["Doctor", `${doctor.summary} (${span(now - doctor.at)} ago)`] satisfies [string, string]]),
  ];
  let text = facts.map(([name, value]) => `${name.padEnd(13)} ${harmless(value)}\n`).join("");
  const rows = report.sites.flatMap((site) =>
    site.redirect === undefined
      ? site.routes.map(({ prefix, target }) => [site.name, prefix, target])
      : [[site.name, "/", `redirect to ${site.redirect}`]],
  );
  if (rows.length > 0) text += `\n${table(out, ["SITE", "PATH", "TARGET"], rows)}`;
  for (const { name, finding } of report.quarantined) {
    text += `\n${paint(out, "red", "left out")} ${harmless(name)}\n${harmless(finding)}\n`;
  }
  return text;
}

function workerText(worker: StatusReport["workers"][number], now: number): string {
  if (worker.state !== "serving") return `${worker.state}, ${worker.restarts} restarts`;
  const { pid, openConnections, restarts, startedAt } = worker;
  return `pid ${pid}, ${openConnections} connections, up ${span(now - startedAt)}, ${restarts} restarts`;
}

function reloadText({ lastReload }: StatusReport, now: number): string {
  if (lastReload === undefined) return "none since the start";
  const ago = `${span(now - lastReload.at)} ago`;
  return lastReload.ok ? `taken ${ago}` : `refused ${ago}: ${lastReload.findings.join("; ")}`;
}

const address = (host: string, port: number): string => (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`);
