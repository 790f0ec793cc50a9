/**
 * What did the client ask, before a byte of the body?
 * Owns: the head that every lane hands to the rules; the rules see nothing else.
 * Never: a socket or a stream.
 */
import type { Device } from "./device.ts";

export interface RequestHead {
  method: string;
  /** Origin-form as received (`/a?b`), visible ASCII; `*` for OPTIONS alone. */
  target: string;
  version: "1.0" | "1.1" | "2";
  /** Host (or :authority) as the client sent it, port kept. */
  authority: string;
  /** Normalised: lower case, no port, no trailing dot; an IPv6 literal in brackets. */
  host: string;
  /** Flat name, value, name, value… in order; names lower case; no pseudo headers. */
  headers: readonly string[];
  scheme: "http" | "https";
  peerAddress: string;
  peerPort: number;
  /** The port the client came in on, as the listener knows it. */
  localPort: number;
  /** SNI of the connection. */
  serverName: string | undefined;
  tlsVersion: string | undefined;
  /** `none`: no body at all; `length`: exactly contentLength bytes; `chunked`: until it ends (h1 chunked, or h2 without content-length). */
  body: "none" | "length" | "chunked";
  contentLength: number;
  /** The place of the connection it came on: told when an exchange begins and ends, so that no busy one is shed. */
  seat?: { began(): void; ended(): void } | undefined;
  /** Who showed a client certificate on this connection. */
  device?: Device | undefined;
  /** What Forwarded says, where it may be the word of a Gatehouse. */
  forwarded?: string | undefined;
  /** The first User-Agent, where a lane has it at hand without reading `headers`. */
  userAgent?: string | undefined;
}

/** Every value of one header, in order. `name` is lower case. */
export function valuesOf(headers: readonly string[], name: string): string[] {
  const values: string[] = [];
  for (let at = 0; at < headers.length; at += 2) if (headers[at] === name) values.push(headers[at + 1] ?? "");
  return values;
}
