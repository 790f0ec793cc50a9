/**
 * What does a client see when there is no answer from a target?
 * Owns: error → status, page (HTML or JSON by Accept) and headers; nothing internal leaks.
 * Never: writes to a socket: each lane does that in its own protocol.
 */
import { STATUS_CODES } from "node:http";
import { ERROR_CODES, type ErrorCode } from "../core/errors.ts";

export interface LocalAnswer {
  status: number;
  /** Flat name, value list; includes content-type and content-length, cache-control: no-store. */
  headers: string[];
  body: Buffer;
}

/** Status for a code: client 4xx, upstream 502/504/503, edge 500. A decision that carries its own status wins. */
export function statusFor(code: ErrorCode): number {
  if (code === "GATEHOUSE_UPSTREAM_SLOW") return 504;
  if (code === "GATEHOUSE_UPSTREAM_NONE" || code === "GATEHOUSE_DRAINING") return 503;
  const { source } = ERROR_CODES[code];
  if (source === "client") return 400;
  return source === "upstream" ? 502 : 500;
}

/** What a visitor may be told: what happened in general words and what they can do, never an address. */
const SENTENCES: Readonly<Record<number, string>> = {
  400: "The request could not be understood.",
  403: "This site is for devices that its owner gave a certificate. This device has shown none that is accepted.",
  404: "Nothing is served under this address.",
  405: "This method is not allowed here.",
  408: "The request took too long to arrive.",
  413: "The request is larger than this site accepts.",
  414: "The address is too long.",
  417: "The request expects something that is not offered here.",
  421: "This connection is not for this host name. Please try again.",
  431: "The request headers are too large.",
  426: "This needs another version of the protocol.",
  500: "Something went wrong here.",
  501: "The request uses something that is not supported here.",
  502: "The machine behind this address did not give a usable answer.",
  503: "The service is not available right now. Please try again in a moment.",
  504: "The machine behind this address took too long to answer.",
  505: "This HTTP version is not supported.",
  508: "The machine behind this address sends its visitors back here.",
};

/** Methods that reach targets; the answer to OPTIONS * and the Allow of a 405. */
const ALLOW = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

export function errorAnswer(status: number, facts: { requestId: string; accept: string | undefined }): LocalAnswer {
  if (status === 204) {
    return {
      status,
      headers: ["allow", ALLOW, "cache-control", "no-store", "x-request-id", facts.requestId],
      body: Buffer.alloc(0),
    };
  }
  const title = STATUS_CODES[status] ?? "Error";
  const sentence = SENTENCES[status] ?? (status < 500 ? SENTENCES[400] : SENTENCES[500]) ?? title;
  const isJson = wantsJson(facts.accept);
  const body = Buffer.from(
    isJson
      ? `${JSON.stringify({ status, error: title, message: sentence, requestId: facts.requestId })}\n`
      : page(status, title, sentence, facts.requestId),
  );
  const extra: string[] = [];
  if (status === 405) extra.push("allow", ALLOW);
  // Seconds: a restart or a free connection is a matter of moments.
  if (status === 503) extra.push("retry-after", "5");
  if (status === 426) extra.push("sec-websocket-version", "13");
  return {
    status,
    headers: [
      ...flat({
        "content-type": isJson ? "application/json" : "text/html; charset=utf-8",
        "content-length": String(body.length),
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
        "x-content-type-options": "nosniff",
        "x-request-id": facts.requestId,
      }),
      ...extra,
    ],
    body,
  };
}

export function redirectAnswer(status: number, location: string): LocalAnswer {
  const body = Buffer.from(`Moved to ${location}\n`);
  const headers = ["content-type", "text/plain; charset=utf-8", "content-length", String(body.length)];
  return { status, headers: [...headers, "cache-control", "no-store", "location", location], body };
}

const flat = (fields: Readonly<Record<string, string>>): string[] => Object.entries(fields).flat();

/** HTML unless JSON is asked for and HTML is not: browsers list both, scripts list one. */
function wantsJson(accept: string | undefined): boolean {
  const text = (accept ?? "").toLowerCase();
  return /application\/(?:[\w.-]+\+)?json/.test(text) && !text.includes("text/html");
}

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

function page(status: number, title: string, sentence: string, requestId: string): string {
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>${status} ${escaped(title)}</title>
<style>
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto 0;padding:0 1.25rem}
h1{font-size:1.4rem;margin:0 0 .5rem}p{margin:.25rem 0}small{opacity:.65;overflow-wrap:anywhere}
</style>
<h1>${status} ${escaped(title)}</h1>
<p>${escaped(sentence)}</p>
<p><small>Request ${escaped(requestId)}</small></p>
</html>
`;
}
