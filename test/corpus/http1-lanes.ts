/**
 * Which ways into the house can take an HTTP/1.x case of the corpus?
 * Owns: the list of lanes, each with two sites, a recording target and a client for it.
 * Never: judges an outcome.
 */
import { readFileSync } from "node:fs";
import type { TestContext } from "node:test";
import type { SiteConfig } from "../../src/config/model.ts";
import { startFront } from "../support/front-home.ts";
import { proxyConfig, type Recorded, siteConfig, startLane, targetConfig } from "../support/proxy-lane.ts";
import { type RawClient, rawClient } from "../support/raw-client.ts";
import { type RecordingTarget, startRecordingTarget } from "../support/recording-target.ts";

export interface Case {
  id: string;
  title: string;
  /** Base64 of what the client writes. */
  bytes: string;
  expected: string;
}

export interface Outcome {
  id: string;
  /** Status of every answer in order, informational ones included. */
  answers: number[];
  connection: "open" | "closed";
  /** What reached the target, in order. */
  target: { method: string; target: string; host: string; framing: string; bodyBytes: number }[];
  /** Fields of the target's first request. */
  headers?: { absent?: string[]; is?: Record<string, string> };
  /** Over TLS, where it differs: a connection for a.test does not open another site. */
  overTls?: Pick<Outcome, "answers" | "connection" | "target">;
}

const read = (name: string): unknown => JSON.parse(readFileSync(new URL(`data/${name}`, import.meta.url), "utf8"));

/** The corpus as it was given, then our own finds. */
export const cases = [...(read("http1-requests.json") as Case[]), ...(read("own-requests.json") as Case[])];
export const outcomes = new Map(
  [...(read("http1-outcomes.json") as Outcome[]), ...(read("own-outcomes.json") as Outcome[])].map((one) => [
    one.id,
    one,
  ]),
);

export interface OpenLane {
  recorded: Recorded;
  connect(t: TestContext): RawClient;
}

export interface Http1Lane {
  name: string;
  isTls: boolean;
  open(t: TestContext, sites: readonly SiteConfig[]): Promise<OpenLane>;
}

export const lanes: readonly Http1Lane[] = [
  {
    name: "the compat lane",
    isTls: false,
    async open(t, sites) {
      const { port, recorded } = await startLane(t, proxyConfig(sites));
      return { recorded, connect: (t) => rawClient(t, port) };
    },
  },
  {
    name: "the front over TLS",
    isTls: true,
    async open(t, sites) {
      const { httpsPort, recorded } = await startFront(t, sites);
      return { recorded, connect: (t) => rawClient(t, httpsPort, "a.test") };
    },
  },
];

export interface RunningHttp1 extends OpenLane {
  target: RecordingTarget;
}

/** A lane with a.test and b.test, both at one recording target. */
export async function startHttp1(t: TestContext, lane: Http1Lane): Promise<RunningHttp1> {
  const target = await startRecordingTarget(t);
  const sites = ["a.test", "b.test"].map((name) => siteConfig(name, targetConfig(target.port)));
  return { target, ...(await lane.open(t, sites)) };
}

export function outcomeOf(one: Case, lane: Http1Lane): Outcome {
  const outcome = outcomes.get(one.id);
  if (outcome === undefined) throw new Error(`${one.id} has no pinned outcome`);
  return lane.isTls ? { ...outcome, ...outcome.overTls } : outcome;
}

export const bytesOf = (one: Case): Buffer => Buffer.from(one.bytes, "base64");

/** How the answers are to be read: those to HEAD have no body. */
export const methodsOf = (one: Case): string[] => (bytesOf(one).toString("latin1", 0, 5) === "HEAD " ? ["HEAD"] : []);
