/**
 * npm run bench: what does Gatehouse cost, and what do the others, in the same run?
 * Owns: the order of it all: rivals up, scenarios by rounds, rivals down, also after Ctrl-C.
 * Never: decides what is measured (scenarios) or how (measure).
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hasProgram } from "../test/support/programs.ts";
import { type Contestant, runScenario } from "./contest.ts";
import { forwardRivals } from "./forward.ts";
import { prepareField } from "./ground.ts";
import { hostRivals } from "./hosts.ts";
import { type BenchOptions, HELP, readOptions } from "./options.ts";
import { pictureOf } from "./picture.ts";
import { type BenchResult, machineFacts, resultOf, type ScenarioResult, tableOf, writeJson } from "./report.ts";
import { bareNode } from "./rivals/bare-node.ts";
import { caddy } from "./rivals/caddy.ts";
import { gatehouse } from "./rivals/gatehouse.ts";
import { haproxy } from "./rivals/haproxy.ts";
import { bareHttpProxy } from "./rivals/http-proxy.ts";
import { nginx } from "./rivals/nginx.ts";
import type { Rival, RunningRival } from "./rivals/rival.ts";
import { type Scenario, SCENARIOS } from "./scenarios.ts";
import { laboriousBundle, workerRivals } from "./workers.ts";

const OTHERS: readonly Rival[] = [nginx, haproxy, caddy, bareHttpProxy];
/** Takes part when it is named. */
const FLOOR: Rival = bareNode;
const DEFAULT_ENTRY = join(import.meta.dirname, "../dist/cli/main.js");

function chosen<T extends { name: string }>(all: readonly T[], names: readonly string[], what: string): T[] {
  for (const name of names) {
    if (!all.some((one) => one.name === name)) {
      throw new Error(`${name} is no ${what}; there are ${all.map((one) => one.name).join(", ")}`);
    }
  }
  return names.length === 0 ? [...all] : all.filter((one) => names.includes(one.name));
}

function chosenRivals(names: readonly string[]): readonly Rival[] {
  if (names.length === 0) return OTHERS;
  return names[0] === "none" ? [] : chosen([...OTHERS, FLOOR], names, "rival");
}

async function run(options: BenchOptions): Promise<BenchResult> {
  const scenarios = chosen(SCENARIOS, options.scenarios, "scenario");
  const others = chosenRivals(options.rivals);
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
  const started: RunningRival[] = [];
  try {
    const { bundle } = field;
    const wanted = [
      gatehouse({ name: "gatehouse", entry, bundle }),
      ...(options.base === undefined ? [] : [gatehouse({ name: "base", entry: options.base, bundle })]),
      ...others,
    ];
    const present = (all: readonly Rival[], absent: ScenarioResult["skipped"]): Rival[] =>
      all.filter(({ name, needs }) => {
        if (needs === undefined || hasProgram(needs.program)) return true;
        absent.push({ rival: name, reason: `needs ${needs.debianPackage}` });
        return false;
      });
    const rivals = present(wanted, missing);
    const lasting = async (rival: Rival, folder = rival.name): Promise<Contestant> => {
      const running = await rival.start(field.ground(folder.replaceAll(" ", "-")));
      started.push(running);
      return { rival, running };
    };
    const usual: Contestant[] = [];
    if (scenarios.some((scenario) => scenario.isFreshEachRound !== true)) {
      for (const rival of rivals) usual.push(await lasting(rival));
    }
    const contestants = async (scenario: Scenario, absent: ScenarioResult["skipped"]): Promise<Contestant[]> => {
      if (scenario.contest === "forward") {
        const forwarders = forwardRivals({ entry, base: options.base, bundle });
        return present(forwarders, absent).map((rival) => ({ rival, running: undefined }));
      }
      if (scenario.contest === "workers") {
        const own = scenario.isLaborious === true ? await laboriousBundle(bundle, options.isSmoke) : bundle;
        const all = workerRivals({ entry, base: options.base, bundle: own });
        return Promise.all(all.map((rival) => lasting(rival, `${scenario.name}-${rival.name}`)));
      }
      if (scenario.contest === "hosts") {
        return hostRivals({ entry, bundle, isSmoke: options.isSmoke }).map((rival) => ({ rival, running: undefined }));
      }
      return scenario.isFreshEachRound === true ? rivals.map((rival) => ({ rival, running: undefined })) : usual;
    };
    const results: ScenarioResult[] = [];
    for (const scenario of scenarios) {
      const absent = scenario.contest === undefined ? missing : [];
      const result = await runScenario(scenario, await contestants(scenario, absent), absent, options, field);
      results.push(result);
      process.stdout.write(`${tableOf(result)}\n\n`);
    }
    const result = resultOf(machine, options, results);
    process.stdout.write(`What this does not show:\n${result.doesNotShow.map((text) => `- ${text}\n`).join("")}`);
    if (options.jsonFile !== undefined) process.stdout.write(`Written to ${writeJson(result, options.jsonFile)}\n`);
    return result;
  } finally {
    await Promise.all(started.map((one) => one.stop()));
    await field.clear();
  }
}

try {
  const options = readOptions(process.argv.slice(2));
  if (options === "help") process.stdout.write(HELP);
  else {
    const { from, pictureFile } = options;
    const result = from === undefined ? await run(options) : (JSON.parse(readFileSync(from, "utf8")) as BenchResult);
    if (pictureFile !== undefined) writeFileSync(pictureFile, pictureOf(result));
  }
} catch (error) {
  process.stderr.write(`gatehouse bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
