/**
 * How does a line look to a person at a terminal?
 * Owns: pino-pretty, its colours, and the one-line form of an access line.
 * Never: runs where a program reads the log.
 *
 * pino-pretty's formatter is called in this process: its worker transport loses the last lines of a crash.
 */
import { styleText } from "node:util";
import { prettyFactory } from "pino-pretty";
import type { LineSink } from "./line-sink.ts";

/** Terminals obey these: everything below U+0020 but tab and newline, DEL, C1, and the marks that turn text around. */
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

export function createPrettyStream(destination: LineSink): LineSink {
  const hasColours = process.env["NO_COLOR"] === undefined || process.env["NO_COLOR"] === "";
  const pretty = prettyFactory({
    colorize: hasColours,
    translateTime: "SYS:HH:MM:ss",
    ignore: "event",
    singleLine: true,
    errorLikeObjectKeys: ["err"],
  });
  const paint: Paint = (style, text) => (hasColours ? styleText(style, text, { validateStream: false }) : text);
  return {
    write(line) {
      const fields = parsed(line);
      if (fields === undefined) destination.write(line);
      else if (fields["event"] === "access") destination.write(accessLine(fields, paint));
      else destination.write(pretty(harmless(fields)));
    },
    flush: (done) => destination.flush(done),
    dropped: () => destination.dropped(),
  };
}

type Paint = (style: "red" | "yellow" | "green" | "dim", text: string) => string;

function parsed(line: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

/** JSON had the control characters escaped; parsing brought them back. */
function harmless<T>(value: T): T {
  if (typeof value === "string") return value.replace(CONTROLS, "\ufffd") as T;
  if (Array.isArray(value)) return value.map(harmless) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [harmless(name), harmless(inner)])) as T;
}

function accessLine(fields: Readonly<Record<string, unknown>>, paint: Paint): string {
  const text = (name: string): string => {
    const value = fields[name];
    return typeof value === "string" || typeof value === "number" ? harmless(String(value)) : "-";
  };
  const status = Number(fields["http.response.status_code"]);
  const colour = status >= 500 || status === 0 ? "red" : status >= 400 ? "yellow" : "green";
  const clock = new Date(Number(fields["time"])).toTimeString().slice(0, 8);
  const tookMs = (Number(fields["event.duration"]) / 1e6).toFixed(1);
  const error = fields["edge.error"] === undefined ? "" : ` ${paint("red", text("edge.error"))}`;
  return (
    `[${clock}] ${paint(colour, text("http.response.status_code"))} ${text("http.request.method")} ` +
    `${text("url.domain")}${text("url.path")} ${paint("dim", `${tookMs} ms ${text("client.ip")}`)}${error}\n`
  );
}
