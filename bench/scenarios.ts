/**
 * What is asked of the proxies?
 * Owns: the scenarios as data: question, load, unit of cost, and what Gatehouse aims at.
 * Never: measures.
 */
import { h2load } from "./loads/h2load.ts";
import { handshakes } from "./loads/handshakes.ts";
import type { Load, LoadResult } from "./loads/load.ts";
import { websocketEcho } from "./loads/websocket.ts";

/** What CPU time is divided by, and how the quotient is written. */
export interface Unit {
  /** µs/request */
  name: string;
  perSecond: number;
  of(result: LoadResult): number;
}

export interface Scenario {
  name: string;
  question: string;
  unit: Unit;
  load: Load;
  needsH2?: boolean;
  /** Gatehouse's cost over this rival's, at most. */
  aims?: Readonly<Record<string, number>>;
  /** How much a smoke does of it. */
  smokeCount: number;
}

const microsecondsPer = (what: string): Unit => ({
  name: `µs/${what}`,
  perSecond: 1e6,
  of: (result) => result.done,
});
const PER_GB: Unit = { name: "ms/GB", perSecond: 1e3, of: (result) => result.bodyBytes / 1e9 };
const REQUEST = microsecondsPer("request");
const HANDSHAKE = microsecondsPer("handshake");

const TEN_MB = 10_000_000;

export const SCENARIOS: readonly Scenario[] = [
  {
    name: "small-h1",
    question: "What does a small GET cost over kept HTTP/1.1 connections?",
    unit: REQUEST,
    load: h2load({ protocol: "h1", connections: 64, paths: ["/bytes/1024"], answerBytes: 1024 }),
    aims: { nginx: 1.5, caddy: 0.45, "http-proxy": 0.35 },
    smokeCount: 64,
  },
  {
    name: "small-h2",
    question: "What does a small GET cost over HTTP/2, 16 streams on each of four connections?",
    unit: REQUEST,
    load: h2load({ protocol: "h2", connections: 4, streams: 16, paths: ["/bytes/1024"], answerBytes: 1024 }),
    needsH2: true,
    aims: { nginx: 1.7, caddy: 0.3 },
    smokeCount: 64,
  },
  {
    name: "steady-h1",
    question: "How long does a small GET take at 2,000 a second, far from anybody's limit?",
    unit: REQUEST,
    load: h2load({ protocol: "h1", connections: 20, paths: ["/bytes/1024"], answerBytes: 1024, perSecond: 2000 }),
    smokeCount: 40,
  },
  {
    name: "64kb-h1",
    question: "What does an answer of 64 KB cost?",
    unit: REQUEST,
    load: h2load({ protocol: "h1", connections: 16, paths: ["/bytes/65536"], answerBytes: 65_536 }),
    smokeCount: 32,
  },
  {
    name: "download",
    question: "What does a GB cost in downloads of 10 MB?",
    unit: PER_GB,
    load: h2load({ protocol: "h1", connections: 4, paths: [`/bytes/${TEN_MB}`], answerBytes: TEN_MB }),
    aims: { nginx: 1.1 },
    smokeCount: 4,
  },
  {
    name: "upload",
    question: "What does a GB cost in uploads of 10 MB?",
    unit: PER_GB,
    load: h2load({ protocol: "h1", connections: 4, paths: ["/upload"], answerBytes: 2, uploadBytes: TEN_MB }),
    aims: { nginx: 1.1 },
    smokeCount: 4,
  },
  {
    name: "handshake-full",
    question: "What does a full TLS 1.3 handshake cost (ECDSA P-256, X25519)?",
    unit: HANDSHAKE,
    load: handshakes({ isResumed: false, connections: 8 }),
    aims: { nginx: 1.4 },
    smokeCount: 16,
  },
  {
    name: "handshake-resumed",
    question: "What does a resumed TLS 1.3 handshake cost (ticket, X25519)?",
    unit: HANDSHAKE,
    load: handshakes({ isResumed: true, connections: 8 }),
    aims: { nginx: 1.5 },
    smokeCount: 16,
  },
  {
    name: "websocket",
    question: "What does a WebSocket message of 128 bytes and its echo cost?",
    unit: microsecondsPer("echo"),
    load: websocketEcho({ connections: 32, bytes: 128 }),
    aims: { nginx: 1.3 },
    smokeCount: 320,
  },
];
