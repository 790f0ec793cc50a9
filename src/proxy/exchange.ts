/**
 * What happened to one request, from its head to the last byte?
 * Owns: the facts of one exchange and telling log and metrics exactly once.
 * Never: moves bytes.
 */
import type { LimitsConfig } from "../config/model.ts";
import type { ErrorCode, GatehouseError } from "../core/errors.ts";
import { ERROR_CODES } from "../core/errors.ts";
import type { AccessLog } from "../observe/access-log.ts";
import { isLimitName, type LimitName } from "../observe/limit-names.ts";
import type { Logger } from "../observe/log.ts";
import type { Metrics, UpstreamErrorReason } from "../observe/metrics.ts";
import type { TunnelBounds } from "./limits-tunnels.ts";
import type { HomeAssistantHint } from "./home-assistant.ts";
import { type ClientIdentity, identifyClient } from "./rules/headers.ts";
import { type Decision, decide, type Rules } from "./rules/policy.ts";
import { type RequestHead, valuesOf } from "./rules/request-head.ts";
import type { UpstreamPool } from "./upstream/pool.ts";

/** What every lane is given. `rules` is asked per request, so that a reload is one assignment. */
export interface LaneContext {
  rules(): Rules;
  /** Asked per connection or request: a reload changes them. */
  limits(): LimitsConfig;
  /** Counts, and says so in the log now and then; `client` is an address. */
  limitReached(limit: LimitName, client: string): void;
  tunnels: TunnelBounds;
  /** The end has begun: a connection ends with its next answer. */
  isLeaving(): boolean;
  /** That was long enough: what still asks is refused. */
  isDraining(): boolean;
  upstream: UpstreamPool;
  log: Logger;
  access: AccessLog;
  metrics: Metrics;
  /** Told of every bare 400 from a target; says once per site what Home Assistant would need. */
  homeAssistant?: HomeAssistantHint | undefined;
}

const REASONS: Partial<Record<ErrorCode, UpstreamErrorReason>> = {
  GATEHOUSE_UPSTREAM_REFUSED: "connect",
  GATEHOUSE_UPSTREAM_NONE: "connect",
  GATEHOUSE_UPSTREAM_SLOW: "timeout",
  GATEHOUSE_UPSTREAM_RESET: "reset",
  GATEHOUSE_UPSTREAM_TLS: "tls",
  GATEHOUSE_UPSTREAM_GARBAGE: "protocol",
};

export class Exchange {
  readonly head: RequestHead;
  readonly client: ClientIdentity;
  readonly decision: Decision;
  readonly id: string;
  kind: "request" | "upgrade" = "request";
  /** What the client was told; 0 until then. */
  status = 0;
  /** Body bytes from and to the client. */
  bytesIn = 0;
  bytesOut = 0;
  readonly #context: LaneContext;
  readonly #startedAt = performance.now();
  #askedAt: number | undefined;
  #answeredAt: number | undefined;
  #error: ErrorCode | undefined;
  #ended = false;
  #leaveTunnel: (() => void) | undefined;

  /**
   * @param verdict  for a request that was refused before the rules could be asked, or that a lane has asked them about
   * @param client   when the lane knows it already
   */
  constructor(context: LaneContext, head: RequestHead, verdict?: Decision, client?: ClientIdentity) {
    this.#context = context;
    this.head = head;
    this.client = client ?? identifyClient(head, context.rules());
    this.id = this.client.requestId;
    this.decision = verdict ?? decide(head, context.rules(), { draining: context.isDraining() });
    head.seat?.began();
    context.metrics.exchangeStarted(this.decision.site?.name);
  }

  /** The request left for the target / its first byte came. */
  upstreamAsked(): void {
    this.#askedAt = performance.now();
  }

  upstreamAnswered(): void {
    this.#answeredAt ??= performance.now();
  }

  /** Count an upstream error once and remember the code. */
  failed(code: ErrorCode): void {
    // OPTIONS * is answered by a decision of kind `refuse`, which lanes report like the others.
    if (this.decision.kind === "refuse" && this.decision.status < 400) return;
    if (this.#error !== undefined || this.#ended) return;
    this.#error = code;
    const { decision } = this;
    const reason = REASONS[code];
    if (decision.kind !== "forward" || reason === undefined || ERROR_CODES[code].source !== "upstream") return;
    this.#context.metrics.upstreamError(decision.site.name, decision.route.target.text, reason);
  }

  /** Says in the log why a target gave no answer; of a target that stays away only every few seconds. */
  reportFailure(error: GatehouseError): void {
    const { decision } = this;
    const { limit } = error.detail;
    if (isLimitName(limit)) this.#context.limitReached(limit, this.client.address);
    if (decision.kind !== "forward") return;
    const unsaid = this.#context.upstream.mayReport(decision.route.target);
    if (unsaid === undefined) return;
    const facts = { id: this.id, site: decision.site.name, target: decision.route.target.text, code: error.code };
    this.#context.log.warn(
      { event: "upstream.failed", ...facts, reason: error.message, hint: error.hint, unsaid },
      "target did not answer",
    );
  }

  /** Counts this exchange as a tunnel until its end; false when there is no room for one, which is reported here. */
  mayTunnel(): boolean {
    const admitted = this.#context.tunnels.admit(this.client.address);
    if (typeof admitted === "string") {
      this.#context.limitReached(admitted, this.client.address);
      return false;
    }
    this.#leaveTunnel = admitted;
    return true;
  }

  /** Idempotent; the first call writes the access line and the metrics. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    const { head, decision } = this;
    head.seat?.ended();
    this.#leaveTunnel?.();
    const record = {
      id: this.id,
      kind: this.kind,
      site: decision.site?.name,
      method: head.method,
      host: head.host,
      path: head.target,
      version: head.version,
      scheme: this.client.scheme,
      tlsVersion: head.tlsVersion,
      status: this.status,
      clientAddress: this.client.address,
      userAgent: "userAgent" in head ? head.userAgent : valuesOf(head.headers, "user-agent")[0],
      upstream: decision.kind === "forward" ? decision.route.target.text : undefined,
      upstreamMs:
        this.#askedAt === undefined || this.#answeredAt === undefined ? undefined : this.#answeredAt - this.#askedAt,
      durationMs: performance.now() - this.#startedAt,
      bytesIn: this.bytesIn,
      bytesOut: this.bytesOut,
      error: this.#error,
    };
    this.#context.access.write(record);
    this.#context.metrics.exchangeEnded(record);
    if (this.status === 400 && this.#error === undefined) this.#context.homeAssistant?.suspect(this);
  }
}
