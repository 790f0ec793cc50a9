/**
 * What does a CA tell everybody, without an account?
 * Owns: the directory (what it offers, what time it is there) and renewal information (RFC 9773 §4).
 * Never: signs a request or keeps an answer.
 */
import type { SecureContext } from "node:tls";
import { axios } from "acme-client";
import type { Clock } from "../../core/time.ts";
import { explain } from "../explain.ts";
import { AcmeUnreachable, isRecord } from "../problem.ts";
import { type CallScope, tameAcmeClient, withinScope } from "./http.ts";
import { trusting } from "./trust.ts";

const REQUEST_DEADLINE_MS = 30_000;
/** Windows further away than any life are nonsense. */
const LATEST_MS = Date.UTC(2200, 0, 1);

export interface RenewalWindow {
  start: number; // ms since 1970
  end: number; // ms since 1970
  explanationUrl: string | undefined;
}

/** Each call may throw a GatehouseError with code GATEHOUSE_ACME_*, or the reason of the signal. */
export interface AcmeInfo {
  directory(signal?: AbortSignal): Promise<{
    renewalInfoUrl: string | undefined;
    /** Our clock less the CA's, by the Date of its answer; undefined when it has none. */
    skewMs: number | undefined;
  }>;
  /** `window` is undefined when the CA's answer is none: a window that ends before it starts counts as no answer (§4.2). */
  renewalInfo(
    url: string,
    certificateId: string,
    signal?: AbortSignal,
  ): Promise<{ window: RenewalWindow | undefined; retryAfterMs: number | undefined }>;
}

export interface InfoOptions {
  directoryUrl: string;
  /** PEM of roots for the CA's own HTTPS. */
  roots?: string | undefined;
  userAgent?: string | undefined;
  clock: Clock;
  requestDeadlineMs?: number | undefined;
}

export function createAcmeInfo(options: InfoOptions): AcmeInfo {
  tameAcmeClient();
  const { directoryUrl, clock } = options;
  let secureContext: SecureContext | undefined;

  async function get(url: string, doing: string, signal: AbortSignal | undefined) {
    secureContext ??= trusting(options.roots);
    const scope: CallScope = {
      clock,
      signal,
      secureContext,
      userAgent: options.userAgent ?? "gatehouse",
      requestDeadlineMs: options.requestDeadlineMs ?? REQUEST_DEADLINE_MS,
      nonce: { value: undefined, since: 0 },
      retryAfterMs: undefined,
    };
    try {
      const { data, headers } = await withinScope(scope, () => axios.get<unknown>(url));
      if (!isRecord(data)) throw new AcmeUnreachable("garbage", "it sent no object");
      return { data, date: headers["date"] as unknown, retryAfterMs: scope.retryAfterMs };
    } catch (error) {
      throw explain(error, doing, clock.now());
    }
  }

  return {
    async directory(signal) {
      const { data, date } = await get(directoryUrl, "reading the CA's directory", signal);
      const there = typeof date === "string" ? Date.parse(date) : Number.NaN;
      const url = data["renewalInfo"];
      return {
        renewalInfoUrl: typeof url === "string" && url.length <= 2_000 ? url : undefined,
        skewMs: Number.isFinite(there) ? clock.now() - there : undefined,
      };
    },

    async renewalInfo(url, certificateId, signal) {
      const doing = "asking when to renew";
      const { data, retryAfterMs } = await get(`${url.replace(/\/$/, "")}/${certificateId}`, doing, signal);
      return { window: readWindow(data), retryAfterMs };
    },
  };
}

function readWindow(data: Record<string, unknown>): RenewalWindow | undefined {
  const suggested = isRecord(data["suggestedWindow"]) ? data["suggestedWindow"] : {};
  const [start, end] = [suggested["start"], suggested["end"]].map((each) =>
    typeof each === "string" ? Date.parse(each) : Number.NaN,
  );
  if (start === undefined || end === undefined || !(start < end) || !(start >= 0) || end > LATEST_MS) return undefined;
  const why = data["explanationURL"];
  return { start, end, explanationUrl: typeof why === "string" && /^https:\/\/\S{1,500}$/.test(why) ? why : undefined };
}
