/**
 * What came out, for people and for programs?
 * Owns: the JSON of a run, its table, and the list of what it does not show.
 * Never: leaves out a rival because it was better.
 */
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { arch, availableParallelism, cpus, loadavg, release } from "node:os";
import { dirname, join } from "node:path";
import type { BenchOptions } from "./options.ts";
import { medianOf, type Round } from "./measure.ts";
import type { Scenario } from "./scenarios.ts";

export interface RivalResult {
  name: string;
  version: string;
  rounds: Round[];
  median: Round;
  /** Gatehouse's cost over this one's, median over median. */
  ratio: number | undefined;
}

export interface ScenarioResult {
  name: string;
  question: string;
  unit: string;
  rivals: RivalResult[];
  skipped: { rival: string; reason: string }[];
  aims: Readonly<Record<string, number>>;
  p99Aims: Readonly<Record<string, number>>;
}

export interface BenchResult {
  format: 1;
  date: string;
  machine: {
    cpu: string;
    cores: number;
    arch: string;
    kernel: string;
    node: string;
    openssl: string;
    loadBefore: number;
  };
  options: Pick<BenchOptions, "rounds" | "seconds" | "isSmoke">;
  scenarios: ScenarioResult[];
  doesNotShow: readonly string[];
}

const DOES_NOT_SHOW: readonly string[] = [
  "A real network: everything is loopback, without loss, without delay, and with the kernel's work on both ends of it.",
  "A machine at home: a Raspberry Pi has other ratios, above all for encryption.",
  "The last word on throughput: load and target share a core, so a fast proxy waits for them. CPU time per unit is what counts here.",
  "CPU time of the kernel that is charged to nobody (interrupts, writing the log back to the disk).",
  "What a rival can do when tuned by its authors; they run as Debian packages them, set up as their documents advise.",
  "HTTP/3, compression, caching, and targets that speak TLS.",
];

export const machineFacts = (): BenchResult["machine"] => ({
  cpu: cpus()[0]?.model ?? "unknown",
  cores: availableParallelism(),
  arch: arch(),
  kernel: release(),
  node: process.versions.node,
  openssl: process.versions.openssl,
  loadBefore: loadavg()[0] ?? 0,
});

export function resultOf(
  machine: BenchResult["machine"],
  { rounds, seconds, isSmoke }: BenchOptions,
  scenarios: ScenarioResult[],
): BenchResult {
  return {
    format: 1,
    date: new Date().toISOString(),
    machine,
    options: { rounds, seconds, isSmoke },
    scenarios,
    doesNotShow: DOES_NOT_SHOW,
  };
}

export function scenarioResult(
  scenario: Scenario,
  measured: { name: string; version: string; rounds: Round[] }[],
  skipped: ScenarioResult["skipped"],
): ScenarioResult {
  const withMedian = measured.map((one) => ({ ...one, median: medianOf(one.rounds) }));
  const own = withMedian.find((one) => one.name === "gatehouse")?.median.cost;
  return {
    name: scenario.name,
    question: scenario.question,
    unit: scenario.unit,
    rivals: withMedian.map((one) => ({
      ...one,
      ratio: own === undefined || one.median.cost === 0 ? undefined : own / one.median.cost,
    })),
    skipped,
    aims: scenario.aims ?? {},
    p99Aims: scenario.p99Aims ?? {},
  };
}

/** @param to a file, or a folder that gets a file named after the date */
export function writeJson(result: BenchResult, to: string): string {
  const isFolder = to.endsWith("/") || statSync(to, { throwIfNoEntry: false })?.isDirectory() === true;
  const file = isFolder ? join(to, `${result.date.slice(0, 16).replaceAll(":", "")}.json`) : to;
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
  return file;
}

const ratioText = ({ name, ratio }: RivalResult, aims: ScenarioResult["aims"]): string => {
  if (name === "gatehouse" || ratio === undefined) return "";
  return aimed(ratio, aims[name]);
};

const aimed = (ratio: number, aim: number | undefined): string =>
  aim === undefined ? ratio.toFixed(2) : `${ratio.toFixed(2)} ${ratio <= aim ? "≤" : "> !"} ${+aim.toFixed(3)}`;

function p99Lines({ rivals, p99Aims }: ScenarioResult): string[] {
  const own = rivals.find(({ name }) => name === "gatehouse")?.median.latencyMs.p99;
  return rivals.flatMap(({ name, median }) => {
    const aim = p99Aims[name];
    if (own === undefined || aim === undefined) return [];
    return [`p99 over that of ${name}: ${aimed(own / median.latencyMs.p99, aim)}`];
  });
}

export function tableOf(result: ScenarioResult): string {
  const head = [
    "",
    result.unit,
    "ours/its",
    "per second",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "memory MB",
    "busy",
    "failed",
  ];
  const rows = result.rivals.map((rival) => {
    const { cost, perSecond, latencyMs, memoryBytes, busy, failed } = rival.median;
    return [
      rival.name,
      cost.toFixed(1),
      ratioText(rival, result.aims),
      perSecond.toFixed(0),
      latencyMs.p50.toFixed(2),
      latencyMs.p99.toFixed(2),
      latencyMs.p999.toFixed(2),
      (memoryBytes / 1e6).toFixed(1),
      `${(busy * 100).toFixed(0)} %`,
      String(failed),
    ];
  });
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => (row[column] ?? "").length)));
  const line = (row: string[]): string =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  ");
  const facts = result.rivals.map(({ name, median }) => {
    const words = Object.entries(median.facts).map(([fact, value]) => `${fact} ${value.toFixed(0)}`);
    return words.length === 0 ? "" : `${name}: ${words.join(", ")}`;
  });
  const skipped = result.skipped.map(({ rival, reason }) => `${rival}: ${reason}`);
  const title = `${result.name}: ${result.question}`;
  return [title, ...[head, ...rows].map(line), ...p99Lines(result), ...facts, ...skipped]
    .filter((text) => text !== "")
    .map((text) => text.trimEnd())
    .join("\n");
}
