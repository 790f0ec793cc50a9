/**
 * What happened on one site since the start?
 * Owns: the numbers of one site, and the bound on how many label sets it may have.
 * Never: takes a label that a stranger chose: methods and codes outside the known ones are folded.
 */
import type { ExchangeRecord } from "./access-log.ts";
import { REQUEST_BOUNDS, UPGRADE_BOUNDS } from "./catalog.ts";
import { Buckets, type Sample, Tally } from "./cells.ts";

/** RFC 9110 §9.3 and RFC 5789; anything else is `_OTHER`, which is OpenTelemetry's word for it. */
const METHODS: ReadonlySet<string> = new Set("GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH".split(" "));

/** 10 methods × 500 codes × 3 versions could come together where a target answers any code it is asked for. */
const MAX_REQUEST_SETS = 300;

const REQUEST_LABELS = ["method", "code", "protocol"] as const;

export class SiteTally {
  readonly requests = new Tally();
  readonly durations = new Buckets(REQUEST_BOUNDS);
  readonly upgradeDurations = new Buckets(UPGRADE_BOUNDS);
  readonly upstreams = new Map<string, Buckets>();
  /** Label values: upstream, reason. */
  readonly upstreamErrors = new Tally();
  receivedBytes = 0;
  sentBytes = 0;
  inFlight = 0;
  upgrades = 0;
  #knownUpstreams: ReadonlySet<string> = new Set();
  /** Where the last request was counted; the next is nearly always of the same kind. */
  #last: Sample | undefined;
  #method = "";
  #status = 0;
  #version = "";

  /** Targets of the configuration; the numbers of targets that are gone go with them. */
  setUpstreams(upstreams: readonly string[]): void {
    this.#knownUpstreams = new Set(upstreams);
    for (const upstream of this.upstreams.keys()) {
      if (!this.#knownUpstreams.has(upstream)) this.upstreams.delete(upstream);
    }
    this.upstreamErrors.removeWhere((labels) => !this.#knownUpstreams.has(labels["upstream"] ?? ""));
  }

  get isIdle(): boolean {
    return this.inFlight <= 0 && this.upgrades <= 0;
  }

  ended(record: ExchangeRecord): void {
    this.inFlight--;
    this.receivedBytes += record.bytesIn;
    this.sentBytes += record.bytesOut;
    this.#countRequest(record);
    if (isUpgraded(record)) this.upgradeDurations.observe(record.durationMs / 1000);
    else this.durations.observe(record.durationMs / 1000);
    if (record.upstreamMs !== undefined && record.upstream !== undefined) {
      this.#upstream(this.upstreamLabel(record.upstream)).observe(record.upstreamMs / 1000);
    }
  }

  upstreamLabel(upstream: string): string {
    return this.#knownUpstreams.has(upstream) ? upstream : "_other";
  }

  #countRequest({ method, status, version }: ExchangeRecord): void {
    if (this.#last === undefined || method !== this.#method || status !== this.#status || version !== this.#version) {
      this.#last = this.#cellOf(method, status, version);
      this.#method = method;
      this.#status = status;
      this.#version = version;
    }
    this.#last.value++;
  }

  #cellOf(asked: string, status: number, version: string): Sample {
    const method = METHODS.has(asked) ? asked : "_OTHER";
    let values = [method, codeLabel(status), version];
    if (this.requests.size >= MAX_REQUEST_SETS && !this.requests.has(values)) {
      // Still adds up by class: at most 7 codes × 3 versions more.
      values = ["_OTHER", codeLabel(Math.floor(status / 100) * 100), version];
    }
    return this.requests.cell(REQUEST_LABELS, values);
  }

  #upstream(label: string): Buckets {
    let buckets = this.upstreams.get(label);
    if (buckets === undefined) {
      buckets = new Buckets(REQUEST_BOUNDS);
      this.upstreams.set(label, buckets);
    }
    return buckets;
  }
}

/** 101, or 200 to an extended CONNECT (RFC 8441 §5). What was refused is a request like any other. */
const isUpgraded = (record: ExchangeRecord): boolean =>
  record.kind === "upgrade" && (record.status === 101 || (record.version === "2" && record.status === 200));

/** A target may answer 999; RFC 9110 §15 knows 100 to 599. */
const codeLabel = (status: number): string =>
  status === 0 || (Number.isInteger(status) && status >= 100 && status <= 599) ? String(status) : "_OTHER";
