/**
 * How does one scenario go over all who take part?
 * Owns: rounds that visit everybody in turn, processes that live for a round only, emptied logs.
 * Never: starts or stops the processes that go on to the next scenario.
 */
import { truncateSync } from "node:fs";
import type { Field } from "./ground.ts";
import type { Round } from "./measure.ts";
import type { BenchOptions } from "./options.ts";
import { scenarioResult, type ScenarioResult } from "./report.ts";
import type { Rival, RunningRival } from "./rivals/rival.ts";
import type { Scenario } from "./scenarios.ts";

export interface Contestant {
  rival: Rival;
  /** Undefined where each round starts its own. */
  running: RunningRival | undefined;
}

export async function runScenario(
  scenario: Scenario,
  all: readonly Contestant[],
  missing: ScenarioResult["skipped"],
  options: BenchOptions,
  field: Field,
): Promise<ScenarioResult> {
  const skipped = [...missing];
  const able = all.filter(({ rival }) => {
    if (scenario.needsH2 === true && !rival.speaksH2) skipped.push({ rival: rival.name, reason: "speaks no HTTP/2" });
    return scenario.needsH2 !== true || rival.speaksH2;
  });
  const measured = able.map(({ rival }) => ({ name: rival.name, version: "", rounds: [] as Round[] }));
  for (let round = 0; round < options.rounds; round++) {
    for (const [index, { rival, running }] of able.entries()) {
      progress(`${scenario.name}, round ${round + 1} of ${options.rounds}, ${rival.name}`);
      const process =
        running ?? (await rival.start(field.ground(`${scenario.name}-${rival.name}-${round}`.replaceAll(" ", "-"))));
      try {
        const { host, folder, cores } = field;
        const front = { port: process.httpsPort, host, folder, core: cores.load };
        const isFirstRound = round === 0 || running === undefined;
        const seconds = options.isSmoke ? undefined : options.seconds;
        const result = await scenario.measure({ rival: process, front, seconds, isFirstRound });
        measured[index]?.rounds.push(result);
        if (measured[index] !== undefined) measured[index].version = process.version;
        // Half a million lines a round would fill the disk.
        truncateSync(process.logFile);
      } catch (cause) {
        throw new Error(`${scenario.name}, ${rival.name}: ${cause instanceof Error ? cause.message : String(cause)}`, {
          cause,
        });
      } finally {
        if (running === undefined) await process.stop();
      }
    }
  }
  progress("");
  return scenarioResult(scenario, measured, skipped);
}

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}
