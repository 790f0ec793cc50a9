/**
 * Where do events go?
 * Owns: the pino instance, its destination, redaction, pretty printing on a terminal.
 * Never: decides what is worth saying.
 *
 * A line is an event with a fixed name and typed fields: log.info({ event: "cert.renewed", name }, "certificate renewed").
 * error = a person now, warn = a person soon, info = it happened, debug = for us.
 */
import { pino, stdTimeFunctions, symbols, type Logger as PinoLogger } from "pino";
import { createLineSink, type LineSink } from "./line-sink.ts";
import { createPrettyStream } from "./pretty.ts";
import { errorFields, redactFields, redactText } from "./redact.ts";

export type Logger = PinoLogger;

const STDOUT = 1;

export function createLog(options: {
  level: string;
  pretty: "auto" | boolean;
  /** Other processes write to the same standard output. Default false. */
  isShared?: boolean;
  /** Default: standard output. */
  destination?: NodeJS.WritableStream;
}): Logger {
  const isPretty = options.pretty === "auto" ? isTerminal(options.destination) : options.pretty;
  const destination =
    options.destination === undefined
      ? createLineSink(STDOUT, { isShared: options.isShared ?? false })
      : guarded(options.destination);
  const log = pino(
    {
      level: options.level,
      // pid and host name are what journald and Docker already know.
      base: null,
      timestamp: stdTimeFunctions.epochTime,
      serializers: {
        err: (error: unknown) => (error instanceof Error ? errorFields(error) : error),
        // The whole sentence, after interpolation; an error's message becomes one when there is no other.
        msg: (text: unknown) => (typeof text === "string" ? redactText(text) : text),
      },
      formatters: { log: redactFields },
    },
    isPretty ? createPrettyStream(destination) : destination,
  );
  // pino gives `formatters.bindings` to the root alone; children inherit this method.
  const { child } = log;
  log.child = function redactedChild(this: Logger, bindings, childOptions) {
    return child.call(this, redactFields(bindings), childOptions);
  } as typeof log.child;
  return log;
}

/** Lines that never reached their reader, since the start: it stalled, left, or had no room on its disk. */
export function linesDropped(log: Logger): number {
  return (log as unknown as Record<symbol, LineSink>)[symbols.streamSym]?.dropped() ?? 0;
}

const isTerminal = (stream: NodeJS.WritableStream = process.stdout): boolean =>
  (stream as { isTTY?: boolean }).isTTY === true;

/** A destination that fails must not stop serving. */
function guarded(stream: NodeJS.WritableStream): LineSink {
  stream.on("error", () => {});
  return {
    write(line) {
      // Writing after the end would only raise another error.
      if (stream.writable) stream.write(line);
    },
    flush(done) {
      if (stream.writable) stream.write("", () => done());
      else done();
    },
    dropped: () => 0,
  };
}
