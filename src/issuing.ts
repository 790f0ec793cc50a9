/**
 * Who signs for us, and who keeps asking?
 * Owns: choosing between the embedded CA and an ACME CA; one scheduler serves both.
 * Never: touches a listener. It stands beside `edge` because it joins tls and acme, which must not know each other.
 */
import { join } from "node:path";
import type { AlpnChallenges } from "./acme/challenges/alpn.ts";
import type { Challenges } from "./acme/challenges/port-80.ts";
import type { AcmeAccount } from "./acme/account.ts";
import { createDnsSolver } from "./acme/challenges/dns.ts";
import { isDue } from "./acme/schedule/due.ts";
import { createFallbackIssuer } from "./acme/schedule/fallback.ts";
import { createHistories } from "./acme/schedule/history.ts";
import { type AcmeIssuer, createIssuer, type Issuer } from "./acme/issue.ts";
import { type RenewalInfo, createRenewalInfo } from "./acme/schedule/renewal-info.ts";
import { type Solver, createHttpSolver } from "./acme/challenges/solver.ts";
import { createScheduler } from "./acme/schedule/scheduler.ts";
import type { Scheduler } from "./acme/schedule/contract.ts";
import { createAcmeInfo } from "./acme/wire/info.ts";
import type { Config, FallbackCaConfig } from "./config/model.ts";
import { systemClock } from "./core/time.ts";
import { createPropagation } from "./dns/propagation.ts";
import { createDnsProvider } from "./dns/providers.ts";
import { createZones } from "./dns/zones.ts";
import type { Logger } from "./observe/log.ts";
import type { Metrics } from "./observe/metrics.ts";
import { type BundleStore, type CertificateBundle, IMPORTED } from "./storage/bundles.ts";
import { covers } from "./storage/check-bundle.ts";
import type { Storage } from "./storage/contract.ts";
import { createLocalCa, LOCAL_ROOT_KEY, type LocalCa } from "./tls/local-ca.ts";

export interface IssuingTools {
  storage: Storage;
  bundles: BundleStore;
  challenges: Challenges;
  alpn: AlpnChallenges;
  log: Logger;
  metrics: Metrics;
  version: string;
  /** Waited for before a name's first order at a CA. */
  wayIn?: ((name: string, signal: AbortSignal) => Promise<void>) | undefined;
  /** Nothing is ordered by itself. */
  onlyAsked?: boolean | undefined;
  /** Serve it from now on. */
  onIssued(bundle: CertificateBundle): void;
}

/** Where the root of the embedded CA lies, for curl and browsers; undefined with any other CA. */
export function localRootFile(config: Config): string | undefined {
  return config.acme.directoryUrl === undefined ? join(config.state, LOCAL_ROOT_KEY) : undefined;
}

/** After a crash an order is taken up again and tidies up itself; this is for those that are not. */
const TIDY_EVERY_MS = 20 * 60_000;

/** What of a configuration concerns certificates: when it is the same after a reload, orders under way go on. */
export function issuingFacts({ acme, dns, listen, sites }: Config): unknown {
  const emails = sites.flatMap(({ name, email }) => (email === undefined ? [] : [[name, email]]));
  const names = sites.flatMap((site) => (site.names === undefined ? [] : [[site.name, ...site.names]]));
  return { acme, emails, names, dns, http: listen.http.length > 0, https: listen.https.length > 0 };
}

/** One scheduler, and what a person may ask of the CAs beside it. */
export interface Issuing extends Scheduler {
  /** Is an order needed for what we hold? */
  isDue(bundle: CertificateBundle | undefined): boolean;
  /** Is this CA (directory URL, or `local`) in the configuration? */
  knows(ca: string): boolean;
  /** Prove the name at the staging of the first CA; false: it has none. @throws GATEHOUSE_ACME_* */
  rehearse(name: string, signal: AbortSignal): Promise<boolean>;
  /** @param reason  RFC 5280 §5.3.1 @returns false when its CA keeps no list of such, or is no longer ours to ask */
  revoke(bundle: CertificateBundle, reason: number, signal: AbortSignal): Promise<boolean>;
  /** Those of the CAs in the configuration, for these names. */
  accounts(names: readonly string[]): AcmeAccount[];
}

/** A scheduler that already knows which CA to ask; hand it names to start it. */
export function createIssuing(config: Config, tools: IssuingTools): Issuing {
  const { acme } = config;
  const namesOf = namesByName(config);
  const cas = new Map<string, AcmeIssuer>();
  const informants: Informants = new Map();
  const issuer =
    acme.directoryUrl === undefined
      ? embeddedCa(tools, namesOf)
      : acmeCas(acme.directoryUrl, config, tools, { cas, informants });
  const wanted = new Set([acme.directoryUrl ?? "local", ...acme.fallback.map(({ directoryUrl }) => directoryUrl)]);
  // Names too many are no hurry: they go with the next renewal. What a person brought serves until it is due, like any
  // other; then it is replaced by one of a CA of ours.
  const fits = ({ name, names, ca, revokedAt }: CertificateBundle): boolean =>
    revokedAt === undefined &&
    (wanted.has(ca) || ca === IMPORTED) &&
    namesOf(name).every((each) => covers(names, each));
  const scheduler = createScheduler({
    ca: acme.directoryUrl ?? "local",
    fits,
    async issue(name, reason, signal) {
      // The embedded CA looks for nobody, and a proof in DNS needs no way in.
      const isLookedFor = acme.directoryUrl !== undefined && acme.challenge !== "dns-01";
      if (reason === "first" && isLookedFor) await tools.wayIn?.(name, signal);
      return issuer.issue(name, reason, signal);
    },
    bundles: tools.bundles,
    storage: tools.storage,
    clock: systemClock,
    log: tools.log,
    metrics: tools.metrics,
    renewAtShare: acme.renewAtShare,
    renewalInfoOf: (ca) => informants.get(ca),
    onFound: (bundle) => tools.onIssued(bundle),
    onlyAsked: tools.onlyAsked,
  });
  const tidying = setInterval(() => void issuer.tidy(), TIDY_EVERY_MS);
  tidying.unref();
  return {
    ...scheduler,
    isDue: (bundle) => isDue(bundle, { fits, share: acme.renewAtShare, now: systemClock.now() }),
    knows: (ca) => wanted.has(ca),
    rehearse: async (name, signal) => (await cas.get(acme.directoryUrl ?? "local")?.rehearse(name, signal)) ?? false,
    async revoke(bundle, reason, signal) {
      const ca = cas.get(bundle.ca);
      await ca?.revoke(bundle, reason, signal);
      return ca !== undefined;
    },
    accounts: (names) => [...cas.values()].flatMap((ca) => ca.accounts(names)),
    async stop() {
      clearInterval(tidying);
      await scheduler.stop();
    },
  };
}

/** What the certificate kept under a name is to hold. */
function namesByName({ sites }: Config): (name: string) => readonly string[] {
  const further = new Map(sites.flatMap((site) => (site.names === undefined ? [] : [[site.name, site.names]])));
  return (name) => [name, ...(further.get(name) ?? [])];
}

/** By directory URL: what each CA says of the renewals of its own certificates. */
type Informants = Map<string, RenewalInfo>;

/** The first, and those that stand in for it. */
function acmeCas(
  directoryUrl: string,
  config: Config,
  tools: IssuingTools,
  { cas, informants }: { cas: Map<string, AcmeIssuer>; informants: Informants },
): Issuer {
  const { caRoots, eab, fallback, stagingUrl } = config.acme;
  const solvers = solversFor(config, tools);
  const open = (ca: AskedCa): AcmeIssuer => {
    const made = acmeCa(ca, config, solvers, informants, tools);
    cas.set(ca.directoryUrl, made);
    return made;
  };
  const first = open({ directoryUrl, caRoots, eab, stagingUrl });
  const others = fallback.map((ca) => ({ ca: ca.caName, issuer: open(ca) }));
  if (others.length === 0) return first;
  const histories = createHistories(directoryUrl, tools.storage, systemClock, tools.log);
  return createFallbackIssuer({
    first,
    others,
    failuresInARow: async (name) => (await histories.read(name)).failuresInARow,
    clock: systemClock,
    log: tools.log,
  });
}

interface AskedCa extends Pick<FallbackCaConfig, "directoryUrl" | "caRoots" | "eab"> {
  stagingUrl?: string | undefined;
}

function acmeCa(
  ca: AskedCa,
  config: Config,
  solvers: readonly Solver[],
  informants: Informants,
  tools: IssuingTools,
): AcmeIssuer {
  const { acme } = config;
  const { directoryUrl, caRoots: roots } = ca;
  const { storage, log } = tools;
  const userAgent = `gatehouse/${tools.version}`;
  const info = createAcmeInfo({ directoryUrl, roots, userAgent, clock: systemClock });
  const renewalInfo = createRenewalInfo({ directoryUrl, info, storage, clock: systemClock, log });
  informants.set(directoryUrl, renewalInfo);
  const emails = new Map(config.sites.map(({ name, email }) => [name, email]));
  return createIssuer({
    directoryUrl,
    roots,
    info,
    renewalInfo,
    email: acme.email,
    // One that was let in on demand is of the site with the star above it.
    emailOf: (name) => emails.get(name) ?? emails.get(`*${name.slice(name.indexOf("."))}`) ?? acme.email,
    namesOf: namesByName(config),
    eab: ca.eab,
    // Left out, what is known of the CA counts.
    staging: ca.stagingUrl === undefined ? undefined : { directoryUrl: ca.stagingUrl, roots },
    challenge: acme.challenge,
    profile: acme.profile,
    key: acme.key,
    preferredChain: acme.preferredChain,
    renewAtShare: acme.renewAtShare,
    userAgent,
    storage,
    bundles: tools.bundles,
    solvers,
    clock: systemClock,
    log,
    onIssued: (bundle) => tools.onIssued(bundle),
  });
}

/** Which challenges can be met here at all. */
function solversFor({ listen, acme, dns }: Config, { challenges, alpn, storage, log }: IssuingTools): Solver[] {
  const solvers: Solver[] = [];
  if (listen.http.length > 0) solvers.push(createHttpSolver(challenges));
  if (listen.https.length > 0) solvers.push(alpn);
  if (acme.dns !== undefined) {
    const zones = createZones(dns);
    const propagation = createPropagation({ zones, log, withinMs: dns.propagationMs });
    const provider = createDnsProvider(acme.dns);
    solvers.push(createDnsSolver({ provider, zones, propagation, storage, clock: systemClock, log }));
  }
  return solvers;
}

function embeddedCa(
  { storage, bundles, log, onIssued }: IssuingTools,
  namesOf: (name: string) => readonly string[],
): Issuer {
  let ca: Promise<LocalCa> | undefined;
  const open = () => {
    ca ??= createLocalCa({
      storage,
      onReplaced: (reason) => {
        log.warn(
          { event: "ca.local.replaced", reason },
          "the embedded CA has a new root: devices must import it again",
        );
      },
    }).catch((error: unknown) => {
      ca = undefined; // the disk may be well again at the next try
      throw error;
    });
    return ca;
  };
  return {
    async tidy() {}, // no challenges, nothing to leave behind
    async issue(name) {
      const bundle = await (await open()).issueLocal(namesOf(name));
      await bundles.save(bundle);
      onIssued(bundle);
      return bundle;
    },
  };
}
