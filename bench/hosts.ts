/**
 * Does it matter how many hosts are configured?
 * Owns: two Gatehouses, one with ten hosts, one with ten thousand; a reload in the middle of requests.
 * Never: asks a rival: the question is Gatehouse's to itself.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CertificateBundle } from "../src/storage/bundles.ts";
import { makeCa } from "../test/support/certificates.ts";
import { h2load } from "./loads/h2load.ts";
import { costOf, type Measure, pause } from "./measure.ts";
import { cpuSecondsOf } from "./processes.ts";
import { gatehouse, saveBundles } from "./rivals/gatehouse.ts";
import type { Rival } from "./rivals/rival.ts";

export const TEN_HOSTS = "ten hosts";
const MANY = 10_000;
const MANY_IN_SMOKE = 40;
/** Ten thousand certificates take a minute to make, so they are kept: made anew when this many days are gone. */
const KEPT_DAYS = 30;
const DAY_MS = 86_400_000;

const CACHE = join(import.meta.dirname, "../.cache/bench");

/** "gatehouse" has the many. */
export function hostRivals(options: { entry: string; bundle: CertificateBundle; isSmoke: boolean }): Rival[] {
  const of = (name: string, count: number): Rival => {
    const names = Array.from({ length: count - 1 }, (_, index) => `h${index}.example.org`);
    const state = join(CACHE, `hosts-${count}`);
    const known = gatehouse({ ...options, name, sites: names, state });
    return {
      ...known,
      async start(ground) {
        await prepareCertificates(state, [...names, ADDED_HOST]);
        return known.start(ground);
      },
    };
  };
  return [of("gatehouse", options.isSmoke ? MANY_IN_SMOKE : MANY), of(TEN_HOSTS, 10)];
}

/** Comes with the reload; its certificate is there already. */
const ADDED_HOST = "added.example.org";

async function prepareCertificates(state: string, names: readonly string[]): Promise<void> {
  const stamp = join(state, "made");
  const isFresh = existsSync(stamp) && Date.now() - Number(readFileSync(stamp, "utf8")) < KEPT_DAYS * DAY_MS;
  if (isFresh) return;
  mkdirSync(state, { recursive: true, mode: 0o700 });
  const ca = await makeCa({ name: "Bench CA" });
  for (let at = 0; at < names.length; at += 100) {
    const some = names.slice(at, at + 100).map((name) => ca.issueBundle({ names: [name], days: 90 }));
    await saveBundles(state, await Promise.all(some));
  }
  writeFileSync(stamp, String(Date.now()));
}

const small = { protocol: "h1", paths: ["/bytes/1024"], answerBytes: 1024 } as const;
const steady = h2load({ ...small, connections: 10, perSecond: 500 });
const RELOAD_WITHIN_MS = 30_000;
const PROBE_SECONDS = 4;
const LOOK_EVERY_MS = 10;
const CALM_WITHIN_SECONDS = 60;

/** Cost: CPU time of a small request; facts: start, its CPU time, reload, and the slowest answer while that ran. */
export function hostsCost(): Measure {
  const cost = costOf(h2load({ ...small, connections: 64 }), { perSecond: 1e6, of: (result) => result.done }, 64);
  return async (at) => {
    const isSmoke = at.seconds === undefined;
    if (!isSmoke) await calm(at.rival.pid);
    const round = await cost(at);
    const probe = steady(at.front, isSmoke ? { count: 50 } : { seconds: PROBE_SECONDS });
    await pause(isSmoke ? 20 : 1_000);
    const reloadMs = await reload(at.rival.configFile ?? "", at.rival.pid, at.rival.logFile);
    const { latency } = await probe;
    return {
      ...round,
      facts: { startMs: at.rival.startMs ?? 0, startCpuMs: at.rival.startCpuMs ?? 0, reloadMs, slowestMs: latency.max },
    };
  };
}

/** Behind the start, the scheduler reads when each certificate is due; requests are measured after that. */
async function calm(pid: number): Promise<void> {
  let before = cpuSecondsOf(pid);
  for (let second = 0; second < CALM_WITHIN_SECONDS; second++) {
    await pause(1_000);
    const now = cpuSecondsOf(pid);
    if (now - before < 0.05) return;
    before = now;
  }
}

async function reload(configFile: string, pid: number, logFile: string): Promise<number> {
  const text = readFileSync(configFile, "utf8");
  const line = /^ {2}bench\.example\.org: (.*)$/m.exec(text)?.[1] ?? "";
  const seen = readFileSync(logFile).length;
  writeFileSync(`${configFile}.new`, `${text}  ${ADDED_HOST}: ${line}\n`);
  renameSync(`${configFile}.new`, configFile);
  const begun = performance.now();
  process.kill(pid, "SIGHUP");
  while (performance.now() - begun < RELOAD_WITHIN_MS) {
    await pause(LOOK_EVERY_MS);
    if (readFileSync(logFile).subarray(seen).includes('"config.reloaded"')) return performance.now() - begun;
  }
  throw new Error(`no reload within ${RELOAD_WITHIN_MS} ms`);
}
