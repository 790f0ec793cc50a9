/**
 * In which order are things looked at, and what if a look takes too long?
 * Owns: the list of checks, a deadline for each, and the words for a check that could not be made.
 * Never: changes anything, here or in the router or in DNS.
 */
import { isIP } from "node:net";
import { randomBytes } from "node:crypto";
import type { CertificateStatus } from "../acme/certificate-status.ts";
import type { Config } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import { findGateway, type Gateway } from "../network/gateway.ts";
import { lookAtPublicAddress, type PublicAddress, type Witness } from "../network/public-ip.ts";
import { linkToRouter } from "../network/router-link.ts";
import type { RouterReport } from "../network/router-report.ts";
import { lookAtCertificates } from "./certificates.ts";
import { lookAtClock } from "./clock.ts";
import { lookAtNames } from "./addresses-of-names.ts";
import { type CheckName, type Finding, type Note, note, type Report, reportOf, underCheck } from "./finding.ts";
import { lookAtGateway, lookAtLan, lookAtPublic, lookAtRouter, ownPublic } from "./home.ts";
import { lookAtListening } from "./listening.ts";
import { lookAtLoopback } from "./loopback.ts";
import { lookAtTargets } from "./targets.ts";

/** What a running Gatehouse says of itself. */
export interface Running {
  listeners: readonly { kind: "https" | "http" | "metrics"; host: string; port: number }[];
  certificates: readonly CertificateStatus[];
  router: RouterReport;
}

export interface Surroundings {
  config: Config;
  /** What the file is warned about, a line each. */
  warnings: readonly string[];
  running: Running | undefined;
  /** Why `running` is undefined. */
  notRunning: { message: string; next: string; isExpected: boolean } | undefined;
  /** One name alone; undefined: all. */
  only: string | undefined;
  witnesses: readonly Witness[];
  signal: AbortSignal;
}

/** Longer than the slowest look inside a check, a router that is asked by PCP (10 s). */
const CHECK_WITHIN_MS = 15_000;

export async function lookAtEverything(around: Surroundings): Promise<Report> {
  const { config, running, signal } = around;
  const sites = config.sites.filter(({ name }) => around.only === undefined || name === around.only);
  const names = sites.map(({ name }) => name);

  const home = await withDeadline(() => findGateway(), signal).catch(() => undefined);
  const reached = await withDeadline((bound) => reachedByRouter(around, home, bound), signal).catch(() => undefined);
  const seen = await withDeadline(
    (bound) => seenFromOutside(around, home, reached?.externalAddress, bound),
    signal,
  ).catch(() => undefined);

  const checks: [CheckName, (bound: AbortSignal) => Promise<readonly Note[]> | readonly Note[]][] = [
    ["configuration", () => configurationNotes(around)],
    ["running", () => runningNotes(around)],
    ["clock", (bound) => lookAtClock(config, around.witnesses, bound)],
    ["listening", (bound) => lookAtListening(config, running?.listeners, bound)],
    ["target", (bound) => lookAtTargets(sites, bound)],
    ["certificate", (bound) => lookAtCertificates(sites, running, bound)],
    ["lan", (bound) => lookAtLan(home, bound)],
    ["gateway", () => lookAtGateway(home)],
    ["router", () => lookAtRouter(config, running?.router, reached)],
    ["public-address", () => lookAtPublic(seen)],
    // An address is not in DNS.
    [
      "dns",
      (bound) =>
        lookAtNames(
          config,
          names.filter((name) => isIP(name) === 0),
          seen,
          bound,
        ),
    ],
    ["loopback", (bound) => lookAtLoopback({ sites, home, seen, running, signal: bound })],
    ["outside", () => outsideNotes(config)],
  ];
  const looked = await Promise.all(checks.map(([name, look]) => made(name, look, signal)));
  return reportOf(looked.flat());
}

/** A report without the rest: nothing else can be looked at before the file can be read. */
export const unreadable = (seen: string, next: string): Report =>
  reportOf(
    underCheck("configuration", [
      note("error", "CONFIG_INVALID", { seen, why: "A file that cannot be taken is not served.", next }),
    ]),
  );

async function made(
  name: CheckName,
  look: (bound: AbortSignal) => Promise<readonly Note[]> | readonly Note[],
  signal: AbortSignal,
): Promise<Finding[]> {
  try {
    return underCheck(name, await withDeadline(async (bound) => look(bound), signal));
  } catch (error) {
    signal.throwIfAborted();
    const code = `${name.toUpperCase().replace("-", "_")}_NOT_LOOKED_AT`;
    return underCheck(name, [note("unknown", code, { seen: `Could not be looked at: ${errorText(error)}.` })]);
  }
}

async function withDeadline<T>(work: (bound: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
  const late = new AbortController();
  const bound = AbortSignal.any([signal, late.signal]);
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.abort(new Error(`it took longer than ${CHECK_WITHIN_MS / 1000} s`)),
    CHECK_WITHIN_MS,
  );
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

function configurationNotes({ config, warnings, only }: Surroundings): Note[] {
  if (only !== undefined && !config.sites.some(({ name }) => name === only)) {
    return [
      note("error", "SITE_UNKNOWN", {
        subject: only,
        seen: `${only} is not a site of ${config.file}.`,
        next: `gatehouse add ${only} HOST:PORT makes it one.`,
      }),
    ];
  }
  const next = "Change that line, then gatehouse check.";
  const notes = [
    ...config.quarantined.map(({ name: subject, finding: seen }) =>
      note("error", "SITE_LEFT_OUT", { subject, seen, why: `${subject} is not served; the rest is.`, next }),
    ),
    ...warnings.map((seen) => note("warning", "CONFIG_WARNING", { seen, next })),
  ];
  if (notes.length > 0) return notes;
  const count = config.sites.length === 1 ? "1 site" : `${config.sites.length} sites`;
  return [note("ok", "CONFIG_WELL", { seen: `${config.file} is well: ${count}.` })];
}

function runningNotes({ running, notRunning }: Surroundings): Note[] {
  if (running !== undefined) return [note("ok", "RUNNING", { seen: "Gatehouse runs with this file." })];
  if (notRunning === undefined) return [];
  return [
    note(notRunning.isExpected ? "note" : "error", "NOT_RUNNING", {
      seen: notRunning.message,
      why: "Nobody answers visitors until it does.",
      next: notRunning.next,
    }),
  ];
}

/** No prober outside yet: so it is said, not assumed. */
function outsideNotes({ listen }: Config): Note[] {
  const ports = listen.http.length > 0 ? "443 and 80" : "443";
  return [
    note("unknown", "OUTSIDE_NOT_TRIED", {
      seen: `Ports ${ports} were not tried from outside.`,
      why: "Nobody inside can see what the provider and the router let in.",
      next: "Take a phone off the Wi-Fi and open the name.",
    }),
  ];
}
