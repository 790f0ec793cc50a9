/**
 * A whole Gatehouse as a child process, on ports the kernel chose, in a folder of its own.
 */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";

const MAIN = new URL("../../src/cli/main.ts", import.meta.url).pathname;

export interface LogLine {
  event?: string;
  level: number;
  msg: string;
  [field: string]: unknown;
}

export interface CliResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface RunningGatehouse {
  pid: number;
  folder: string;
  configFile: string;
  httpsPort: number;
  httpPort: number;
  /** Port of /metrics, when the configuration asked for it. */
  metricsPort: number;
  lines: LogLine[];
  stderr(): string;
  /** The first line with this event, past or to come. */
  line(event: string, matches?: (line: LogLine) => boolean, withinMs?: number): Promise<LogLine>;
  cli(...args: string[]): Promise<CliResult>;
  /** Resident memory in bytes. */
  rss(): Promise<number>;
  openFiles(): Promise<number>;
  /** Ends it and resolves to the exit code (null when a signal took it). */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

export async function runCli(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<CliResult> {
  const child = spawn(process.execPath, ["--disable-warning=DEP0060", MAIN, ...args], {
    env: { ...process.env, NO_COLOR: "1", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  return { code, stdout, stderr };
}

export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-"));
  t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));
  return folder;
}

/** Everything a test usually wants: free ports, state in `folder`, access log on. `rest` is YAML below it; the CA is
 * our own unless `rest` begins with another. */
export function configText(folder: string, rest: string): string {
  return `listen: { https: "127.0.0.1:0", http: "127.0.0.1:0" }
state: ${join(folder, "state")}
admin: ${join(folder, "a.sock")}
metrics: { listen: "127.0.0.1:0" }
${rest.startsWith("acme:") ? "" : "acme: { ca: local }\n"}${rest}`;
}

export async function startGatehouse(
  t: TestContext,
  options: {
    folder: string;
    config: string;
    env?: NodeJS.ProcessEnv;
    withinMs?: number;
    /** What to put before the command; `lab.inside(host)` makes it run there. */
    inside?: readonly string[];
  },
): Promise<RunningGatehouse> {
  const configFile = join(options.folder, "gatehouse.yaml");
  await writeFile(configFile, options.config);
  const [program, ...args] = [
    ...(options.inside ?? []),
    process.execPath,
    "--disable-warning=DEP0060",
    MAIN,
    "run",
    "--config",
    configFile,
  ];
  const child = spawn(program, args, {
    env: { ...process.env, NO_COLOR: "1", ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: LogLine[] = [];
  const waiting = new Set<(line: LogLine) => void>();
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => (stderr = (stderr + chunk.toString()).slice(-100_000)));
  createInterface({ input: child.stdout }).on("line", (text) => {
    if (!text.startsWith("{")) return;
    const line = JSON.parse(text) as LogLine;
    if (line.event !== "access" || lines.length < 20_000) lines.push(line);
    for (const look of waiting) look(line);
  });
  const closed = new Promise<number | null>((resolve) => child.on("close", resolve));
  child.on("error", () => {});
  t.after(async () => {
    child.kill("SIGKILL");
    await closed;
  });

  const line: RunningGatehouse["line"] = (event, matches = () => true, withinMs = 60_000) =>
    new Promise((resolve, reject) => {
      const past = lines.find((one) => one.event === event && matches(one));
      if (past !== undefined) {
        resolve(past);
        return;
      }
      const look = (one: LogLine) => {
        if (one.event === event && matches(one)) done(() => resolve(one));
      };
      const done = (finish: () => void) => {
        waiting.delete(look);
        clearTimeout(timer);
        finish();
      };
      const tail = () =>
        lines
          .slice(-15)
          .map((one) => JSON.stringify(one))
          .join("\n");
      const timer = setTimeout(
        () => done(() => reject(new Error(`no ${event} in ${withinMs} ms\n${tail()}\n${stderr}`))),
        withinMs,
      );
      void closed.then((code) =>
        done(() => reject(new Error(`ended with ${code} before ${event}\n${tail()}\n${stderr}`))),
      );
      waiting.add(look);
    });

  const ready = await line("edge.ready", undefined, options.withinMs ?? 120_000);
  const port = (field: string) => {
    const list = ready[field] as { port: number }[] | undefined;
    return list?.[0]?.port ?? 0;
  };
  const pid = child.pid ?? 0;
  return {
    pid,
    folder: options.folder,
    configFile,
    httpsPort: port("https"),
    httpPort: port("http"),
    metricsPort: port("metrics"),
    lines,
    stderr: () => stderr,
    line,
    cli: (...args) => runCli([...args, "--config", configFile], options.env),
    rss: async () => {
      const status = await readFile(`/proc/${pid}/status`, "utf8");
      return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
    },
    openFiles: async () => (await readdir(`/proc/${pid}/fd`)).length,
    stop: async (signal = "SIGTERM") => {
      child.kill(signal);
      return closed;
    },
  };
}
