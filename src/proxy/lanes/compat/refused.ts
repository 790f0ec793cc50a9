/**
 * What can be said about a request that is not even read?
 * Owns: the status for an error of node:http's parser, and the head that access line and page are made of.
 * Never: writes an answer.
 */
import type { IncomingMessage } from "node:http";
import { lowerCased } from "../../rules/raw-headers.ts";
import { type RequestHead, valuesOf } from "../../rules/request-head.ts";
import { normaliseHost } from "../../rules/routes.ts";
import type { ConnectionFacts } from "../check-request.ts";

/** Undefined for errors of the connection itself, where nobody is left to read an answer. */
export function statusOf(code: string | undefined): number | undefined {
  if (code === "HPE_HEADER_OVERFLOW") return 431;
  if (code === "HPE_CHUNK_EXTENSIONS_OVERFLOW") return 413;
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return 408;
  return code?.startsWith("HPE_") === true ? 400 : undefined;
}

/** Names and values of a refused head that are looked at. */
const MAX_READ = 512;

/** What can be said about a head that is refused: enough for the access line and the language of the page. */
export function unreadable(req: IncomingMessage, facts: ConnectionFacts): RequestHead {
  const all = lowerCased(req.rawHeaders.slice(0, MAX_READ));
  const agent = valuesOf(all, "user-agent")[0];
  const accept = valuesOf(all, "accept")[0];
  const authority = valuesOf(all, "host")[0] ?? "";
  return {
    ...facts,
    method: req.method ?? "",
    target: (req.url ?? "").slice(0, 1_024),
    version: req.httpVersion === "1.0" ? "1.0" : "1.1",
    authority,
    host: normaliseHost(authority) ?? "",
    headers: [
      ...(agent === undefined ? [] : ["user-agent", agent]),
      ...(accept === undefined ? [] : ["accept", accept]),
    ],
    body: "none",
    contentLength: 0,
  };
}
