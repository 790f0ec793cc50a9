/**
 * What Prometheus sees of a running Gatehouse.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { configText, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { needs, runProgram } from "../support/programs.ts";
import { freePort } from "../support/target.ts";

test(
  "promtool accepts /metrics after traffic, and hosts that strangers invent make no series",
  { skip: needs("promtool", "prometheus") },
  async (t) => {
    const folder = await temporaryFolder(t);
    const gatehouse = await startGatehouse(t, {
      folder,
      config: configText(folder, "sites: { home.localhost: demo }"),
    });
    await gatehouse.line("certificate.issued");
    const root = join(folder, "state/ca/local/root.pem");
    await runProgram("curl", [
      "-sS",
      "-o",
      "/dev/null",
      "--cacert",
      root,
      `https://home.localhost:${gatehouse.httpsPort}/`,
    ]);
    for (const host of ["one.invented.example", "two.invented.example"]) {
      await runProgram("curl", [
        "-sS",
        "-o",
        "/dev/null",
        "--cacert",
        root,
        "-H",
        `Host: ${host}`,
        `https://home.localhost:${gatehouse.httpsPort}/`,
      ]);
    }
    const { stdout: text } = await runProgram("curl", ["-sS", `http://127.0.0.1:${gatehouse.metricsPort}/metrics`]);
    const checked = await runProgram("promtool", ["check", "metrics"], { input: text });
    assert.equal(checked.code, 0, checked.stdout + checked.stderr);
    assert.match(text, /gatehouse_http_requests_total\{[^}]*site="home\.localhost"[^}]*\} 1/);
    assert.match(text, /gatehouse_tls_certificate_not_after_timestamp_seconds\{[^}]*name="home\.localhost"/);
    assert.doesNotMatch(text, /invented/);
  },
);

test("a real Prometheus scrapes it and answers a query", { skip: needs("prometheus"), timeout: 60_000 }, async (t) => {
  const folder = await temporaryFolder(t);
  const gatehouse = await startGatehouse(t, { folder, config: configText(folder, "sites: { home.localhost: demo }") });
  await gatehouse.line("certificate.issued");
  const port = await freePort();
  const config = join(folder, "prometheus.yml");
  await writeFile(
    config,
    `global: { scrape_interval: 1s }\nscrape_configs:\n  - job_name: gatehouse\n    static_configs: [{ targets: ["127.0.0.1:${gatehouse.metricsPort}"] }]\n`,
  );
  const prometheus = spawn(
    "prometheus",
    [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(folder, "tsdb")}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  prometheus.stderr.resume();
  t.after(async () => {
    prometheus.kill("SIGKILL");
    await once(prometheus, "close");
  });
  // Prometheus tells nobody when it has scraped: ask until it has.
  let answer = "";
  for (let tries = 0; tries < 100 && !answer.includes('"value"'); tries++) {
    const { stdout } = await runProgram("curl", [
      "-sS",
      "-G",
      `http://127.0.0.1:${port}/api/v1/query`,
      "--data-urlencode",
      'query=gatehouse_build_info and on(instance) (up{job="gatehouse"} == 1)',
    ]);
    answer = stdout;
    if (!answer.includes('"value"')) await wait(200);
  }
  assert.match(answer, /"__name__":"gatehouse_build_info"/);
});
