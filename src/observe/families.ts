/**
 * What is left of the numbers of a process that is gone?
 * Owns: the shape in which numbers travel between processes, and keeping what only grows.
 * Never: holds any.
 */
import type { Registry } from "prom-client";

/** prom-client's own shape. */
export type Families = Awaited<ReturnType<Registry["getMetricsAsJSON"]>>;
type Family = Families[number];

/** prom-client writes the words; its types know an enumeration of numbers. */
const isGrowing = ({ type }: Family): boolean => ["counter", "histogram"].includes(String(type));

/**
 * Counters and histograms of several processes, added up. Without those of the dead a total would fall when a worker
 * ends, which Prometheus takes for a restart, and counts all that is left once more. `isSite`: series of sites that left
 * the configuration leave too.
 */
export function keptNumbers(of: readonly Families[], isSite: (name: string) => boolean): Families {
  const kept = new Map<string, { family: Family; values: Map<string, Family["values"][number]> }>();
  for (const family of of.flat()) {
    if (!isGrowing(family)) continue;
    let sum = kept.get(family.name);
    if (sum === undefined) {
      sum = { family, values: new Map() };
      kept.set(family.name, sum);
    }
    for (const value of family.values) {
      const site = value.labels["site"];
      if (typeof site === "string" && site !== "_other" && !isSite(site)) continue;
      const metricName = "metricName" in value ? String(value.metricName) : "";
      const key = `${metricName}\0${JSON.stringify(Object.entries(value.labels).sort())}`;
      const known = sum.values.get(key);
      sum.values.set(key, known === undefined ? value : { ...known, value: known.value + value.value });
    }
  }
  return [...kept.values()].map(({ family, values }) => ({ ...family, values: [...values.values()] }));
}
