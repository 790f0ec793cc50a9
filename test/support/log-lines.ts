/**
 * A log that is kept in memory, as text and as parsed lines.
 */
import { PassThrough } from "node:stream";
import { createLog, type Logger } from "../../src/observe/log.ts";

export interface KeptLog {
  log: Logger;
  text(): string;
  lines(): Record<string, unknown>[];
}

export function keptLog(options: { level?: string; pretty?: boolean } = {}): KeptLog {
  let text = "";
  const destination = new PassThrough();
  destination.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const log = createLog({ level: options.level ?? "info", pretty: options.pretty ?? false, destination });
  return {
    log,
    text: () => text,
    lines: () =>
      text
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}
