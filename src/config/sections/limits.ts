/**
 * What may a stranger take of us?
 * Owns: the keys below `limits`, their defaults and bounds, clashes between them, and how they are written out again.
 * Never: says why a default is what it is; docs/limits.md does.
 */
import type * as z from "zod";
import { formatDuration, formatSize } from "../../core/time.ts";
import { coversEverybody, readPeers } from "../values/addresses.ts";
import { block, count, duration, judgeCount, leaf, oneOrMany, size } from "../values/leaves.ts";
import type { LimitsConfig } from "../model.ts";
import type { Warn } from "./resolve-acme.ts";
import type { Resolver } from "../values/secrets.ts";

/** Far above what a home needs, and what one process could hold. */
const MANY = 100_000;

export const limitsSchema = block("What clients may take; docs/limits.md has the reasons.", {
  exempt: oneOrMany(
    "The owner's own addresses: not limited per address, served from the reserve, never shed. Addresses, networks, or loopback, private, lan.",
    leaf({ doc: "An address, a network or a word.", json: { type: "string" } }, readPeers),
    [],
  ),
  connections: count({ doc: "Open client connections.", default: 1_024, min: 8, max: MANY }),
  connectionsReserved: leaf(
    {
      doc: "Of these, kept for private and exempt addresses. Default: a sixteenth, at most 64.",
      example: 64,
      json: { type: "integer", minimum: 0, maximum: MANY },
    },
    (value) => judgeCount(value, { default: 64, min: 0, max: MANY }),
  ).optional(),
  connectionsPerAddress: count({
    doc: "Open connections of one stranger: an IPv4 address or an IPv6 /64.",
    default: 64,
    min: 1,
    max: MANY,
  }),
  connectionsPerNeighbour: count({
    doc: "Open connections of one private address, which may be the router and with it everybody.",
    default: 512,
    min: 1,
    max: MANY,
  }),
  newConnectionsPerAddress: count({
    doc: "New connections of one stranger in ten seconds.",
    default: 200,
    min: 1,
    max: MANY,
  }),
  handshakes: count({ doc: "TLS handshakes under way at once.", default: 256, min: 4, max: MANY }),
  handshakeTime: duration({ doc: "For a TLS handshake.", default: "10s", min: "10ms", max: "5m" }),
  firstByteTime: duration({
    doc: "From the open connection to the first byte of its first request.",
    default: "10s",
    min: "10ms",
    max: "5m",
  }),
  headTime: duration({
    doc: "From the first byte of a request to the end of its head.",
    default: "10s",
    min: "10ms",
    max: "5m",
  }),
  headSize: size({ doc: "A request head.", default: "32KiB", min: "1KiB", max: "1MiB" }),
  headFields: count({ doc: "Header fields of a request.", default: 128, min: 8, max: 1_000 }),
  fieldSize: size({ doc: "One header field, name and value.", default: "16KiB", min: "256B", max: "1MiB" }),
  urlSize: size({ doc: "Path and query of a request.", default: "8KiB", min: "64B", max: "1MiB" }),
  idleTime: duration({
    doc: "Silence between two requests of an HTTP/1.x connection.",
    default: "15s",
    min: "10ms",
    max: "1h",
  }),
  requestsPerConnection: count({
    doc: "Requests over one HTTP/1.x connection, before it has to be made anew.",
    default: 1_000,
    min: 1,
    max: 1_000_000,
  }),
  pipelined: count({
    doc: "Requests sent ahead of the answer that is under way (HTTP/1.x).",
    default: 32,
    min: 1,
    max: 1_000,
  }),
  bodyRate: size({
    doc: "What a request body has to bring in every second, on average over bodyGrace.",
    default: "1KiB",
    min: "1B",
    max: "1MiB",
  }),
  bodyGrace: duration({ doc: "Before this nobody is judged by bodyRate.", default: "30s", min: "10ms", max: "1h" }),
  unreadBody: size({
    doc: "Of a body that nobody wants: read and dropped before the connection is closed.",
    default: "256KiB",
    min: "1B",
    max: "16MiB",
  }),
  writeStall: duration({
    doc: "A client that takes nothing of its answer for this long is cut.",
    default: "60s",
    min: "10ms",
    max: "1h",
  }),
  answerHeadSize: size({ doc: "The head of a target's answer.", default: "64KiB", min: "1KiB", max: "1MiB" }),
  tunnels: count({ doc: "WebSockets and other upgraded connections.", default: 512, min: 1, max: MANY }),
  tunnelsPerAddress: count({ doc: "The same of one stranger.", default: 64, min: 1, max: MANY }),
  h2: block("For each HTTP/2 connection.", {
    streams: count({ doc: "Requests at once.", default: 100, min: 1, max: 1_000 }),
    resets: count({
      doc: "Requests that the client called off or made malformed, in ten seconds.",
      default: 200,
      min: 1,
      max: 100_000,
    }),
    overhead: size({
      doc: "What a client may send beside requests and bodies in ten seconds: PING, SETTINGS, WINDOW_UPDATE, padding.",
      default: "256KiB",
      min: "1KiB",
      max: "1GiB",
    }),
    idleTime: duration({ doc: "Without a request.", default: "60s", min: "10ms", max: "1h" }),
  }),
});

type Declared = z.output<typeof limitsSchema>;

export function resolveLimits(declared: Declared, resolver: Resolver, warn: Warn): LimitsConfig {
  const limits = limitsOf(declared);
  if (coversEverybody(limits.exempt)) {
    warn(["limits", "exempt"], "every client is exempt from the limits per address", "name your own addresses alone");
  }
  if (limits.connectionsReserved >= limits.connections) {
    resolver.report(
      ["connectionsReserved"],
      "leaves strangers no connection",
      "make it less than connections",
      "value",
    );
  }
  return limits;
}

/** What was declared, in the program's units. */
export function limitsOf(declared: Declared): LimitsConfig {
  const { handshakeTime, firstByteTime, headTime, idleTime, bodyGrace, writeStall, h2, ...same } = declared;
  return {
    ...same,
    exempt: [...new Set(declared.exempt.flat())],
    connectionsReserved: same.connectionsReserved ?? Math.min(64, Math.floor(same.connections / 16)),
    handshakeMs: handshakeTime,
    firstByteMs: firstByteTime,
    headMs: headTime,
    idleMs: idleTime,
    bodyGraceMs: bodyGrace,
    writeStallMs: writeStall,
    h2: { streams: h2.streams, resets: h2.resets, overhead: h2.overhead, idleMs: h2.idleTime },
  };
}

export function limitsOut(limits: LimitsConfig) {
  const { handshakeMs, firstByteMs, headMs, idleMs, bodyGraceMs, writeStallMs, h2, ...same } = limits;
  return {
    ...same,
    handshakeTime: formatDuration(handshakeMs),
    firstByteTime: formatDuration(firstByteMs),
    headTime: formatDuration(headMs),
    headSize: formatSize(same.headSize),
    fieldSize: formatSize(same.fieldSize),
    urlSize: formatSize(same.urlSize),
    idleTime: formatDuration(idleMs),
    bodyRate: formatSize(same.bodyRate),
    bodyGrace: formatDuration(bodyGraceMs),
    unreadBody: formatSize(same.unreadBody),
    writeStall: formatDuration(writeStallMs),
    answerHeadSize: formatSize(same.answerHeadSize),
    h2: {
      streams: h2.streams,
      resets: h2.resets,
      overhead: formatSize(h2.overhead),
      idleTime: formatDuration(h2.idleMs),
    },
  };
}
