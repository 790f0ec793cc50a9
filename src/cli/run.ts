/**
 * How does one Gatehouse live, from the command line to the exit code?
 * Owns: the first load, signals, the file watcher, the banner.
 * Never: wires rooms (edge does).
 */
import { loadConfig } from "../config/load.ts";
import { loadApart } from "../config/load-apart.ts";
import { watchConfig } from "../config/reload.ts";
import { type Finding, findingText } from "../config/findings.ts";
import { errorText } from "../core/errors.ts";
import { startEdge, type Edge } from "../edge.ts";
import { createLog, type Logger } from "../observe/log.ts";
import { sayLastWords } from "../observe/last-words.ts";
import { banner } from "./banner.ts";

export interface RunOptions {
  config: string;
  version: string;
  stderr: NodeJS.WritableStream;
}

/** Resolves to the exit code once everything is closed. @throws GatehouseError when the start fails */
export async function runCommand(options: RunOptions): Promise<number> {
  const { config, digest, warnings } = await loadConfig(options.config, { env: process.env, quarantine: true });
  const log = createLog({ level: config.log.level, pretty: config.log.pretty, isShared: config.workers !== 1 });
  sayLastWords(log);
  const warn = (findings: readonly Finding[]) => {
    for (const finding of findings) log.warn({ event: "config.warning" }, findingText(finding));
  };
  warn(warnings);
  const edge = await startEdge(config, {
    log,
    version: options.version,
    load: async () => {
      const next = await loadApart(options.config, process.env);
      warn(next.warnings);
      return next.config;
    },
  });
  const { https, http } = edge.addresses();
  options.stderr.write(
    banner({
      configFile: options.config,
      httpsPort: https[0]?.port ?? 443,
      httpPort: http[0]?.port ?? 80,
      sites: edge.siteNames(),
      caRootFile: edge.localRootFile(),
    }),
  );
  return untilSignalled(edge, { file: options.config, digest, drainMs: config.drainMs }, log);
}

async function untilSignalled(
  edge: Edge,
  { file, digest, drainMs }: { file: string; digest: string; drainMs: number },
  log: Logger,
): Promise<number> {
  const watching = new AbortController();
  const reload = (reason: string) => {
    // The edge logs a refused file itself; nothing else may end the process here.
    edge.reload(reason).catch((error: unknown) => log.debug({ err: error }, "reload refused"));
  };
  watchConfig(file, { onChange: () => reload("file"), signal: watching.signal, running: digest });
  const onHangup = () => reload("SIGHUP");
  process.on("SIGHUP", onHangup);

  const signal = await new Promise<NodeJS.Signals>((resolve) => {
    process.once("SIGTERM", resolve);
    process.once("SIGINT", resolve);
  });
  watching.abort();
  log.info({ event: "edge.draining", signal, withinMs: drainMs }, "draining; a second signal leaves at once");
  const impatient = new Promise<"now">((resolve) => {
    process.once("SIGTERM", () => resolve("now"));
    process.once("SIGINT", () => resolve("now"));
  });
  const drained = edge.drain({ withinMs: drainMs }).then(
    () => "drained" as const,
    (error: unknown) => {
      log.error({ event: "edge.drain_failed", err: error }, errorText(error));
      return "failed" as const;
    },
  );
  const outcome = await Promise.race([drained, impatient]);
  if (outcome === "now") edge.destroy();
  process.off("SIGHUP", onHangup);
  log.info({ event: "edge.stopped", outcome }, "stopped");
  return outcome === "failed" ? 1 : 0;
}
