/**
 * What does Node's parser let through that we do not?
 * Owns: the strict reading of one HTTP/1.x request head; a RequestHead or a refusal. Runs before anything is dialled.
 * Never: looks at configuration, a socket or a body.
 */
import type { LimitsConfig } from "../../config/model.ts";
import type { ErrorCode } from "../../core/errors.ts";
import type { LimitName } from "../../observe/limit-names.ts";
import { type RequestHead, valuesOf } from "../rules/request-head.ts";
import { normaliseHost } from "../rules/routes.ts";

/** How the client came in; what the listener knows of a connection. */
export interface ConnectionFacts {
  peerAddress: string;
  peerPort: number;
  localPort: number;
  serverName: string | undefined;
  tlsVersion: string | undefined;
  scheme: "http" | "https";
  /** Its place among the connections; told of each exchange. */
  seat?: RequestHead["seat"];
  /** Who showed a client certificate; only where one was asked for. */
  device?: RequestHead["device"];
}

/** What node:http read; `rawHeaders` because `headers` hides second values of single fields. */
export interface ParsedRequest {
  method?: string | undefined;
  url?: string | undefined;
  httpVersion: string;
  rawHeaders: readonly string[];
}

export interface Refusal {
  status: number;
  code: ErrorCode;
  /** For the log: which rule. Fixed words, nothing of the request. */
  reason: string;
  limit?: LimitName | undefined;
}

export type Verdict = { head: RequestHead; refusal?: undefined } | { head?: undefined; refusal: Refusal };

const setOf = (words: string): ReadonlySet<string> => new Set(words.split(" "));

/** Known methods, WebDAV and CalDAV included (a NAS lives on them). TRACE and CONNECT are not for a gateway. */
export const METHODS = setOf(
  "GET HEAD POST PUT PATCH DELETE OPTIONS PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK SEARCH REPORT " +
    "MKCALENDAR ACL BIND REBIND UNBIND MERGE CHECKOUT MKACTIVITY LINK UNLINK NOTIFY SUBSCRIBE UNSUBSCRIBE " +
    "M-SEARCH PURGE QUERY SOURCE",
);

/** Fields that carry one value: two of them are two readings of one request (RFC 9110 §5.3). */
export const SINGLE = setOf(
  "authorization content-encoding content-length content-location content-range content-type date expect from " +
    "host if-modified-since if-range if-unmodified-since max-forwards origin proxy-authorization range referer " +
    "sec-websocket-key sec-websocket-version transfer-encoding upgrade user-agent",
);

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
/** Visible ASCII without `#` and `\`, which are read in two ways; origin-form (RFC 9112 §3.2.1). */
const ORIGIN_FORM = /^\/[\x21\x22\x24-\x5b\x5d-\x7e]*$/;

/** 414 and 431 (RFC 9110 §15.5.15, RFC 6585 §5) past these. */
export type HeadLimits = Pick<LimitsConfig, "urlSize" | "headFields" | "fieldSize">;

export function checkRequest(request: ParsedRequest, facts: ConnectionFacts, limits: HeadLimits): Verdict {
  const method = request.method ?? "";
  const version = request.httpVersion;
  if (version !== "1.0" && version !== "1.1") return no(505, "version");
  if (!METHODS.has(method)) return method === "TRACE" || method === "CONNECT" ? no(405, "method") : no(501, "method");
  const url = request.url ?? "";
  if (url.length > limits.urlSize) return no(414, "target length", "url_size");

  const read = readFields(request.rawHeaders, limits);
  if (!Array.isArray(read)) return read;
  const headers = read;
  const hosts = valuesOf(headers, "host");
  const authority = hosts[0];
  if (hosts.length !== 1 || authority === undefined) return no(400, "one Host is required");
  const host = normaliseHost(authority);
  if (host === undefined) return no(400, "Host grammar");

  const target = originForm(url, method, host);
  if (target === undefined) return no(400, "target form");

  const framing = readFraming(headers, version, method);
  if ("refusal" in framing) return framing;

  const expect = valuesOf(headers, "expect")[0];
  // RFC 9110 §10.1.1: an HTTP/1.0 client cannot mean it.
  if (expect !== undefined && version === "1.1" && expect.toLowerCase() !== "100-continue")
    return no(417, "expectation");

  const forwarded = valuesOf(headers, "forwarded");
  return {
    head: {
      method,
      target,
      version,
      authority,
      host,
      headers,
      forwarded: forwarded.length === 0 ? undefined : forwarded.join(","),
      ...facts,
      ...framing,
    },
  };
}

function no(status: number, reason: string, limit?: LimitName): { refusal: Refusal } {
  const isMalformed = status === 400 || status === 505;
  return {
    refusal: { status, code: isMalformed ? "GATEHOUSE_REQUEST_MALFORMED" : "GATEHOUSE_REQUEST_REFUSED", reason, limit },
  };
}

/** Flat list with names in lower case, or why not. */
function readFields(raw: readonly string[], limits: HeadLimits): string[] | { refusal: Refusal } {
  if (raw.length / 2 > limits.headFields) return no(431, "field count", "head_fields");
  const headers: string[] = [];
  const seen = new Set<string>();
  for (let at = 0; at < raw.length; at += 2) {
    const name = (raw[at] ?? "").toLowerCase();
    const value = raw[at + 1] ?? "";
    if (name.length + value.length > limits.fieldSize) return no(431, "field length", "field_size");
    if (!TOKEN.test(name)) return no(400, "field name");
    if (/[\x00-\x08\x0a-\x1f\x7f]/.test(value)) return no(400, "field value");
    if (SINGLE.has(name) && seen.has(name)) return no(400, "a single field twice");
    seen.add(name);
    headers.push(name, value);
  }
  return headers;
}

/**
 * The target as origin-form, or undefined. Text of a stranger never meets a URL parser: those repair, and what they
 * repair differs from what the target repairs.
 */
function originForm(url: string, method: string, host: string): string | undefined {
  if (url === "*") return method === "OPTIONS" ? url : undefined;
  if (url.startsWith("/")) return ORIGIN_FORM.test(url) ? url : undefined;
  // absolute-form (RFC 9112 §3.2.2): only when it says the same as Host.
  const match = /^https?:\/\/([^/?#]*)(\/[^]*|\?[^]*)?$/i.exec(url);
  if (match === null || normaliseHost(match[1] ?? "") !== host) return undefined;
  const rest = match[2] ?? "/";
  const path = rest.startsWith("?") ? `/${rest}` : rest;
  return ORIGIN_FORM.test(path) ? path : undefined;
}

type Framing = Pick<RequestHead, "body" | "contentLength">;

function readFraming(
  headers: readonly string[],
  version: "1.0" | "1.1",
  method: string,
): Framing | { refusal: Refusal } {
  const encoding = valuesOf(headers, "transfer-encoding")[0];
  const length = valuesOf(headers, "content-length")[0];
  if (encoding !== undefined) {
    if (length !== undefined) return no(400, "Content-Length beside Transfer-Encoding");
    if (version === "1.0") return no(400, "Transfer-Encoding in HTTP/1.0");
    if (encoding.toLowerCase() !== "chunked") return no(501, "transfer coding");
    return { body: "chunked", contentLength: 0 };
  }
  if (length === undefined) return { body: "none", contentLength: 0 };
  // Canonical: `005` is five to some and octal to others. 15 digits stay far below 2^53.
  if (!/^(?:0|[1-9]\d{0,14})$/.test(length)) return no(400, "Content-Length grammar");
  const contentLength = Number(length);
  // A GET that says `Content-Length: 0` has no body; POST keeps its zero so that the target sees the same.
  if (contentLength === 0 && (method === "GET" || method === "HEAD")) return { body: "none", contentLength: 0 };
  return { body: "length", contentLength };
}

/** Tokens that change the framing of this connection itself; they are dropped and the request is an ordinary one. */
const NEVER_UPGRADES = /^(?:h2c?|tls\/.*|http\/.*)$/;

/** Does Node hand this head to 'upgrade'? `Connection: upgrade` and exactly one protocol that we tunnel. */
export function isUpgrade(headers: readonly string[]): boolean {
  const protocol = upgradeProtocol(headers);
  const options = valuesOf(headers, "connection").join(",").toLowerCase().split(",");
  return protocol !== undefined && options.some((option) => option.trim() === "upgrade");
}

function upgradeProtocol(headers: readonly string[]): string | undefined {
  const values = valuesOf(headers, "upgrade");
  const protocol = values[0]?.trim().toLowerCase();
  if (values.length !== 1 || protocol === undefined) return undefined;
  return /^[!#$%&'*+\-.^_`|~0-9a-z]+(?:\/[!#$%&'*+\-.^_`|~0-9a-z]+)?$/.test(protocol) && !NEVER_UPGRADES.test(protocol)
    ? protocol
    : undefined;
}

/** May this head become a tunnel? RFC 6455 §4.1 for WebSocket; others need no more than a bodyless GET. */
export function checkUpgrade(head: RequestHead): Refusal | undefined {
  const protocol = upgradeProtocol(head.headers);
  if (protocol === undefined) return no(400, "upgrade protocol").refusal;
  if (head.method !== "GET" || head.version !== "1.1" || head.body !== "none") return no(400, "upgrade form").refusal;
  if (valuesOf(head.headers, "content-length").length > 0) return no(400, "upgrade form").refusal;
  if (valuesOf(head.headers, "expect").length > 0) return no(417, "expectation").refusal;
  if (protocol !== "websocket") return undefined;
  if (valuesOf(head.headers, "sec-websocket-version")[0]?.trim() !== "13") return no(426, "WebSocket version").refusal;
  const key = valuesOf(head.headers, "sec-websocket-key")[0]?.trim() ?? "";
  // 16 bytes in base64.
  if (!/^[A-Za-z0-9+/]{22}==$/.test(key)) return no(400, "WebSocket key").refusal;
  return undefined;
}
