/**
 * How do acme-client's requests reach the CA, and what comes back?
 * Owns: the one adapter of acme-client's axios: deadlines, abort, byte cap, extra roots, typed errors, nonces.
 * Never: knows what an order is, or tries anything twice.
 *
 * acme-client has one axios instance for the whole process, so what belongs to one call (its signal, its roots, its
 * nonce) travels in an AsyncLocalStorage. The loser was a map by directory URL: while a reload runs, the old edge and the
 * new one talk to the same directory with different settings, and would share one entry.
 *
 * No keep-alive: an order is some twenty requests each two months, and a POST that meets a connection the CA has just
 * closed costs a nonce and a riddle. A fresh connection costs two round trips.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import * as http from "node:http";
import * as https from "node:https";
import type { SecureContext } from "node:tls";
import { axios } from "acme-client";
import type { Clock } from "../../core/time.ts";
import { AcmeUnreachable, type BrokenRoad, isRecord, parseRetryAfter, readProblem } from "../problem.ts";

/** A chain is 5 KB and a directory 1 KB: past this it is not a CA that talks. */
const MAX_BODY_BYTES = 1_048_576;
/** Let's Encrypt forgets nonces after some minutes; an older one would only buy a badNonce. */
const NONCE_USEFUL_MS = 30_000;

export interface CallScope {
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
  readonly secureContext: SecureContext | undefined;
  readonly userAgent: string;
  /** For one request, from the first DNS question to the last byte. */
  readonly requestDeadlineMs: number;
  /** The newest Replay-Nonce, used for the next POST instead of asking for one: half the requests. */
  readonly nonce: NonceSlot;
  /** A success may say nothing: key change and revocation (RFC 8555 §7.3.5, §7.6). Elsewhere that is no ACME. */
  readonly isSilenceFine?: boolean;
  /** What the last answer asked for; a poller reads it. */
  retryAfterMs: number | undefined;
}

export interface NonceSlot {
  value: string | undefined;
  since: number;
}

interface Reply {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: Buffer;
}

type Adapter = Extract<NonNullable<typeof axios.defaults.adapter>, (config: never) => unknown>;
type AdapterConfig = Parameters<Adapter>[0];
type AdapterResponse = Awaited<ReturnType<Adapter>>;

const scopes = new AsyncLocalStorage<CallScope>();

/** Run calls of acme-client with these settings. */
export function withinScope<T>(scope: CallScope, work: () => Promise<T>): Promise<T> {
  return scopes.run(scope, work);
}

/**
 * Put our adapter under acme-client and switch its own retries off: they resend a used nonce, so that one 429 becomes
 * twelve POSTs and the reason is lost (publishlab/node-acme-client#103). Safe to call again.
 */
export function tameAcmeClient(): void {
  const defaults = axios.defaults as typeof axios.defaults & { acmeSettings: { retryMaxAttempts: number } };
  defaults.acmeSettings.retryMaxAttempts = 0;
  defaults.adapter = adapter;
}

async function adapter(config: AdapterConfig): Promise<AdapterResponse> {
  const scope = scopes.getStore();
  if (scope === undefined) throw new Error("acme-client was called outside withinScope");
  const method = (config.method ?? "get").toUpperCase();
  // The only HEAD acme-client ever sends asks for a nonce (RFC 8555 §7.2); one in hand is as good.
  if (method === "HEAD") {
    const nonce = takeNonce(scope);
    if (nonce !== undefined) return answer(config, 200, { "replay-nonce": nonce }, "");
  }
  const reply = await exchange(scope, method, parseUrl(config.url), typeof config.data === "string" ? config.data : "");
  keepNonce(scope, reply.headers);
  scope.retryAfterMs = parseRetryAfter(reply.headers["retry-after"], scope.clock.now());
  if (reply.status >= 400) throw readProblem(parseJson(reply), reply.status, scope.retryAfterMs);
  if (reply.status >= 300) {
    throw new AcmeUnreachable("garbage", `it redirects to ${(reply.headers.location ?? "nowhere").slice(0, 200)}`);
  }
  const isSilent = method === "HEAD" || (scope.isSilenceFine === true && reply.body.length === 0);
  return answer(config, reply.status, reply.headers, isSilent ? "" : readBody(reply));
}

function answer(config: AdapterConfig, status: number, headers: object, data: unknown): AdapterResponse {
  return { config, status, statusText: "", headers: { ...headers }, data };
}

function takeNonce(scope: CallScope): string | undefined {
  const { value, since } = scope.nonce;
  scope.nonce.value = undefined;
  return performance.now() - since < NONCE_USEFUL_MS ? value : undefined;
}

function keepNonce(scope: CallScope, headers: http.IncomingHttpHeaders): void {
  const nonce = headers["replay-nonce"];
  if (typeof nonce !== "string" || !/^[A-Za-z0-9_-]{1,512}$/.test(nonce)) return;
  scope.nonce.value = nonce;
  scope.nonce.since = performance.now();
}

function parseUrl(text: string | undefined): URL {
  const url = URL.parse(text ?? "");
  if (url === null) throw new AcmeUnreachable("garbage", `it names an address that is none: ${text?.slice(0, 200)}`);
  // RFC 8555 §6.1 wants HTTPS; a CA on this very machine (a test, a side car) has nobody in between.
  const isHere = ["localhost", "127.0.0.1", "[::1]"].includes(url.hostname);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && isHere)) {
    throw new AcmeUnreachable("garbage", `it names an address that is not https: ${url.href.slice(0, 200)}`);
  }
  return url;
}

function parseJson(reply: Reply): unknown {
  if (!/^application\/(?:[a-z.-]+\+)?json\b/i.test(reply.headers["content-type"] ?? "")) return undefined;
  try {
    return JSON.parse(reply.body.toString("utf8"));
  } catch {
    return undefined;
  }
}

/** An object, or PEM text. Anything else is not an ACME server: a login page of a hotel, a router, a wrong path. */
function readBody(reply: Reply): unknown {
  const json = parseJson(reply);
  if (isRecord(json)) return json;
  const text = reply.body.toString("latin1");
  if (text.trimStart().startsWith("-----BEGIN ")) return text;
  const kind = (reply.headers["content-type"] ?? "no content type").slice(0, 60);
  throw new AcmeUnreachable(
    "garbage",
    `it answered ${reply.status} with ${kind}, ${reply.body.length} bytes, not ACME`,
  );
}

function exchange(scope: CallScope, method: string, url: URL, data: string): Promise<Reply> {
  const { signal, requestDeadlineMs } = scope;
  signal?.throwIfAborted();
  const body = Buffer.from(data, "utf8");
  const headers: Record<string, string> = {
    "user-agent": scope.userAgent,
    accept: "*/*",
    "accept-language": "en",
    ...(method === "POST" && { "content-type": "application/jose+json", "content-length": String(body.length) }),
  };
  return new Promise((resolve, reject) => {
    const options = { method, headers, agent: false, ...(signal !== undefined && { signal }) };
    const request =
      url.protocol === "http:"
        ? http.request(url, options)
        : https.request(url, { ...options, ...(scope.secureContext && { secureContext: scope.secureContext }) });
    const deadline = setTimeout(() => {
      request.destroy(new AcmeUnreachable("timeout", `no whole answer within ${requestDeadlineMs / 1_000} s`));
    }, requestDeadlineMs);
    const fail = (error: Error): void => {
      clearTimeout(deadline);
      reject(signal?.aborted === true ? asError(signal.reason) : asUnreachable(error));
    };
    request.on("error", fail);
    request.on("response", (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on("error", fail);
      response.on("data", (chunk: Buffer) => {
        size += chunk.length;
        chunks.push(chunk);
        if (size > MAX_BODY_BYTES) {
          request.destroy(new AcmeUnreachable("garbage", `its answer is longer than ${MAX_BODY_BYTES} bytes`));
        }
      });
      response.on("end", () => {
        clearTimeout(deadline);
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) });
      });
    });
    request.end(body);
  });
}

const asError = (reason: unknown): Error => (reason instanceof Error ? reason : new Error(String(reason)));

const ROADS: Readonly<Record<string, BrokenRoad>> = {
  ECONNREFUSED: "refused",
  EHOSTUNREACH: "unreachable",
  ENETUNREACH: "unreachable",
  EADDRNOTAVAIL: "unreachable",
  ENETDOWN: "unreachable",
  ENOTFOUND: "dns",
  EAI_AGAIN: "dns",
  EAI_FAIL: "dns",
  ETIMEDOUT: "timeout",
  ECONNRESET: "cut",
  EPIPE: "cut",
  ECONNABORTED: "cut",
};

/** Names of X509 verification failures as Node gives them in `code`; there are some thirty, in these families. */
const TLS_CODE =
  /^(?:ERR_TLS_|ERR_SSL_|CERT_|CRL_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|HOSTNAME_MISMATCH|INVALID_|EPROTO)/;

function asUnreachable(error: Error): AcmeUnreachable {
  if (error instanceof AcmeUnreachable) return error;
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  // An AggregateError (both address families failed) has a code and no message.
  const text = error.message || code || error.name;
  if (TLS_CODE.test(code)) return new AcmeUnreachable("tls", text, error);
  const kind = ROADS[code] ?? (code.startsWith("HPE_") ? "garbage" : "cut");
  return new AcmeUnreachable(kind, text, error);
}
