/**
 * What does the name of a request field mean to the fast lane?
 * Owns: the table of the names it knows.
 * Never: reads a head.
 */
import { NameTable } from "../../rules/field-scan.ts";
import { OURS, PER_CONNECTION } from "../../rules/headers.ts";
import { SINGLE } from "../check-request.ts";

/** What a name means here; the bits above tell single fields apart. */
export const KIND = 15;
export const PASSES = 0;
export const DROPPED = 1;
export const STRANGE = 2;
export const HOST = 3;
export const LENGTH = 4;
export const ENCODING = 5;
const CONNECTION = 6;
export const AGENT = 7;
export const FORWARDED = 8;
export const SINGLE_SHIFT = 4;

/** Requests with one of these want more than bytes in and bytes out. */
const STRANGE_NAMES = new Set(["upgrade", "expect", "te", "trailer", "http2-settings", "keep-alive", "proxy"]);
const OWN_KINDS = new Map([
  ["host", HOST],
  ["content-length", LENGTH],
  ["transfer-encoding", ENCODING],
  ["connection", CONNECTION],
  ["user-agent", AGENT],
  ["forwarded", FORWARDED],
]);

export const NAMES = new NameTable(knownNames());

/** From the sets the rules and the checks use, so that the lanes cannot differ in a name. */
function knownNames(): Map<string, number> {
  const names = new Map<string, number>();
  // Two Cookie fields are allowed, but become one (RFC 6265 §5.4): Node does that.
  const single = [...SINGLE, "cookie"];
  for (const name of new Set([...PER_CONNECTION, ...OURS, ...single])) {
    const isDropped = PER_CONNECTION.has(name) || OURS.has(name);
    const kind = OWN_KINDS.get(name) ?? (STRANGE_NAMES.has(name) ? STRANGE : isDropped ? DROPPED : PASSES);
    names.set(name, kind | ((single.indexOf(name) + 1) << SINGLE_SHIFT));
  }
  return names;
}
