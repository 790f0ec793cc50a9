/**
 * What did an HTTP/2 client ask?
 * Owns: pseudo headers, the fields HTTP/2 forbids, cookie crumbs; the rest is judged by check-request, as in HTTP/1.
 * Never: looks at configuration or a stream.
 */
import type { LimitsConfig } from "../../../config/model.ts";
import { normaliseHost } from "../../rules/routes.ts";
import { checkRequest, checkUpgrade, type ConnectionFacts, type Refusal, type Verdict } from "../check-request.ts";
import { webSocketFields } from "./upgrade.ts";

/**
 * `malformed`: a stream error of type PROTOCOL_ERROR (RFC 9113 §8.1.1), not an answer. `isTunnel`: an extended CONNECT;
 * the head is that of the HTTP/1.1 upgrade it stands for.
 */
export type H2Verdict = (Verdict & { isTunnel?: boolean }) | { malformed: string };

const PSEUDO = new Set([":method", ":scheme", ":authority", ":path", ":protocol"]);
/** RFC 9113 §8.2.2: they speak of a connection that HTTP/2 does not have. */
const FORBIDDEN = new Set(["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"]);

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** No target has one: behind it the request line would go on. */
const BLANK = /[\x00-\x20\x7f]/;

/**
 * @param raw         flat list as it came, pseudo headers included
 * @param endsAtHead  END_STREAM was on the HEADERS frame
 */
export function checkH2Request(
  raw: readonly string[],
  endsAtHead: boolean,
  facts: ConnectionFacts,
  limits: LimitsConfig,
): H2Verdict {
  const pseudo = new Map<string, string>();
  const fields: string[] = [];
  const cookies: string[] = [];
  let cookieAt = -1;
  let bytes = 0;
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at] ?? "";
    const value = raw[at + 1] ?? "";
    bytes += name.length + value.length;
    if (name.startsWith(":")) {
      if (!PSEUDO.has(name) || pseudo.has(name) || fields.length > 0) return { malformed: "pseudo header" };
      pseudo.set(name, value);
      continue;
    }
    if (name !== name.toLowerCase()) return { malformed: "upper case name" };
    if (FORBIDDEN.has(name)) return { malformed: "connection field" };
    if (name === "te" && value.toLowerCase() !== "trailers") return { malformed: "te" };
    if (name === "cookie") {
      // One field per crumb compresses better; HTTP/1 allows one Cookie only (RFC 9113 §8.2.3).
      if (cookieAt < 0) cookieAt = fields.push(name, "") - 1;
      cookies.push(value);
      continue;
    }
    fields.push(name, value);
  }
  if (cookieAt >= 0) fields[cookieAt] = cookies.join("; ");

  const method = pseudo.get(":method");
  const path = pseudo.get(":path");
  const protocol = pseudo.get(":protocol");
  if (method === undefined || !TOKEN.test(method)) return { malformed: ":method" };
  if (protocol !== undefined && method !== "CONNECT") return { malformed: ":protocol" };
  // A CONNECT of the old kind has neither scheme nor path; a gateway dials nothing for it.
  const isConnect = method === "CONNECT" && protocol === undefined;
  if (!isConnect && (pseudo.get(":scheme") === undefined || path === undefined || path === "")) {
    return { malformed: "no :scheme or :path" };
  }
  // Sum of names and values, as in HTTP/1. Node advertises a limit but does not hold to it.
  if (bytes > limits.headSize) {
    return { refusal: { status: 431, code: "GATEHOUSE_REQUEST_REFUSED", reason: "header size", limit: "head_size" } };
  }
  const authority = pseudo.get(":authority");
  const named = agreeOnHost(authority, fields);
  if (named === undefined) {
    return no(400, ":authority and Host");
  }
  // RFC 9113 §8.3.1: no user information, and what is no authority makes the request malformed.
  if (authority !== undefined && !isConnect && normaliseHost(authority) === undefined) {
    return { malformed: ":authority" };
  }
  // `*` for OPTIONS, else it begins with a slash; absolute-form does not exist here (RFC 9113 §8.3.1).
  if (path !== undefined && (BLANK.test(path) || (!path.startsWith("/") && !(path === "*" && method === "OPTIONS")))) {
    return { malformed: ":path" };
  }

  if (protocol !== undefined) return checkTunnel(protocol, path, named, endsAtHead, facts, limits);
  const verdict = checkRequest({ method, url: path, httpVersion: "1.1", rawHeaders: named }, facts, limits);
  if (verdict.refusal !== undefined) return verdict;
  const { head } = verdict;
  head.version = "2";
  // Framing is END_STREAM and DATA here; a Content-Length is a promise about them that nghttp2 holds the client to.
  if (head.body === "none" && !endsAtHead) head.body = "chunked";
  return verdict;
}

/** RFC 8441 §4 and §5: the same as a GET with `Upgrade: websocket`, and judged as that. */
function checkTunnel(
  protocol: string,
  path: string | undefined,
  fields: string[],
  endsAtHead: boolean,
  facts: ConnectionFacts,
  limits: LimitsConfig,
): H2Verdict {
  if (protocol.toLowerCase() !== "websocket") return no(501, "protocol of an extended CONNECT");
  if (endsAtHead) return no(400, "upgrade form");
  const asked = { method: "GET", url: path, httpVersion: "1.1", rawHeaders: webSocketFields(fields) };
  const verdict = checkRequest(asked, facts, limits);
  if (verdict.refusal !== undefined) return verdict;
  const refusal = checkUpgrade(verdict.head);
  if (refusal !== undefined) return { refusal };
  verdict.head.version = "2";
  return { ...verdict, isTunnel: true };
}

function no(status: number, reason: string): { refusal: Refusal } {
  const code = status === 400 ? "GATEHOUSE_REQUEST_MALFORMED" : "GATEHOUSE_REQUEST_REFUSED";
  return { refusal: { status, code, reason } };
}

/** The fields with exactly one Host in front; undefined when the two names of the site differ. */
function agreeOnHost(authority: string | undefined, fields: string[]): string[] | undefined {
  if (authority === undefined) return fields;
  const rest: string[] = ["host", authority];
  for (let at = 0; at < fields.length; at += 2) {
    if (fields[at] !== "host") {
      rest.push(fields[at] ?? "", fields[at + 1] ?? "");
    } else if (fields[at + 1]?.toLowerCase() !== authority.toLowerCase()) {
      return undefined;
    }
  }
  return rest;
}
