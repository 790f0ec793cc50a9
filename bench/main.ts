/**
 * npm run bench: what does Gatehouse cost, and what do the others, in the same run?
 * Owns: the order of it all: rivals up, scenarios by rounds, rivals down, also after Ctrl-C.
 * Never: decides what is measured (scenarios) or how (measure).
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { hasProgram } from "../test/support/programs.ts";
import { type Field, prepareField } from "./ground.ts";
import { measureRound, type Plan, type Round } from "./measure.ts";
import { type BenchOptions, HELP, readOptions } from "./options.ts";
import { machineFacts, resultOf, scenarioResult, type ScenarioResult, tableOf, writeJson } from "./report.ts";
import { caddy } from "./rivals/caddy.ts";
import { gatehouse } from "./rivals/gatehouse.ts";
import { haproxy } from "./rivals/haproxy.ts";
import { bareHttpProxy } from "./rivals/http-proxy.ts";
import { nginx } from "./rivals/nginx.ts";
import type { Rival, RunningRival } from "./rivals/rival.ts";
import { type Scenario, SCENARIOS } from "./scenarios.ts";

const OTHERS: readonly Rival[] = [nginx, haproxy, caddy, bareHttpProxy];
const DEFAULT_ENTRY = join(import.meta.dirname, "../dist/cli/main.js");

interface Running {
  rival: Rival;
  process: RunningRival;
}

function chosen<T extends { name: string }>(all: readonly T[], names: readonly string[], what: string): T[] {
  for (const name of names) {
    if (!all.some((one) => one.name === name)) {
      throw new Error(`${name} is no ${what}; there are ${all.map((one) => one.name).join(", ")}`);
    }
  }
  return names.length === 0 ? [...all] : all.filter((one) => names.includes(one.name));
}

function plansOf({ isSmoke, seconds }: BenchOptions, scenario: Scenario): { first: Plan; later: Plan } {
  if (isSmoke) {
    const few: Plan = { measured: { count: scenario.smokeCount }, warmUp: { count: scenario.smokeCount } };
    return { first: few, later: few };
  }
  return {
    first: { measured: { seconds }, warmUp: { seconds: 3 } },
    later: { measured: { seconds }, warmUp: { seconds: 1 } },
  };
}

async function runScenario(
  scenario: Scenario,
  all: readonly Running[],
  missing: ScenarioResult["skipped"],
  options: BenchOptions,
  field: Field,
): Promise<ScenarioResult> {
  const skipped = [...missing];
  const able = all.filter(({ rival }) => {
    if (scenario.needsH2 === true && !rival.speaksH2) skipped.push({ rival: rival.name, reason: "speaks no HTTP/2" });
    return scenario.needsH2 !== true || rival.speaksH2;
  });
  const rounds = new Map<string, Round[]>(able.map(({ rival }) => [rival.name, []]));
  const plans = plansOf(options, scenario);
  const front = { host: field.host, folder: field.folder, core: field.cores.load };
  for (let round = 0; round < options.rounds; round++) {
    for (const { rival, process } of able) {
      progress(`${scenario.name}, round ${round + 1} of ${options.rounds}, ${rival.name}`);
      const plan = round === 0 ? plans.first : plans.later;
      rounds.get(rival.name)?.push(await measureRound(process, scenario, plan, front));
    }
  }
  progress("");
  const measured = able.map(({ rival, process }) => ({
    name: rival.name,
    version: process.version,
    rounds: rounds.get(rival.name) ?? [],
  }));
  return scenarioResult(scenario, measured, skipped);
}

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

async function run(options: BenchOptions): Promise<void> {
  const scenarios = chosen(SCENARIOS, options.scenarios, "scenario");
  const others = options.rivals[0] === "none" ? [] : chosen(OTHERS, options.rivals, "rival");
  if (!hasProgram("h2load")) throw new Error("the load is made by h2load: apt install nghttp2-client");
  const entry = options.entry ?? DEFAULT_ENTRY;
  if (!existsSync(entry)) throw new Error(`${entry} is not there; npm run build makes it`);
  const machine = machineFacts();
  const field = await prepareField();
  const onSignal = (): void => {
    field.destroy();
    process.exit(130);
  };
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);

  const missing: ScenarioResult["skipped"] = [];
  const running: Running[] = [];
  try {
    const rivals = [
      gatehouse({ name: "gatehouse", entry, bundle: field.bundle }),
      ...(options.base === undefined ? [] : [gatehouse({ name: "base", entry: options.base, bundle: field.bundle })]),
      ...others,
    ];
    for (const rival of rivals) {
      if (rival.needs !== undefined && !hasProgram(rival.needs.program)) {
        missing.push({ rival: rival.name, reason: `needs ${rival.needs.debianPackage}` });
        continue;
      }
      running.push({ rival, process: await rival.start(field.ground(rival.name)) });
    }
    const results: ScenarioResult[] = [];
    for (const scenario of scenarios) {
      const result = await runScenario(scenario, running, missing, options, field);
      results.push(result);
      process.stdout.write(`${tableOf(result)}\n\n`);
    }
    const result = resultOf(machine, options, results);
    process.stdout.write(`What this does not show:\n${result.doesNotShow.map((text) => `- ${text}\n`).join("")}`);
    if (options.jsonFile !== undefined) process.stdout.write(`Written to ${writeJson(result, options.jsonFile)}\n`);
  } finally {
    await Promise.all(running.map((one) => one.process.stop()));
    await field.clear();
  }
}

try {
  const options = readOptions(process.argv.slice(2));
  if (options === "help") process.stdout.write(HELP);
  else await run(options);
} catch (error) {
  process.stderr.write(`gatehouse bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
