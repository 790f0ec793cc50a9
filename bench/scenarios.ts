/**
 * What is asked of the proxies?
 * Owns: the scenarios as data: question, how it is measured, unit of cost, and what Gatehouse aims at.
 * Never: measures.
 */
import { forwardCost } from "./forward.ts";
import { hostsCost, TEN_HOSTS } from "./hosts.ts";
import { idleMemory } from "./idle.ts";
import { h2load } from "./loads/h2load.ts";
import { handshakes } from "./loads/handshakes.ts";
import type { LoadResult } from "./loads/load.ts";
import { websocketEcho } from "./loads/websocket.ts";
import { costOf, EACH, type Measure, type Unit } from "./measure.ts";
import { pageAssets } from "./page.ts";
import { AIM_OF_ITS_COST, ONE_WORKER, workerHandshakes, workerRequests } from "./workers.ts";

export interface Scenario {
  name: string;
  question: string;
  /** Of the cost, as it is written. */
  unit: string;
  measure: Measure;
  needsH2?: boolean;
  /** Gatehouse's cost over this rival's, at most. */
  aims?: Readonly<Record<string, number>>;
  /** The same for the slowest of a hundred answers. */
  p99Aims?: Readonly<Record<string, number>>;
  /** Each round starts its own process instead of going on with the one that served the scenarios before. */
  isFreshEachRound?: boolean;
  /** Others than the usual rivals: Gatehouse with ten hosts; those who forward ports. */
  contest?: "hosts" | "forward" | "workers";
  /** The certificate has a key that makes the server work. */
  isLaborious?: boolean;
}

const PER_GB: Unit = { perSecond: 1e3, of: (result: LoadResult) => result.bodyBytes / 1e9 };

const TEN_MB = 10_000_000;
const small = { paths: ["/bytes/1024"], answerBytes: 1024 };
const page = pageAssets();

export const SCENARIOS: readonly Scenario[] = [
  {
    name: "small-h1",
    question: "What does a small GET cost over kept HTTP/1.1 connections?",
    unit: "µs/request",
    measure: costOf(h2load({ protocol: "h1", connections: 64, ...small }), EACH, 64),
    aims: { nginx: 1.5, caddy: 0.45, "http-proxy": 0.35 },
  },
  {
    name: "small-h2",
    question: "What does a small GET cost over HTTP/2, 16 streams on each of four connections?",
    unit: "µs/request",
    measure: costOf(h2load({ protocol: "h2", connections: 4, streams: 16, ...small }), EACH, 64),
    needsH2: true,
    aims: { nginx: 1.7, caddy: 0.3 },
  },
  {
    name: "steady-h1",
    question: "How long does a small GET take when all have 3,000 a second, half of what Caddy can?",
    unit: "µs/request",
    measure: costOf(h2load({ protocol: "h1", connections: 20, perSecond: 3000, ...small }), EACH, 40),
    p99Aims: { caddy: 1 },
  },
  {
    name: "64kb-h1",
    question: "What does an answer of 64 KB cost?",
    unit: "µs/request",
    measure: costOf(
      h2load({ protocol: "h1", connections: 16, paths: ["/bytes/65536"], answerBytes: 65_536 }),
      EACH,
      32,
    ),
  },
  {
    name: "page",
    question: "What does a page of a hundred assets (2.3 MB, like Home Assistant's) cost over HTTP/2?",
    unit: "ms/page",
    measure: costOf(
      h2load({ protocol: "h2", connections: 4, streams: 32, paths: page.paths, answerBytes: page.averageBytes }),
      { perSecond: 1e3, of: (result) => result.done / page.paths.length },
      200,
    ),
    needsH2: true,
  },
  {
    name: "download",
    question: "What does a GB cost in downloads of 10 MB?",
    unit: "ms/GB",
    measure: costOf(
      h2load({ protocol: "h1", connections: 4, paths: [`/bytes/${TEN_MB}`], answerBytes: TEN_MB }),
      PER_GB,
      4,
    ),
    aims: { nginx: 1.1 },
  },
  {
    name: "upload",
    question: "What does a GB cost in uploads of 10 MB?",
    unit: "ms/GB",
    measure: costOf(
      h2load({ protocol: "h1", connections: 4, paths: ["/upload"], answerBytes: 2, uploadBytes: TEN_MB }),
      PER_GB,
      4,
    ),
    aims: { nginx: 1.1 },
  },
  {
    name: "handshake-full",
    question: "What does a full TLS 1.3 handshake cost (ECDSA P-256, X25519)?",
    unit: "µs/handshake",
    measure: costOf(handshakes({ isResumed: false, connections: 8 }), EACH, 16),
    aims: { nginx: 1.4 },
  },
  {
    name: "handshake-resumed",
    question: "What does a resumed TLS 1.3 handshake cost (ticket, X25519)?",
    unit: "µs/handshake",
    measure: costOf(handshakes({ isResumed: true, connections: 8 }), EACH, 16),
    aims: { nginx: 1.5 },
  },
  {
    name: "websocket",
    question: "What does a WebSocket message of 128 bytes and its echo cost?",
    unit: "µs/echo",
    measure: costOf(websocketEcho({ connections: 32, bytes: 128 }), EACH, 320),
    aims: { nginx: 1.3 },
  },
  {
    name: "forward",
    question: "What does a GB through a forwarded TCP port cost, the mean of both directions?",
    unit: "ms/GB",
    measure: forwardCost(),
    // 0.8 of socat's throughput and half of HAProxy's, said as cost.
    aims: { socat: 1.25, haproxy: 2 },
    isFreshEachRound: true,
    contest: "forward",
  },
  {
    name: "idle",
    question: "How much memory does an idle TLS connection hold (2,000 of them, one request each)?",
    unit: "KB/connection",
    measure: idleMemory(2_000),
    isFreshEachRound: true,
  },
  {
    name: "hosts",
    question: "Does it matter whether ten hosts are configured or ten thousand?",
    unit: "µs/request",
    measure: hostsCost(),
    aims: { [TEN_HOSTS]: 1.05 },
    isFreshEachRound: true,
    contest: "hosts",
  },
  {
    name: "workers",
    question: "What does a small GET cost the busiest process, with two workers and with one?",
    unit: "µs/request",
    measure: workerRequests(64, 64),
    aims: { [ONE_WORKER]: AIM_OF_ITS_COST },
    contest: "workers",
  },
  {
    name: "workers-handshake",
    question: "How long from one full handshake to the next (RSA, 6,144 bits), with two workers and with one?",
    unit: "µs/handshake",
    measure: workerHandshakes(16, 16),
    aims: { [ONE_WORKER]: AIM_OF_ITS_COST },
    contest: "workers",
    isLaborious: true,
  },
];
