/**
 * In which order are things looked at, and what if a look takes too long?
 * Owns: the list of checks, a deadline for each, and the words for a check that could not be made.
 * Never: changes anything, here or in the router or in DNS.
 */
import { randomBytes } from "node:crypto";
import { isIP } from "node:net";
import { errorText } from "../core/errors.ts";
import { findGateway, type Gateway } from "../network/gateway.ts";
import { lookAtPublicAddress, type PublicAddress } from "../network/public-ip.ts";
import { linkToRouter } from "../network/router-link.ts";
import { lookAtAcmePath } from "./acme-path.ts";
import { lookAtNames, type NamesLook } from "./addresses-of-names.ts";
import { askHttps, type HttpsAnswer } from "./ask-ca.ts";
import { lookAtCaa } from "./caa.ts";
import { lookAtCertificates } from "./certificates.ts";
import { lookAtClients } from "./clients.ts";
import { lookAtClock } from "./clock.ts";
import { lookAtDynamicDns } from "./dynamic-dns.ts";
import { type CheckName, type Finding, type Note, note, type Report, reportOf, underCheck } from "./finding.ts";
import { lookAtGateway, lookAtPublic, lookAtRouter, ownPublic } from "./home.ts";
import { lookAtIpv6 } from "./ipv6.ts";
import { lookAtLan } from "./lan.ts";
import { lookAtListening } from "./listening.ts";
import { lookAtLoopback } from "./loopback.ts";
import { lookFromOutside } from "./outside.ts";
import { lookAtRateLimits } from "./rate-limits.ts";
import { configurationNotes, runningNotes, type Surroundings } from "./running.ts";
import { lookAtTargets, type TargetsLook } from "./targets.ts";
import { lookAtWebSockets } from "./websocket.ts";

/** Longer than the slowest look inside a check, a router that is asked by PCP (10 s) or a prober that waits for us (12 s). */
const CHECK_WITHIN_MS = 15_000;
/** A CA looks from several places and may be asked again. */
const REHEARSAL_WITHIN_MS = 120_000;

type Notes = Promise<readonly Note[]> | readonly Note[];
type Look = (bound: AbortSignal) => Notes;

export async function lookAtEverything(around: Surroundings): Promise<Report> {
  const { config, running, rehearse, witnesses, only, signal } = around;
  const sites = config.sites.filter(({ name }) => only === undefined || name === only);
  // An address is not in DNS.
  const names = sites.flatMap(({ name, names: further = [] }) => [name, ...further]).filter((name) => isIP(name) === 0);
  const own = sites.filter(({ passthrough }) => passthrough === undefined).map(({ name }) => name);

  const home = await withDeadline(() => findGateway(), signal).catch(() => undefined);
  const reached = await withDeadline((bound) => reachedByRouter(around, home, bound), signal).catch(() => undefined);
  const seen = await withDeadline(
    (bound) => seenFromOutside(around, home, reached?.externalAddress, bound),
    signal,
  ).catch(() => undefined);

  // What more than one check needs is looked at once; whoever waits for it says so when it failed.
  const { directoryUrl } = config.acme;
  const directory = once<HttpsAnswer>(() =>
    directoryUrl === undefined ? Promise.reject(new Error("no CA outside")) : askHttps(directoryUrl, signal),
  );
  const targets = once<TargetsLook>((bound) => lookAtTargets(sites, bound));
  const dns = once<NamesLook>((bound) => lookAtNames(config, names, seen, bound));
  const loopback = once<Note[]>((bound) => lookAtLoopback({ sites, home, seen, running, signal: bound }));
  const hasLoopback = async (): Promise<boolean> =>
    (await loopback(signal).catch(() => [])).some(({ code }) => code === "LOOPBACK_WORKS");
  const httpsUrls = [directoryUrl, ...witnesses.map((one) => (one.kind === "https" ? one.url : undefined))];
  const [first] = own;

  const checks: [CheckName, Look, (number | undefined)?][] = [
    ["configuration", () => configurationNotes(around)],
    ["listening", (bound) => lookAtListening(config, running?.listeners, bound)],
    ["running", () => runningNotes(around)],
    ["clock", (bound) => lookAtClock(config, witnesses, () => directory(bound), bound)],
    ["target", async (bound) => (await targets(bound)).notes],
    ["websocket", async (bound) => lookAtWebSockets((await targets(bound)).answered, running, bound)],
    ["lan", (bound) => lookAtLan({ home, state: config.state, router: running?.router, signal: bound })],
    ["gateway", () => lookAtGateway(home)],
    ["router", () => lookAtRouter(config, running?.router, reached)],
    ["public-address", () => lookAtPublic(seen)],
    ["ddns", () => lookAtDynamicDns(keptNames(around), running?.ddns, only)],
    ["dns", async (bound) => (await dns(bound)).notes],
    ["caa", async (bound) => lookAtCaa(config, own, await directory(bound).catch(() => undefined), bound)],
    [
      "acme-path",
      async (bound) =>
        lookAtAcmePath({
          config,
          name: first,
          running,
          publicAddress: seen?.ipv4,
          hasLoopback: await hasLoopback(),
          signal: bound,
        }),
    ],
    [
      "outside",
      (bound) =>
        lookFromOutside({
          config,
          running,
          ownAddress: home?.ownAddress,
          publicAddress: seen?.ipv4,
          rehearse: rehearse === undefined || first === undefined ? undefined : () => rehearse(first),
          signal: bound,
        }),
      rehearse === undefined ? undefined : REHEARSAL_WITHIN_MS,
    ],
    ["certificate", (bound) => lookAtCertificates(sites, running, bound)],
    ["rate-limits", () => lookAtRateLimits(config, own, running)],
    ["loopback", (bound) => loopback(bound)],
    [
      "ipv6",
      async (bound) =>
        lookAtIpv6({
          own: seen?.ipv6,
          shown: (await dns(bound).catch(() => undefined))?.shown ?? new Map(),
          urls: httpsUrls.filter((url) => url !== undefined),
          signal: bound,
        }),
    ],
  ];
  const looked = await Promise.all(
    checks.map(([name, look, withinMs]) => made(name, look, signal, withinMs ?? CHECK_WITHIN_MS)),
  );
  // By itself: what others knock at meanwhile would be counted as well.
  const { prober } = config.doctor;
  const clients = await made(
    "clients",
    (bound) => lookAtClients({ prober, visitors: around.visitors, router: home?.address, signal: bound }),
    signal,
    CHECK_WITHIN_MS,
  );
  return reportOf([...looked.flat(), ...clients]);
}

const keptNames = ({ config, only }: Surroundings): string[] =>
  (config.ddns?.names ?? []).map(({ name }) => name).filter((name) => only === undefined || name === only);

/** A report without the rest: nothing else can be looked at before the file can be read. */
export const unreadable = (seen: string, next: string): Report =>
  reportOf(
    underCheck("configuration", [
      note("error", "CONFIG_INVALID", { seen, why: "A file that cannot be taken is not served.", next }),
    ]),
  );

async function made(name: CheckName, look: Look, signal: AbortSignal, withinMs: number): Promise<Finding[]> {
  try {
    return underCheck(name, await withDeadline(async (bound) => look(bound), signal, withinMs));
  } catch (error) {
    signal.throwIfAborted();
    const seen = `${name} could not be looked at: ${errorText(error)}.`;
    return underCheck(name, [note("unknown", "NOT_LOOKED_AT", { seen })]);
  }
}

/** Looked at for the first who asks; the others share it. */
function once<T>(look: (bound: AbortSignal) => Promise<T>): (bound: AbortSignal) => Promise<T> {
  let result: Promise<T> | undefined;
  return (bound) => (result ??= look(bound));
}

async function withDeadline<T>(
  work: (bound: AbortSignal) => Promise<T>,
  signal: AbortSignal,
  withinMs = CHECK_WITHIN_MS,
): Promise<T> {
  const late = new AbortController();
  const bound = AbortSignal.any([signal, late.signal]);
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.abort(new Error(`it took longer than ${withinMs / 1000} s`)), withinMs);
  const stop = (): void => reject(bound.reason instanceof Error ? bound.reason : new Error("stopped"));
  bound.addEventListener("abort", stop, { once: true });
  try {
    signal.throwIfAborted();
    return await Promise.race([work(bound), promise]);
  } finally {
    clearTimeout(timer);
    bound.removeEventListener("abort", stop);
  }
}

/** What the router tells: by way of the running Gatehouse, else asked here; both only read. */
export interface Reached {
  speaks: string | undefined;
  externalAddress: string | undefined;
  error: string | undefined;
}

async function reachedByRouter(
  { config, running }: Surroundings,
  home: Gateway | undefined,
  signal: AbortSignal,
): Promise<Reached | undefined> {
  if (running !== undefined && running.router.map !== "off") {
    const { speaks, externalAddress, error } = running.router;
    return { speaks, externalAddress, error: error?.message };
  }
  // off means that the router is not asked, by nobody of us.
  if (home === undefined || config.router.map === "off") return undefined;
  try {
    const link = await linkToRouter({
      gateway: home,
      protocols: config.router.map === "auto" ? ["pcp", "nat-pmp", "upnp"] : [config.router.map],
      secret: randomBytes(32),
      signal,
    });
    const { externalAddress } = await link.speaker.state(signal);
    return { speaks: link.speaker.speaks, externalAddress, error: undefined };
  } catch (error) {
    signal.throwIfAborted();
    return { speaks: undefined, externalAddress: undefined, error: errorText(error) };
  }
}

const seenFromOutside = (
  { witnesses }: Surroundings,
  home: Gateway | undefined,
  routerAddress: string | undefined,
  signal: AbortSignal,
): Promise<PublicAddress> =>
  lookAtPublicAddress({
    routerAddress: ownPublic(home) ?? routerAddress,
    witnesses,
    signal,
    ...(home === undefined ? {} : { interface: home.interface }),
  });
