/**
 * Where do numbers wait until somebody asks for them?
 * Owns: counters by label, histogram cells, and handing them to prom-client's registry at a scrape.
 * Never: knows what is counted.
 *
 * prom-client's own Counter and Histogram lost for what is counted per request: they sort and join the labels of every
 * single observation. A cell is found by one Map lookup and costs one addition; prom-client writes the text.
 */
import type { Gauge, Registry } from "prom-client";
import { CATALOG, type MetricFacts, type MetricName } from "./catalog.ts";

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  labels: Labels;
  value: number;
  /** For `_bucket`, `_sum` and `_count`. */
  metricName?: string;
}

/** Puts one family of the catalog into the registry; `read` is asked at each scrape. */
export function exposeFamily(registry: Registry, name: MetricName, read: () => Iterable<Sample>): void {
  const facts: MetricFacts = CATALOG[name];
  const family = {
    name,
    help: facts.help,
    type: facts.kind,
    aggregator: facts.workers ?? "sum",
    get: () =>
      Promise.resolve({
        name,
        help: facts.help,
        type: facts.kind,
        aggregator: facts.workers ?? "sum",
        values: [...read()],
      }),
  };
  // The registry asks a metric for its name and for get() and nothing else.
  registry.registerMetric(family as unknown as Gauge);
}

/** Numbers by label set. The label sets are as many as the caller's labels can be: bound them there. */
export class Tally {
  readonly #cells = new Map<string, Sample>();

  /** Values in the order of `names`. */
  add(names: readonly string[], values: readonly string[], amount = 1): void {
    this.cell(names, values).value += amount;
  }

  set(names: readonly string[], values: readonly string[], value: number): void {
    this.cell(names, values).value = value;
  }

  has(values: readonly string[]): boolean {
    return this.#cells.has(values.join("\0"));
  }

  remove(values: readonly string[]): void {
    this.#cells.delete(values.join("\0"));
  }

  removeWhere(matches: (labels: Labels) => boolean): void {
    for (const [key, cell] of this.#cells) if (matches(cell.labels)) this.#cells.delete(key);
  }

  get size(): number {
    return this.#cells.size;
  }

  samples(): Iterable<Sample> {
    return this.#cells.values();
  }

  /** To be added to by whoever counts the same again and again; it counts as long as it is not removed. */
  cell(names: readonly string[], values: readonly string[]): Sample {
    const key = values.join("\0");
    let cell = this.#cells.get(key);
    if (cell === undefined) {
      cell = { labels: Object.fromEntries(names.map((name, index) => [name, values[index] ?? ""])), value: 0 };
      this.#cells.set(key, cell);
    }
    return cell;
  }
}

/** One histogram for one label set. */
export class Buckets {
  readonly #bounds: readonly number[];
  readonly #counts: Float64Array;
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  observe(seconds: number): void {
    // A clock that was set back must not take time away from a sum that only grows.
    const value = seconds > 0 ? seconds : 0;
    let index = 0;
    while (index < this.#bounds.length && value > (this.#bounds[index] ?? Infinity)) index++;
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
    this.#sum += value;
  }

  *samples(name: MetricName, labels: Labels): Iterable<Sample> {
    let total = 0;
    for (const [index, count] of this.#counts.entries()) {
      total += count;
      const bound = this.#bounds[index];
      const le = bound === undefined ? "+Inf" : String(bound);
      yield { labels: { ...labels, le }, value: total, metricName: `${name}_bucket` };
    }
    yield { labels, value: this.#sum, metricName: `${name}_sum` };
    yield { labels, value: total, metricName: `${name}_count` };
  }
}
