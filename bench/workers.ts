/**
 * What does a second worker bring?
 * Owns: Gatehouse with `workers: 2` on two cores beside itself with one on one core; what the busiest process needed.
 * Never: asks a rival: the question is Gatehouse's to itself.
 *
 * Where the load is small against the server's work (signatures of a large RSA key), throughput is measured as it is.
 * Where it is not, load and target take what the second worker would need: there it is derived, as what a request costs the
 * busiest process. A worker that gets more than its share is full first, so that counts the spread, too.
 */
import { createPrivateKey, createPublicKey, generateKeyPair } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { CertificateBundle } from "../src/storage/bundles.ts";
import { makeCa } from "../test/support/certificates.ts";
import { CORES } from "./ground.ts";
import { h2load } from "./loads/h2load.ts";
import { handshakes } from "./loads/handshakes.ts";
import type { Load } from "./loads/load.ts";
import { costOf, EACH, type Measure } from "./measure.ts";
import { cpuSecondsOfEach } from "./processes.ts";
import { gatehouse } from "./rivals/gatehouse.ts";
import type { Rival } from "./rivals/rival.ts";

export const ONE_WORKER = "one worker";
/** Of one worker's cost: 1.8 times its throughput. */
export const AIM_OF_ITS_COST = 1 / 1.8;
const TWO = 2;
/** Nobody has such a key: a signature costs so much (15 ms) that the client with its half millisecond does not count. */
const BITS = 6_144;
const BITS_IN_SMOKE = 2_048;
/** For each worker: far from its limit, so that a worker with more connections does more, and none waits for the load. */
const PER_SECOND_EACH = 8_000;
/** Takes ten seconds to make, so it is kept. */
const CACHE = join(import.meta.dirname, "../.cache/bench");

/** "gatehouse" has two workers, and so has "base". */
export function workerRivals(options: { entry: string; base: string | undefined; bundle: CertificateBundle }): Rival[] {
  const { bundle } = options;
  const of = (name: string, entry: string, workers: number): Rival => {
    const known = gatehouse({ name, entry, bundle, more: `workers: ${workers}\n` });
    return {
      ...known,
      // One is tied to a core as everywhere else; two may take all there are.
      start: (ground) => known.start({ ...ground, workers, core: workers === 1 ? ground.core : undefined }),
    };
  };
  return [
    of("gatehouse", options.entry, TWO),
    ...(options.base === undefined ? [] : [of("base", options.base, TWO)]),
    of(ONE_WORKER, options.entry, 1),
  ];
}

/** A certificate for the same name that makes the server work. */
export async function laboriousBundle({ name }: CertificateBundle, isSmoke: boolean): Promise<CertificateBundle> {
  const bits = isSmoke ? BITS_IN_SMOKE : BITS;
  const file = join(CACHE, `rsa-${bits}.pem`);
  if (!existsSync(file)) {
    const { privateKey } = await promisify(generateKeyPair)("rsa", { modulusLength: bits });
    mkdirSync(CACHE, { recursive: true });
    writeFileSync(file, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  }
  const key = createPrivateKey(readFileSync(file));
  const kind = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  const keys = {
    privateKey: key.toCryptoKey(kind, true, ["sign"]),
    publicKey: createPublicKey(key).toCryptoKey(kind, true, ["verify"]),
  };
  return (await makeCa({ name: "Bench CA" })).issueBundle({ names: [name], days: 90, keys });
}

/**
 * Two workers share both cores with load and target. So one worker shares its core with its load: alone on it, with all of
 * its cache, a request costs a third less, and so do those of two workers.
 */
const beside =
  (load: Load, core: number | undefined): Load =>
  (front, amount) =>
    load({ ...front, core }, amount);

/** Cost: microseconds from one handshake to the next; facts: CPU time of each, the spread over the processes. */
export function workerHandshakes(connections: number, smokeCount: number): Measure {
  const measure = spread(beside(handshakes({ isResumed: false, connections }), undefined), smokeCount);
  return async (at) => {
    const round = await measure(at);
    return { ...round, cost: 1e6 / round.perSecond, facts: { ...round.facts, cpuMicros: round.cost } };
  };
}

/** Cost: CPU time of the busiest process per request of all. */
export function workerRequests(connectionsEach: number, smokeCount: number): Measure {
  const of = (workers: number, core: number | undefined): Measure => {
    const connections = connectionsEach * workers;
    const small = { protocol: "h1", paths: ["/bytes/1024"], answerBytes: 1024 } as const;
    const load = h2load({ ...small, connections, threads: workers, perSecond: PER_SECOND_EACH * workers });
    return spread(beside(load, core), smokeCount);
  };
  const [one, two] = [of(1, CORES.rival), of(TWO, undefined)];
  return async (at) => {
    const round = await (at.rival.name === ONE_WORKER ? one : two)(at);
    const share = (round.facts["busiestPercent"] ?? 100) / 100;
    return { ...round, cost: round.cost * share, facts: { ...round.facts, cpuMicros: round.cost } };
  };
}

/** `busiestPercent`: of all CPU time of the program, how much was the busiest process's? */
function spread(load: Load, smokeCount: number): Measure {
  return async (at) => {
    let before = new Map<number, number>();
    const measure = costOf(
      async (front, amount) => {
        before = cpuSecondsOfEach(at.rival.pid);
        return load(front, amount);
      },
      EACH,
      smokeCount,
    );
    const round = await measure(at);
    const spent = [...cpuSecondsOfEach(at.rival.pid)].map(([pid, seconds]) => seconds - (before.get(pid) ?? 0));
    const all = spent.reduce((sum, seconds) => sum + seconds, 0);
    return { ...round, facts: { busiestPercent: all === 0 ? 100 : (Math.max(...spent) / all) * 100 } };
  };
}
