/**
 * The numbers: right, bounded, and gone when their site is.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { createMetrics, type Metrics } from "../../src/observe/metrics.ts";
import { exchangeRecord } from "../support/exchanges.ts";
import { needs, runProgram } from "../support/programs.ts";

const SITE = "ha.example.org";
const TARGET = "192.168.0.200:8123";

function metricsOf(sites: Parameters<Metrics["setSites"]>[0] = new Map([[SITE, [TARGET]]])): Metrics {
  const metrics = createMetrics({ version: "1.2.3", clock: { now: () => 1_000_000 } });
  metrics.setSites(sites);
  return metrics;
}

/** Lines of one name, without it: `{labels} value` or ` value`. */
async function samples(metrics: Metrics, name: string): Promise<string[]> {
  const { body } = await metrics.scrape();
  return body
    .split("\n")
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .map((line) => line.slice(name.length));
}

/** The value of the one sample that has all these labels. */
async function value(metrics: Metrics, name: string, labels: Record<string, string> = {}): Promise<number | undefined> {
  const wanted = Object.entries(labels).map(([label, text]) => `${label}="${text}"`);
  const found = (await samples(metrics, name)).filter((line) => wanted.every((label) => line.includes(label)));
  assert.ok(found.length <= 1, found.join("\n"));
  return found[0] === undefined ? undefined : Number(found[0].split(" ").at(-1));
}

function exchange(metrics: Metrics, special: Parameters<typeof exchangeRecord>[0] = {}): void {
  const record = exchangeRecord(special);
  metrics.exchangeStarted(record.site);
  metrics.exchangeEnded(record);
}

test("an exchange counts once: request, duration, bytes, time of the target", async () => {
  const metrics = metricsOf();
  exchange(metrics, { durationMs: 30, upstreamMs: 7, bytesIn: 10, bytesOut: 20 });
  exchange(metrics, { durationMs: 3_000, status: 502, bytesIn: 1, bytesOut: 2, upstreamMs: undefined });
  const site = { site: SITE };
  assert.equal(
    await value(metrics, "gatehouse_http_requests_total", { ...site, code: "200", method: "GET", protocol: "1.1" }),
    1,
  );
  assert.equal(await value(metrics, "gatehouse_http_requests_total", { ...site, code: "502" }), 1);
  assert.equal(await value(metrics, "gatehouse_http_request_duration_seconds_count", site), 2);
  assert.equal(await value(metrics, "gatehouse_http_request_duration_seconds_sum", site), 3.03);
  assert.equal(await value(metrics, "gatehouse_http_request_duration_seconds_bucket", { ...site, le: "0.025" }), 0);
  assert.equal(await value(metrics, "gatehouse_http_request_duration_seconds_bucket", { ...site, le: "0.05" }), 1);
  assert.equal(await value(metrics, "gatehouse_http_request_duration_seconds_bucket", { ...site, le: "+Inf" }), 2);
  assert.equal(await value(metrics, "gatehouse_http_received_bytes_total", site), 11);
  assert.equal(await value(metrics, "gatehouse_http_sent_bytes_total", site), 22);
  assert.equal(await value(metrics, "gatehouse_http_requests_in_flight", site), 0);
  const toTarget = { ...site, upstream: TARGET };
  assert.equal(await value(metrics, "gatehouse_upstream_response_duration_seconds_count", toTarget), 1);
  assert.equal(
    await value(metrics, "gatehouse_upstream_response_duration_seconds_bucket", { ...toTarget, le: "0.01" }),
    1,
  );
});

test("an upgraded connection does not touch the request durations, a refused one does", async () => {
  const metrics = metricsOf();
  const site = { site: SITE };
  metrics.exchangeStarted(SITE);
  metrics.upgradeOpened(SITE);
  assert.equal(await value(metrics, "gatehouse_upgrades_active", site), 1);
  assert.equal(await value(metrics, "gatehouse_http_requests_in_flight", site), 0);
  metrics.upgradeClosed(SITE);
  metrics.exchangeEnded(exchangeRecord({ kind: "upgrade", status: 101, durationMs: 7_200_000 }));
  exchange(metrics, { kind: "upgrade", status: 403 });
  exchange(metrics, { kind: "upgrade", status: 200, version: "2" });
  assert.equal(await value(metrics, "gatehouse_upgrades_active", site), 0);
  assert.equal(await value(metrics, "gatehouse_http_requests_in_flight", site), 0);
  assert.equal(await value(metrics, "gatehouse_upgrade_duration_seconds_count", site), 2);
  assert.equal(await value(metrics, "gatehouse_http_request_duration_seconds_count", site), 1);
  assert.equal(await value(metrics, "gatehouse_http_requests_total", { ...site, code: "101" }), 1);
});

test("a hundred thousand invented hosts, methods, targets and codes do not grow what is exposed", async () => {
  const metrics = metricsOf();
  const size = async () => (await metrics.scrape()).body.split("\n").length;
  exchange(metrics);
  exchange(metrics, { site: undefined });
  const before = await size();
  for (let index = 0; index < 100_000; index++) {
    const invented = randomBytes(6).toString("hex");
    const isKnown = index % 2 === 0;
    exchange(metrics, {
      site: isKnown ? SITE : undefined,
      host: `${invented}.example`,
      method: invented,
      upstream: invented,
      status: isKnown ? 100 + (index % 900) : 404,
      version: index % 3 === 0 ? "2" : "1.1",
    });
    metrics.upstreamError(isKnown ? SITE : invented, invented, "connect");
    metrics.acmeOrder("failure", invented);
    metrics.handshake("https", invented, "failed");
  }
  const grown = (await size()) - before;
  assert.ok(grown < 600, `${grown} lines more`);
  const total = (await samples(metrics, "gatehouse_http_requests_total"))
    .map((line) => Number(line.split(" ").at(-1)))
    .reduce((sum, count) => sum + count, 0);
  assert.equal(total, 100_002);
  assert.equal(await value(metrics, "gatehouse_http_requests_in_flight", { site: "_other" }), 0);
});

test("methods that HTTP does not know are one label, and so are codes outside of it", async () => {
  const metrics = metricsOf();
  for (const method of ["BREW", "get", "PROPFIND"]) exchange(metrics, { method });
  exchange(metrics, { status: 999 });
  exchange(metrics, { status: 0, error: "GATEHOUSE_CLIENT_GONE" });
  assert.equal(await value(metrics, "gatehouse_http_requests_total", { method: "_OTHER", code: "200" }), 3);
  assert.equal(await value(metrics, "gatehouse_http_requests_total", { method: "GET", code: "_OTHER" }), 1);
  assert.equal(await value(metrics, "gatehouse_http_requests_total", { method: "GET", code: "0" }), 1);
});

test("the series of a site leave with it, and those of a target with the target", async () => {
  const metrics = metricsOf(
    new Map([
      [SITE, [TARGET, "192.168.0.201:1"]],
      ["old.example.org", ["192.168.0.9:1"]],
    ]),
  );
  exchange(metrics);
  exchange(metrics, { upstream: "192.168.0.201:1" });
  exchange(metrics, { site: "old.example.org", upstream: "192.168.0.9:1" });
  metrics.upstreamError("old.example.org", "192.168.0.9:1", "reset");
  metrics.upstreamError(SITE, "192.168.0.201:1", "reset");
  metrics.setSites(new Map([[SITE, [TARGET]]]));
  const { body } = await metrics.scrape();
  assert.doesNotMatch(body, /old\.example\.org|192\.168\.0\.9|192\.168\.0\.201/);
  assert.equal(await value(metrics, "gatehouse_http_request_duration_seconds_count", { site: SITE }), 2);
});

test("requests that outlive their site end where they began, so nothing counts below zero", async () => {
  const metrics = metricsOf();
  metrics.exchangeStarted(SITE);
  metrics.exchangeStarted(SITE);
  metrics.upgradeOpened(SITE);
  metrics.setSites(new Map());
  assert.equal(await value(metrics, "gatehouse_http_requests_in_flight", { site: SITE }), undefined);
  metrics.exchangeEnded(exchangeRecord());
  metrics.setSites(new Map([[SITE, [TARGET]]]));
  assert.equal(
    await value(metrics, "gatehouse_upgrades_active", { site: SITE }),
    1,
    "the site came back while it was open",
  );
  metrics.setSites(new Map());
  metrics.upgradeClosed(SITE);
  metrics.exchangeEnded(exchangeRecord({ kind: "upgrade", status: 101 }));
  metrics.setSites(new Map([[SITE, [TARGET]]]));
  for (const site of [SITE, "_other"]) {
    assert.equal(await value(metrics, "gatehouse_http_requests_in_flight", { site }), 0);
    assert.equal(await value(metrics, "gatehouse_upgrades_active", { site }), 0);
  }
});

test("a certificate has one series for each fact; another source replaces, a name that is gone takes all with it", async () => {
  const metrics = metricsOf();
  const facts = { notBefore: 1_000, notAfter: 90_000, source: "acme", renewAt: 60_000 };
  metrics.certificate(SITE, { ...facts, source: "self_signed" });
  metrics.certificate(SITE, facts);
  metrics.acmeConsecutiveFailures(SITE, 2);
  const name = { name: SITE };
  assert.equal(
    await value(metrics, "gatehouse_tls_certificate_not_after_timestamp_seconds", { ...name, source: "acme" }),
    90,
  );
  assert.equal((await samples(metrics, "gatehouse_tls_certificate_not_after_timestamp_seconds")).length, 1);
  assert.equal(await value(metrics, "gatehouse_tls_certificate_not_before_timestamp_seconds", name), 1);
  assert.equal(await value(metrics, "gatehouse_tls_certificate_renewal_timestamp_seconds", name), 60);
  assert.equal(await value(metrics, "gatehouse_acme_consecutive_failures", name), 2);
  metrics.certificate(SITE, undefined);
  assert.doesNotMatch((await metrics.scrape()).body, new RegExp(`name="${SITE}"`));
});

test("a refused reload shows, and the time of the last good one stays", async () => {
  let now = 1_000_000;
  const metrics = createMetrics({ version: "1", clock: { now: () => now } });
  assert.equal(await value(metrics, "gatehouse_config_last_reload_successful"), 1);
  now = 2_000_000;
  metrics.reload(false);
  assert.equal(await value(metrics, "gatehouse_config_last_reload_successful"), 0);
  assert.equal(await value(metrics, "gatehouse_config_last_reload_success_timestamp_seconds"), 1_000);
  metrics.reload(true);
  assert.equal(await value(metrics, "gatehouse_config_last_reload_success_timestamp_seconds"), 2_000);
});

test("connections and handshakes count by listener", async () => {
  const metrics = metricsOf();
  metrics.connectionOpened("https");
  metrics.connectionOpened("https");
  metrics.connectionClosed("https");
  metrics.connectionRejected("http", "limit");
  metrics.handshake("https", "TLSv1.3", "ok");
  metrics.handshake("https", undefined, "pending");
  assert.equal(await value(metrics, "gatehouse_connections_open", { listener: "https" }), 1);
  assert.equal(await value(metrics, "gatehouse_connections_open", { listener: "http" }), 0);
  assert.equal(await value(metrics, "gatehouse_connections_rejected_total", { listener: "http", reason: "limit" }), 1);
  assert.equal(await value(metrics, "gatehouse_tls_handshakes_total", { version: "TLSv1.3", outcome: "ok" }), 1);
  assert.equal(await value(metrics, "gatehouse_tls_handshakes_total", { version: "none", outcome: "pending" }), 1);
});

test("of 10,000 sites those that were asked for are told, with their targets, and a scrape stays small", async () => {
  const name = (at: number) => `host${at}.example.org`;
  const metrics = metricsOf(new Map(Array.from({ length: 10_000 }, (_, at) => [name(at), [TARGET]])));
  exchange(metrics, { site: name(7), upstream: TARGET, upstreamMs: 5 });
  metrics.upstreamError(name(8), TARGET, "reset");
  const { body } = await metrics.scrape();
  assert.ok(body.length < 100_000, `${body.length} characters`);
  assert.equal(await value(metrics, "gatehouse_http_requests_total", { site: name(7) }), 1);
  assert.equal(await value(metrics, "gatehouse_upstream_errors_total", { site: name(8), upstream: TARGET }), 1);
  assert.equal(await value(metrics, "gatehouse_http_requests_total", { site: name(9) }), undefined);
  assert.equal(await value(metrics, "gatehouse_http_requests_in_flight", { site: "_other" }), 0);
});

test("promtool finds nothing to complain about", { skip: needs("promtool", "prometheus") }, async () => {
  const metrics = metricsOf();
  exchange(metrics);
  metrics.upstreamError(SITE, TARGET, "timeout");
  metrics.certificate(SITE, { notBefore: 1, notAfter: 2, source: "acme", renewAt: 1 });
  metrics.acmeOrder("success", "renewal");
  metrics.connectionRejected("https", "limit");
  metrics.handshake("https", "TLSv1.3", "ok");
  const { body, contentType } = await metrics.scrape();
  assert.match(contentType, /^text\/plain; version=0\.0\.4/);
  const judged = await runProgram("promtool", ["check", "metrics"], { input: body });
  assert.equal(judged.stdout + judged.stderr, "");
  assert.equal(judged.code, 0);
});
