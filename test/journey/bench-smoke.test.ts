/**
 * Does the bench itself work? Speed is never judged here: a busy machine would make that a lottery.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { BenchResult } from "../../bench/report.ts";
import { SCENARIOS } from "../../bench/scenarios.ts";
import { temporaryFolder } from "../support/gatehouse.ts";
import { hasProgram, needs, runProgram } from "../support/programs.ts";

/** It needs 15 s of CPU time; the runner gives a file no more than three minutes. */
const WITHIN_MS = 170_000;
/** steady-h1 is about latency, and in hosts and both of workers Gatehouse stands beside itself. */
const NOT_DRAWN = 4;

const root = join(import.meta.dirname, "../..");

test(
  "a smoke of the bench runs every scenario against every rival that is installed",
  { skip: needs("h2load", "nghttp2-client") },
  async (t) => {
    const folder = await temporaryFolder(t);
    const [file, picture] = [join(folder, "result.json"), join(folder, "picture.svg")];
    const entry = join(root, "src/cli/main.ts");
    const words = [join(root, "bench/main.ts"), "--smoke", "--entry", entry, "--json", file, "--picture", picture];
    const { code, stdout, stderr } = await runProgram(process.execPath, words, { withinMs: WITHIN_MS });
    assert.equal(code, 0, stderr);
    const result = JSON.parse(await readFile(file, "utf8")) as BenchResult;
    assert.deepEqual(
      result.scenarios.map((one) => one.name),
      SCENARIOS.map((one) => one.name),
    );
    assert.ok(result.doesNotShow.every((text) => stdout.includes(text)));
    for (const { name, rivals, skipped } of result.scenarios) {
      const seen = [...rivals.map((rival) => rival.name), ...skipped.map(({ rival }) => rival)];
      if (name === "hosts") {
        assert.deepEqual(seen, ["gatehouse", "ten hosts"]);
      } else if (name.startsWith("workers")) {
        assert.deepEqual(seen, ["gatehouse", "one worker"]);
      } else if (name === "forward") {
        assert.deepEqual(seen.toSorted(), ["gatehouse", "haproxy", "socat"]);
      } else {
        assert.deepEqual(seen.toSorted(), ["caddy", "gatehouse", "haproxy", "http-proxy", "nginx"], name);
        for (const program of ["nginx", "haproxy", "caddy"].filter((one) => !hasProgram(one))) {
          const reason = skipped.find(({ rival }) => rival === program)?.reason;
          assert.equal(reason, `needs ${program}`, name);
        }
      }
      for (const { name: rival, version, rounds, median } of rivals) {
        assert.match(version, /^\d+\.\d+/, rival);
        assert.equal(rounds.length, 1);
        assert.ok(median.done > 0 && median.perSecond > 0 && median.memoryBytes > 100_000, `${name} ${rival}`);
        assert.equal(median.failed, 0, `${name} ${rival}`);
        const { p50, p99, p999, max } = median.latencyMs;
        assert.ok(p50 > 0 && p50 <= p99 && p99 <= p999 && p999 <= max, `${name} ${rival}`);
      }
    }
    const drawn = await readFile(picture, "utf8");
    assert.equal(
      (drawn.match(/class="own"/g) ?? []).length,
      SCENARIOS.length - NOT_DRAWN,
      "a bar of Gatehouse in each panel",
    );
  },
);

test(
  "Node's own floor takes part when it is named, and passes everything on",
  { skip: needs("h2load", "nghttp2-client") },
  async (t) => {
    const file = join(await temporaryFolder(t), "result.json");
    const entry = join(root, "src/cli/main.ts");
    const scenarios = ["small-h1", "upload", "handshake-resumed", "websocket"];
    const words = ["--smoke", "--entry", entry, "--json", file, "--rivals", "bare-node"];
    const { code, stderr } = await runProgram(
      process.execPath,
      [join(root, "bench/main.ts"), ...words, "--scenario", scenarios.join(",")],
      { withinMs: WITHIN_MS },
    );
    assert.equal(code, 0, stderr);
    const result = JSON.parse(await readFile(file, "utf8")) as BenchResult;
    assert.deepEqual(result.scenarios.map(({ name }) => name).toSorted(), scenarios.toSorted());
    for (const { name, rivals } of result.scenarios) {
      const floor = rivals.find((rival) => rival.name === "bare-node");
      assert.ok(floor !== undefined && floor.median.done > 0, name);
      assert.equal(floor.median.failed, 0, name);
    }
  },
);
