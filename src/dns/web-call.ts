/**
 * How is a provider's web interface called?
 * Owns: one HTTPS request with a deadline, a bound on the answer, no redirects, and the meaning of its status.
 * Never: repeats one, or puts a URL or a header (they hold tokens) into an error.
 */
import { errorText } from "../core/errors.ts";
import { failed, quoted, refused } from "./refusals.ts";

const WITHIN_MS = 30_000;
/** A page of a hundred records is 60 KB. */
const MAX_BODY_BYTES = 1_048_576;
/** A provider that says "next year" is mistaken. */
const MAX_RETRY_AFTER_MS = 86_400_000;

export interface WebCall {
  /** For messages: "DuckDNS". */
  provider: string;
  /** What is wrong when it refuses us: "Check the token". */
  hint: string;
  url: URL;
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  body?: unknown;
  /** Statuses that the caller understands besides 2xx. */
  alsoFine?: readonly number[];
}

export interface WebAnswer {
  status: number;
  text: string;
}

/**
 * @throws GATEHOUSE_DNS_REFUSED for 4xx, with what the provider says
 * @throws GATEHOUSE_DNS_FAILED for anything that may pass
 */
export async function callWeb(call: WebCall, signal: AbortSignal): Promise<WebAnswer> {
  const { provider, method = "GET", alsoFine = [] } = call;
  let status: number;
  let text: string;
  let retryAfter: string | null;
  try {
    const response = await fetch(call.url, {
      method,
      redirect: "error",
      headers: {
        "user-agent": "gatehouse",
        // A kept connection is dead once the home has another address, which is when it would be used again.
        connection: "close",
        ...(call.body !== undefined && { "content-type": "application/json" }),
        ...call.headers,
      },
      ...(call.body !== undefined && { body: JSON.stringify(call.body) }),
      signal: AbortSignal.any([signal, AbortSignal.timeout(WITHIN_MS)]),
    });
    ({ status } = response);
    retryAfter = response.headers.get("retry-after");
    text = await bodyOf(response);
  } catch (error) {
    signal.throwIfAborted();
    // fetch hides the network's own words one level down.
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    throw failed(`${provider} could not be reached`, new Error(errorText(cause)));
  }
  if ((status >= 200 && status < 300) || alsoFine.includes(status)) return { status, text };
  const words = `${provider} answered ${status}: ${quoted(text) || "nothing more"}`;
  if (status === 429 || status >= 500) {
    const seconds = Number(retryAfter ?? Number.NaN);
    const waitMs = Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds * 1_000, MAX_RETRY_AFTER_MS) : undefined;
    throw failed(words, undefined, waitMs === undefined ? undefined : Date.now() + waitMs);
  }
  throw refused(words, call.hint);
}

async function bodyOf(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new Error(`its answer is longer than ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** @throws GATEHOUSE_DNS_FAILED when it is no JSON: a login page, a provider in trouble */
export function jsonOf(provider: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw failed(`${provider} answered with something else than JSON`, error);
  }
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
