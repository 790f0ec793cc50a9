/**
 * What is a worker process?
 * Owns: the program that node:cluster forks: the serving half with a log and numbers of its own.
 * Never: reads the configuration, storage or a command line: it is told everything.
 */
import { workForPrimary } from "./cluster/worker.ts";
import { sayLastWords } from "./observe/last-words.ts";
import { createLog, linesDropped } from "./observe/log.ts";
import { createMetrics, type Metrics } from "./observe/metrics.ts";
import { createServing } from "./serving.ts";

let metrics: Metrics | undefined;

workForPrimary({
  createServing(first, { version, log: settings, ticketKeys, fallback }, keeper, spread) {
    const log = createLog({ level: settings.level, pretty: settings.pretty, isShared: true });
    sayLastWords(log);
    metrics = createMetrics({ version, linesDropped: () => linesDropped(log) });
    return createServing(first, { keeper, ticketKeys, fallback, log, metrics, spread });
  },
  families: async () => (await metrics?.families()) ?? [],
});
