/**
 * Who asked for what, and how did it end?
 * Owns: the access line of one exchange, its field names and bounds.
 * Never: query strings, cookies, credentials.
 *
 * Field names are those of ECS and OpenTelemetry, flattened. The line is built by hand and given to pino's destination:
 * one line per exchange is the hot path, and pino with an object of the same fields took 7.4 µs where this takes 2.1
 * (CPU, writing included, 50 lines a loop turn, Node 24).
 */
import { symbols, type DestinationStream } from "pino";
import type { Logger } from "./log.ts";

export interface ExchangeRecord {
  id: string;
  kind: "request" | "upgrade";
  /** Site key from the configuration; undefined for unknown hosts. */
  site: string | undefined;
  method: string;
  /** As asked, normalised; chosen by strangers. */
  host: string;
  /** With or without query: the log cuts it off. */
  path: string;
  version: "1.0" | "1.1" | "2";
  scheme: "http" | "https";
  tlsVersion: string | undefined;
  /** 0 when the client left before an answer began. */
  status: number;
  clientAddress: string;
  userAgent: string | undefined;
  /** Target as configured. */
  upstream: string | undefined;
  /** Request sent to first byte of the answer. */
  upstreamMs: number | undefined;
  durationMs: number;
  bytesIn: number;
  bytesOut: number;
  /** A GATEHOUSE_ code when it did not end well. */
  error: string | undefined;
}

export interface AccessLog {
  write(record: ExchangeRecord): void;
}

/** UTF-16 units of any one text; strangers choose most of them. */
const MAX_TEXT = 256;

/** Text that goes between quotes as it is: printable ASCII but `"` and `\`. */
const NEEDS_CARE = /[^\x20\x21\x23-\x5b\x5d-\x7e]/;

/** Terminals and log viewers obey these, also after a JSON parser has brought them back; so they are replaced. */
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** Has its own switch: `log.level` chooses among events, it does not silence the access log. */
export function createAccessLog(log: Logger, options: { enabled: boolean }): AccessLog {
  if (!options.enabled) return { write: () => {} };
  const destination = (log as unknown as Record<symbol, DestinationStream>)[symbols.streamSym];
  if (destination === undefined) throw new TypeError("the logger has no destination");
  return {
    write(record) {
      destination.write(accessLine(record, Date.now()));
    },
  };
}

function accessLine(record: ExchangeRecord, now: number): string {
  // 30 is pino's number for info.
  let line =
    `{"level":30,"time":${now},"event":"access","request_id":${quoted(record.id)},` +
    `"client.ip":${quoted(record.clientAddress)},"http.request.method":${quoted(record.method)},` +
    `"url.scheme":"${record.scheme}","url.domain":${quoted(record.host)},"url.path":${quoted(withoutQuery(record.path))},` +
    `"http.response.status_code":${numeral(record.status)},"http.request.body.bytes":${numeral(record.bytesIn)},` +
    `"http.response.body.bytes":${numeral(record.bytesOut)},"event.duration":${numeral(record.durationMs * 1e6)},` +
    `"network.protocol.version":"${record.version}"`;
  if (record.tlsVersion !== undefined) line += `,"tls.version":${quoted(record.tlsVersion)}`;
  if (record.userAgent !== undefined) line += `,"user_agent.original":${quoted(record.userAgent)}`;
  if (record.kind === "upgrade") line += ',"edge.upgrade":true';
  if (record.site !== undefined) line += `,"edge.site":${quoted(record.site)}`;
  if (record.upstream !== undefined) line += `,"edge.upstream":${quoted(record.upstream)}`;
  if (record.upstreamMs !== undefined) line += `,"edge.upstream_ms":${decimal(record.upstreamMs)}`;
  if (record.error !== undefined) line += `,"edge.error":${quoted(record.error)}`;
  return `${line},"msg":"exchange"}\n`;
}

/** Tokens live in query strings: DuckDNS, signed Home Assistant paths, password resets. */
function withoutQuery(path: string): string {
  const end = path.search(/[?#]/);
  return end === -1 ? path : path.slice(0, end);
}

function quoted(text: string): string {
  const short = text.length > MAX_TEXT ? text.slice(0, MAX_TEXT) : text;
  if (!NEEDS_CARE.test(short)) return `"${short}"`;
  return JSON.stringify(short.toWellFormed().replace(CONTROLS, "\ufffd"));
}

/** A whole number; whatever a broken clock or counter says, the line stays JSON. */
const numeral = (value: number): string => (Number.isFinite(value) ? Math.max(0, Math.round(value)).toString() : "0");

const decimal = (value: number): string =>
  Number.isFinite(value) ? (Math.round(value * 1000) / 1000).toString() : "0";
