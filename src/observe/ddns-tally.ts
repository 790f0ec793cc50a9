/**
 * Do the names lead home?
 * Owns: the numbers of dynamic DNS and their labels.
 * Never: takes a label from outside: names and services are our own configuration.
 */
import type { MetricName } from "./catalog.ts";
import type { Tally } from "./cells.ts";

export interface DdnsMetrics {
  /** A service was told an address: it took it, said no, or there was no answer that makes sense. */
  ddnsUpdate(service: string, outcome: "taken" | "refused" | "failed"): void;
  /** Times in ms since 1970. `undefined` takes the name off. */
  ddnsName(name: string, facts: { goodAt: number | undefined; failures: number } | undefined): void;
}

export function ddnsMetrics(tallyOf: (name: MetricName) => Tally): DdnsMetrics {
  const updates = tallyOf("gatehouse_ddns_updates_total");
  const good = tallyOf("gatehouse_ddns_last_success_timestamp_seconds");
  const failures = tallyOf("gatehouse_ddns_consecutive_failures");
  return {
    ddnsUpdate: (service, outcome) => updates.add(["service", "outcome"], [service, outcome]),
    ddnsName(name, facts) {
      if (facts === undefined) {
        for (const tally of [good, failures]) tally.remove([name]);
        return;
      }
      if (facts.goodAt !== undefined) good.set(["name"], [name], facts.goodAt / 1000);
      failures.set(["name"], [name], facts.failures);
    },
  };
}
