/**
 * Is the head of a target's answer one that may be relayed?
 * Owns: the checks that node:http's client leaves out, and the error for an answer that is no HTTP.
 * Never: reads a body.
 */
import type { IncomingMessage } from "node:http";
import { GatehouseError } from "../../core/errors.ts";
import type { LimitName } from "../../observe/limit-names.ts";
import { lowerCased } from "../rules/raw-headers.ts";
import { valuesOf } from "../rules/request-head.ts";

/** What node:http's client accepts from a target and we do not; undefined when it may be relayed. */
export function judgeAnswer(answer: IncomingMessage): GatehouseError | undefined {
  const status = answer.statusCode ?? 0;
  if (answer.httpVersion !== "1.1" && answer.httpVersion !== "1.0") return garbage("version");
  if (status < 200 || status > 599) return garbage("status");
  if (/[^\t\x20-\x7e\x80-\xff]/.test(answer.statusMessage ?? "")) return garbage("reason");
  const names = lowerCased(answer.rawHeaders);
  const encodings = valuesOf(names, "transfer-encoding");
  const lengths = valuesOf(names, "content-length");
  if (encodings.length > 1 || (encodings[0] ?? "chunked").toLowerCase() !== "chunked")
    return garbage("transfer coding");
  // RFC 9112 §6.1: an HTTP/1.0 sender cannot mean it, and whoever stands between may have read on to the close.
  if (encodings.length > 0 && answer.httpVersion === "1.0") return garbage("transfer coding");
  if (lengths.length > 1 || !/^\d{1,15}$/.test(lengths[0] ?? "0")) return garbage("Content-Length");
  if (encodings.length > 0 && lengths.length > 0) return garbage("Content-Length beside Transfer-Encoding");
  for (let at = 0; at < names.length; at += 2) {
    if (!/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(names[at] ?? "")) return garbage("field name");
    if (/[^\t\x20-\x7e\x80-\xff]/.test(names[at + 1] ?? "")) return garbage("field value");
  }
  return undefined;
}

/** The answer's head is longer than `limits.answerHeadSize`. */
export const headTooLong = (): GatehouseError => garbage("head too long", undefined, { limit: "answer_head_size" });

export function garbage(what: string, cause?: unknown, detail?: { limit: LimitName }): GatehouseError {
  return new GatehouseError("GATEHOUSE_UPSTREAM_GARBAGE", {
    message: `The target's answer is no valid HTTP: ${what}`,
    hint: "Does the target speak HTTP on this port, or HTTPS (then write https:// before it)?",
    cause,
    ...(detail === undefined ? {} : { detail }),
  });
}
