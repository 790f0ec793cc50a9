/**
 * Do the alerts fire when they should, and keep quiet when they should not? Prometheus itself judges.
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../support/gatehouse.ts";
import { needs, runProgram } from "../support/programs.ts";

const RULES = join(import.meta.dirname, "../../contrib/prometheus/gatehouse.rules.yml");
const skip = needs("promtool", "prometheus");

const JOB = 'job="gatehouse", instance="home:9145"';
const DAY = 86_400;

interface Case {
  alert: string;
  name: string;
  /** Series in promtool's notation, one step a minute. */
  series: [series: string, values: string][];
  at: string;
  /** Labels of the one alert expected; undefined when none may fire. */
  fires: Record<string, string> | undefined;
}

const certificate = (notBefore: number, notAfter: number): [string, string][] => [
  [`gatehouse_tls_certificate_not_before_timestamp_seconds{${JOB}, name="a.example"}`, `${notBefore}x200`],
  [`gatehouse_tls_certificate_not_after_timestamp_seconds{${JOB}, name="a.example", source="acme"}`, `${notAfter}x200`],
];
const home = { job: "gatehouse", instance: "home:9145" };
const requests = (code: string, step: string): [string, string] => [
  `gatehouse_http_requests_total{${JOB}, site="a.example", method="GET", code="${code}", protocol="2"}`,
  step,
];

/** promtool's clock starts at 0. */
const cases: Case[] = [
  {
    alert: "GatehouseDown",
    name: "a Gatehouse that cannot be scraped",
    at: "5m",
    series: [[`up{${JOB}}`, "0x10"]],
    fires: { ...home, severity: "critical" },
  },
  {
    alert: "GatehouseDown",
    name: "one that can",
    at: "5m",
    fires: undefined,
    series: [[`up{${JOB}}`, "1x10"]],
  },
  {
    alert: "GatehouseCertificateExpiringSoon",
    name: "a tenth of 90 days left",
    at: "2h",
    series: certificate(-81 * DAY, 9 * DAY),
    fires: { ...home, name: "a.example", severity: "warning" },
  },
  {
    alert: "GatehouseCertificateExpiringSoon",
    name: "a tenth of six days left",
    at: "90m",
    series: certificate(-5.4 * DAY, 0.6 * DAY),
    fires: { ...home, name: "a.example", severity: "warning" },
  },
  {
    alert: "GatehouseCertificateExpiringSoon",
    name: "half of six days left",
    at: "2h",
    fires: undefined,
    series: certificate(-3 * DAY, 3 * DAY),
  },
  {
    alert: "GatehouseCertificateExpired",
    name: "a certificate of yesterday",
    at: "1m",
    series: certificate(-91 * DAY, -DAY),
    fires: { ...home, name: "a.example", source: "acme", severity: "critical" },
  },
  {
    alert: "GatehouseCertificateOrdersFailing",
    name: "three failures in a row",
    at: "30m",
    series: [[`gatehouse_acme_consecutive_failures{${JOB}, name="a.example"}`, "0 1 2 3x30"]],
    fires: { ...home, name: "a.example", severity: "warning" },
  },
  {
    alert: "GatehouseCertificateOrdersFailing",
    name: "one failure and then a success",
    at: "30m",
    fires: undefined,
    series: [[`gatehouse_acme_consecutive_failures{${JOB}, name="a.example"}`, "0 1x10 0x30"]],
  },
  {
    alert: "GatehouseUpstreamDown",
    name: "a target that refuses for ten minutes",
    at: "12m",
    series: [
      [`gatehouse_upstream_errors_total{${JOB}, site="a.example", upstream="10.0.0.5:80", reason="connect"}`, "0+5x20"],
    ],
    fires: { ...home, site: "a.example", upstream: "10.0.0.5:80", severity: "warning" },
  },
  {
    alert: "GatehouseUpstreamDown",
    name: "a target that breaks off now and then",
    at: "12m",
    fires: undefined,
    series: [
      [`gatehouse_upstream_errors_total{${JOB}, site="a.example", upstream="10.0.0.5:80", reason="reset"}`, "0+5x20"],
    ],
  },
  {
    alert: "GatehouseHighErrorRate",
    name: "a tenth of the requests failing",
    at: "25m",
    series: [requests("200", "0+90x30"), requests("502", "0+10x30")],
    fires: { ...home, site: "a.example", severity: "warning" },
  },
  {
    alert: "GatehouseHighErrorRate",
    name: "one failure in a quiet night",
    at: "25m",
    fires: undefined,
    series: [requests("200", "0+1x30"), requests("502", "0 0 0 1x30")],
  },
  {
    alert: "GatehouseNameLost",
    name: "a service that has said no three times",
    at: "30m",
    series: [[`gatehouse_ddns_consecutive_failures{${JOB}, name="a.example"}`, "0 1 2 3x30"]],
    fires: { ...home, name: "a.example", severity: "warning" },
  },
  {
    alert: "GatehouseNameLost",
    name: "a home whose address nobody has told for four hours",
    at: "4h",
    series: [
      [`gatehouse_ddns_consecutive_failures{${JOB}, name="a.example"}`, "0x300"],
      [`gatehouse_ddns_last_success_timestamp_seconds{${JOB}, name="a.example"}`, "0x300"],
    ],
    fires: { ...home, name: "a.example", severity: "warning" },
  },
  {
    alert: "GatehouseNameLost",
    name: "a name that is looked at once an hour",
    at: "4h",
    fires: undefined,
    series: [
      [`gatehouse_ddns_consecutive_failures{${JOB}, name="a.example"}`, "0 1 0x300"],
      [`gatehouse_ddns_last_success_timestamp_seconds{${JOB}, name="a.example"}`, "0x60 3600x60 7200x60 10800x60"],
    ],
  },
  {
    alert: "GatehouseConfigReloadFailed",
    name: "a refused file",
    at: "10m",
    series: [[`gatehouse_config_last_reload_successful{${JOB}}`, "1 0x20"]],
    fires: { ...home, severity: "warning" },
  },
];

test("promtool accepts the alert rules", { skip }, async () => {
  const { code, stdout, stderr } = await runProgram("promtool", ["check", "rules", "--lint-fatal", RULES]);
  assert.equal(code, 0, stdout + stderr);
});

test(`${cases.length} situations raise the right alerts and no others`, { skip }, async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(folder, "cases.json");
  // JSON is YAML. Asked through the ALERTS series: `alert_rule_test` would want every sentence of the rules repeated here.
  const suite = {
    rule_files: [RULES],
    evaluation_interval: "1m",
    tests: cases.map(({ alert, name, series, at, fires }) => ({
      name: `${alert}: ${name}`,
      interval: "1m",
      input_series: series.map(([labels, values]) => ({ series: labels, values })),
      promql_expr_test: [
        {
          expr: `ALERTS{alertname="${alert}", alertstate="firing"}`,
          eval_time: at,
          exp_samples:
            fires === undefined
              ? []
              : [{ labels: seriesText({ alertname: alert, alertstate: "firing", ...fires }), value: 1 }],
        },
      ],
    })),
  };
  await writeFile(file, JSON.stringify(suite));
  const { code, stdout, stderr } = await runProgram("promtool", ["test", "rules", file]);
  assert.equal(code, 0, stdout + stderr);
});

const seriesText = (labels: Record<string, string>): string =>
  `ALERTS{${Object.entries(labels)
    .map(([name, value]) => `${name}="${value}"`)
    .join(", ")}}`;
