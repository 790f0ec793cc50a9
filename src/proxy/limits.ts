/**
 * Who ran into which limit?
 * Owns: the count, and a line in the log that a flood cannot multiply.
 * Never: decides what becomes of the one who did.
 */
import type { LimitName } from "../observe/limit-names.ts";
import type { Logger } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";

/** Per limit, so at most some thirty lines in this time, whatever comes in. */
const SAY_EVERY_MS = 60_000;

/** Everyday ends of a connection: counted, but no line above debug. */
const EVERYDAY: ReadonlySet<LimitName> = new Set([
  "idle_time",
  "first_byte_time",
  "requests_per_connection",
  "h2_idle_time",
  "tunnel_silence",
]);

export function createLimitReports(options: {
  log: Logger;
  metrics: Metrics;
}): (limit: LimitName, client: string) => void {
  const { log, metrics } = options;
  const told = new Map<LimitName, { at: number; unsaid: number }>();
  return (limit, client) => {
    metrics.limitReached(limit);
    const now = performance.now();
    const last = told.get(limit);
    if (last !== undefined && now - last.at < SAY_EVERY_MS) {
      last.unsaid++;
      return;
    }
    told.set(limit, { at: now, unsaid: 0 });
    const line = { event: "limit.reached", limit, client: client.slice(0, 64), unsaid: last?.unsaid ?? 0 };
    if (EVERYDAY.has(limit)) log.debug(line, "a limit was reached");
    else log.warn(line, "a limit was reached");
  };
}

/** Which limit does an error of node:http's parser stand for? */
export function limitOfParser(code: string | undefined): LimitName | undefined {
  if (code === "HPE_HEADER_OVERFLOW") return "head_size";
  return code === "ERR_HTTP_REQUEST_TIMEOUT" ? "head_time" : undefined;
}
