/**
 * How much, how fast, how often?
 * Owns: every number behind /metrics, its labels and their bounds; the prom-client registry.
 * Never: takes a label from a request: sites and targets come from the configuration, the rest folds into `_other`.
 */
import { AggregatorRegistry, Registry, collectDefaultMetrics } from "prom-client";
import { systemClock, type Clock } from "../core/time.ts";
import type { ExchangeRecord } from "./access-log.ts";
import type { MetricName } from "./catalog.ts";
import { ddnsMetrics, type DdnsMetrics } from "./ddns-tally.ts";
import type { Families } from "./families.ts";
import { exposeFamily, Tally, type Sample } from "./cells.ts";
import { LIMITS, type LimitName } from "./limit-names.ts";
import { routerMetrics, type RouterMetrics } from "./router-tally.ts";
import { createSiteTallies } from "./site-tallies.ts";
import type { SiteTally } from "./site-tally.ts";

export type UpstreamErrorReason = "connect" | "timeout" | "reset" | "tls" | "protocol";
export type RejectReason = "limit" | "shed" | "acl" | "tls" | "proxy_header";
export type HandshakeOutcome = "ok" | "failed" | "refused" | "pending" | "challenge";

export interface Metrics extends RouterMetrics, DdnsMetrics {
  /** Labels from now on; other sites fold into `_other`. Called at start and at each reload. */
  setSites(upstreamsBySite: ReadonlyMap<string, readonly string[]>): void;
  exchangeStarted(site: string | undefined): void;
  exchangeEnded(record: ExchangeRecord): void;
  /** Between these two an exchange counts as an upgrade and not as a request in flight. */
  upgradeOpened(site: string | undefined): void;
  upgradeClosed(site: string | undefined): void;
  upstreamError(site: string | undefined, upstream: string, reason: UpstreamErrorReason): void;
  connectionOpened(listener: "https" | "http"): void;
  connectionClosed(listener: "https" | "http"): void;
  connectionRejected(listener: "https" | "http", reason: RejectReason): void;
  /** Lanes call LaneContext.limitReached, which says it in the log as well. */
  limitReached(limit: LimitName): void;
  handshake(listener: "https", version: string | undefined, outcome: HandshakeOutcome): void;
  /** Times in ms since 1970. `undefined` takes the name off, its failures too. */
  certificate(
    name: string,
    facts: { notBefore: number; notAfter: number; source: string; renewAt: number } | undefined,
  ): void;
  /** `reason` is one of a few words of ours, such as a problem type; past forty they fold into `_other`. */
  acmeOrder(outcome: "success" | "failure", reason: string): void;
  acmeConsecutiveFailures(name: string, count: number): void;
  /** Asked at each scrape for what the guardian knows of each name. */
  watchCertificates(read: () => Iterable<CertificateSample>): void;
  messageSent(kind: "webhook" | "mail", outcome: "ok" | "failed"): void;
  reload(ok: boolean): void;
  /** Asked at each scrape for forwarded ports and passthrough sites; their keys come from the configuration. */
  watchPorts(read: () => Iterable<PortSample>): void;
  /** Worker processes that serve now, and those that were lost. */
  workers(serving: number): void;
  workerLost(reason: "ended" | "hung" | "failed"): void;
  /** All numbers of this process, to be sent to another. */
  families(): Promise<Families>;
  /** The text of /metrics and its content type; `others` are the numbers of other processes, added to these. */
  scrape(others?: readonly Families[]): Promise<{ contentType: string; body: string }>;
}

/** Times in ms since 1970. */
export interface CertificateSample {
  name: string;
  nextTry: number | undefined;
  /** Of its last handshake. */
  served: { ok: boolean; at: number } | undefined;
}

export interface PortSample {
  key: string;
  active: number;
  total: number;
  refused: number;
  bytesIn: number;
  bytesOut: number;
}

const OTHER = "_other";

/** Problem types of RFC 8555 §6.7 are 22; a CA may have its own. */
const MAX_ACME_REASONS = 40;

const TLS_VERSIONS: ReadonlySet<string> = new Set(["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]);

/** Gauges whose names end like counters; promtool is right to refuse them, and the labelled ones say the same. */
const MISNAMED = ["nodejs_active_resources_total", "nodejs_active_handles_total", "nodejs_active_requests_total"];

export function createMetrics(options: { version: string; clock?: Clock; linesDropped?: () => number }): Metrics {
  const clock = options.clock ?? systemClock;
  const registry = new Registry();
  const sites = createSiteTallies();
  const tallies = new Map<MetricName, Tally>();

  const tallyOf = (name: MetricName): Tally => {
    let tally = tallies.get(name);
    if (tally === undefined) {
      const made = new Tally();
      tallies.set(name, made);
      exposeFamily(registry, name, () => made.samples());
      tally = made;
    }
    return tally;
  };
  exposeSites(registry, () => sites.all());

  const portReaders: (() => Iterable<PortSample>)[] = [];
  exposePorts(registry, function* () {
    for (const read of portReaders) yield* read();
  });
  const certificateReaders: (() => Iterable<CertificateSample>)[] = [];
  exposeCertificates(registry, function* () {
    for (const read of certificateReaders) yield* read();
  });
  const open = tallyOf("gatehouse_connections_open");
  const rejected = tallyOf("gatehouse_connections_rejected_total");
  const handshakes = tallyOf("gatehouse_tls_handshakes_total");
  const notAfter = tallyOf("gatehouse_tls_certificate_not_after_timestamp_seconds");
  const notBefore = tallyOf("gatehouse_tls_certificate_not_before_timestamp_seconds");
  const renewal = tallyOf("gatehouse_tls_certificate_renewal_timestamp_seconds");
  const orders = tallyOf("gatehouse_acme_orders_total");
  const failures = tallyOf("gatehouse_acme_consecutive_failures");
  const messages = tallyOf("gatehouse_notify_messages_total");
  const reloadOk = tallyOf("gatehouse_config_last_reload_successful");
  const reloadAt = tallyOf("gatehouse_config_last_reload_success_timestamp_seconds");
  const workersServing = tallyOf("gatehouse_workers_serving");
  const workersLost = tallyOf("gatehouse_workers_lost_total");
  workersServing.set([], [], 0);
  const acmeReasons = new Set<string>();
  /** Label of each certificate that is shown now, by name. */
  const sourceOf = new Map<string, string>();

  const limits = tallyOf("gatehouse_limit_reached_total");
  // rate() sees the first one only if there was a 0 before it.
  for (const limit of LIMITS) limits.add(["limit"], [limit], 0);
  for (const listener of ["https", "http"]) open.set(["listener"], [listener], 0);
  tallyOf("gatehouse_build_info").set(
    ["version", "node", "openssl"],
    [options.version, process.versions.node, process.versions.openssl],
    1,
  );
  const { linesDropped = () => 0 } = options;
  exposeFamily(registry, "gatehouse_log_lines_dropped_total", () => [{ labels: {}, value: linesDropped() }]);
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED) registry.removeSingleMetric(name);

  const metrics: Metrics = {
    ...routerMetrics(tallyOf),
    ...ddnsMetrics(tallyOf),
    setSites: (wanted) => sites.set(wanted),
    exchangeStarted(site) {
      sites.of(site).inFlight++;
    },
    exchangeEnded(record) {
      sites.of(record.site).ended(record);
      sites.forgetIfIdle(record.site);
    },
    upgradeOpened(site) {
      const tally = sites.of(site);
      tally.inFlight--;
      tally.upgrades++;
    },
    upgradeClosed(site) {
      const tally = sites.of(site);
      tally.upgrades--;
      tally.inFlight++;
    },
    upstreamError(site, upstream, reason) {
      const tally = sites.of(site);
      tally.upstreamErrors.add(["upstream", "reason"], [tally.upstreamLabel(upstream), reason]);
    },
    connectionOpened: (listener) => open.add(["listener"], [listener], 1),
    connectionClosed: (listener) => open.add(["listener"], [listener], -1),
    connectionRejected: (listener, reason) => rejected.add(["listener", "reason"], [listener, reason]),
    limitReached: (limit) => limits.add(["limit"], [limit]),
    handshake(listener, version, outcome) {
      const known = version === undefined ? "none" : TLS_VERSIONS.has(version) ? version : OTHER;
      handshakes.add(["listener", "version", "outcome"], [listener, known, outcome]);
    },
    certificate(name, facts) {
      // The source may have changed, and with it the label set.
      const source = sourceOf.get(name);
      if (source !== undefined && source !== facts?.source) notAfter.remove([name, source]);
      if (facts === undefined) {
        sourceOf.delete(name);
        for (const tally of [notBefore, renewal, failures]) tally.remove([name]);
        return;
      }
      sourceOf.set(name, facts.source);
      notAfter.set(["name", "source"], [name, facts.source], facts.notAfter / 1000);
      notBefore.set(["name"], [name], facts.notBefore / 1000);
      renewal.set(["name"], [name], facts.renewAt / 1000);
    },
    acmeOrder(outcome, reason) {
      const isWord = /^[A-Za-z0-9_.:-]{1,60}$/.test(reason);
      const known = isWord && (acmeReasons.has(reason) || acmeReasons.size < MAX_ACME_REASONS) ? reason : OTHER;
      acmeReasons.add(known);
      orders.add(["outcome", "reason"], [outcome, known]);
    },
    acmeConsecutiveFailures: (name, count) => failures.set(["name"], [name], count),
    reload(ok) {
      reloadOk.set([], [], ok ? 1 : 0);
      if (ok) reloadAt.set([], [], clock.now() / 1000);
    },
    watchCertificates(read) {
      certificateReaders.push(read);
    },
    messageSent: (kind, outcome) => messages.add(["kind", "outcome"], [kind, outcome]),
    watchPorts(read) {
      portReaders.push(read);
    },
    workers: (serving) => workersServing.set([], [], serving),
    workerLost: (reason) => workersLost.add(["reason"], [reason]),
    families: () => registry.getMetricsAsJSON(),
    async scrape(others = []) {
      if (others.length === 0) return { contentType: registry.contentType, body: await registry.metrics() };
      // This process comes first: `first` is what the catalog says of what it alone knows.
      const all = AggregatorRegistry.aggregate([await registry.getMetricsAsJSON(), ...others]);
      return { contentType: registry.contentType, body: await all.metrics() };
    },
  };
  // A process that runs has taken its configuration.
  metrics.reload(true);
  return metrics;
}

type NamedTallies = () => Iterable<[site: string, tally: SiteTally]>;

function exposeSites(registry: Registry, all: NamedTallies): void {
  const expose = (name: MetricName, samples: (tally: SiteTally, site: string) => Iterable<Sample>): void =>
    exposeFamily(registry, name, function* () {
      for (const [site, tally] of all()) yield* samples(tally, site);
    });
  const withSite = function* (tally: Tally, site: string): Iterable<Sample> {
    for (const { labels, value } of tally.samples()) yield { labels: { site, ...labels }, value };
  };
  const one = (read: (tally: SiteTally) => number) => (tally: SiteTally, site: string) => [
    { labels: { site }, value: read(tally) },
  ];

  expose("gatehouse_http_requests_total", (tally, site) => withSite(tally.requests, site));
  expose("gatehouse_http_request_duration_seconds", (tally, site) =>
    tally.durations.samples("gatehouse_http_request_duration_seconds", { site }),
  );
  expose(
    "gatehouse_http_requests_in_flight",
    one((tally) => tally.inFlight),
  );
  expose(
    "gatehouse_http_received_bytes_total",
    one((tally) => tally.receivedBytes),
  );
  expose(
    "gatehouse_http_sent_bytes_total",
    one((tally) => tally.sentBytes),
  );
  expose(
    "gatehouse_upgrades_active",
    one((tally) => tally.upgrades),
  );
  expose("gatehouse_upgrade_duration_seconds", (tally, site) =>
    tally.upgradeDurations.samples("gatehouse_upgrade_duration_seconds", { site }),
  );
  expose("gatehouse_upstream_response_duration_seconds", function* (tally, site) {
    for (const [upstream, buckets] of tally.upstreams) {
      yield* buckets.samples("gatehouse_upstream_response_duration_seconds", { site, upstream });
    }
  });
  expose("gatehouse_upstream_errors_total", (tally, site) => withSite(tally.upstreamErrors, site));
}

function exposePorts(registry: Registry, read: () => Iterable<PortSample>): void {
  const expose = (name: MetricName, valueOf: (sample: PortSample) => number): void =>
    exposeFamily(registry, name, function* () {
      for (const sample of read()) yield { labels: { port: sample.key }, value: valueOf(sample) };
    });
  expose("gatehouse_port_forward_sessions_active", ({ active }) => active);
  expose("gatehouse_port_forward_sessions_total", ({ total }) => total);
  expose("gatehouse_port_forward_refused_total", ({ refused }) => refused);
  exposeFamily(registry, "gatehouse_port_forward_bytes_total", function* () {
    for (const { key, bytesIn, bytesOut } of read()) {
      yield { labels: { port: key, direction: "in" }, value: bytesIn };
      yield { labels: { port: key, direction: "out" }, value: bytesOut };
    }
  });
}

function exposeCertificates(registry: Registry, read: () => Iterable<CertificateSample>): void {
  const expose = (name: MetricName, valueOf: (sample: CertificateSample) => number | undefined): void =>
    exposeFamily(registry, name, function* () {
      for (const sample of read()) {
        const value = valueOf(sample);
        if (value !== undefined) yield { labels: { name: sample.name }, value };
      }
    });
  const seconds = (ms: number | undefined): number | undefined => ms && ms / 1000;
  expose("gatehouse_acme_next_try_timestamp_seconds", ({ nextTry }) => seconds(nextTry));
  expose("gatehouse_certificate_served_ok", ({ served }) => served && Number(served.ok));
  expose("gatehouse_certificate_checked_timestamp_seconds", ({ served }) => seconds(served?.at));
}
