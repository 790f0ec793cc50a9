/**
 * How is a CA spoken to, one step at a time?
 * Owns: acme-client (with wire-http, the only files that know it), nonce retries, polling, one account's key and URL.
 * Never: decides what to do next, keeps anything, or runs a whole order by itself (`auto()` is not used).
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type SecureContext, createSecureContext, getCACertificates } from "node:tls";
import { Client } from "acme-client";
import { errorText, GatehouseError } from "../core/errors.ts";
import { type Clock, systemClock } from "../core/time.ts";
import { explain } from "./explain.ts";
import { AcmeProblem, AcmeUnreachable } from "./problem.ts";
import {
  type AcmeAuthorization,
  type AcmeChallenge,
  type AcmeOrder,
  readAuthorization,
  readOrder,
} from "./wire-answers.ts";
import { type CallScope, type NonceSlot, tameAcmeClient, withinScope } from "./wire-http.ts";

/** At a CA that refuses every second nonce (Pebble can) one request fails once in a million; real CAs refuse one in thousands. */
const NONCE_TRIES = 20;
/** Two stale nonces in a row happen; from then on wait a little, so that two clients do not march in step. */
const NONCE_JITTER_AFTER = 2;
const NONCE_JITTER_MS = 100;

const REQUEST_DEADLINE_MS = 30_000;
/** Long enough for several vantage points and a CA under load; the order stays on disk when it is not. */
const POLL_DEADLINE_MS = 120_000;
/** Without Retry-After (RFC 8555 §7.5.1 leaves it open): quick at first, then no faster than politeness allows. */
const POLL_FIRST_MS = 250;
const POLL_MAX_MS = 5_000;

type ClientOrder = Parameters<Client["getOrder"]>[0];
type ClientChallenge = Parameters<Client["completeChallenge"]>[0];

export interface WireOptions {
  directoryUrl: string;
  /** PEM of the account's private key. */
  accountKeyPem: string;
  /** The account's URL (kid), when it is known. */
  accountUrl?: string | undefined;
  /** PEM of roots to trust for the CA's own HTTPS, beside the usual ones. */
  roots?: string | undefined;
  /** RFC 8555 §6.1 asks for one. Default `gatehouse`. */
  userAgent?: string | undefined;
  clock?: Clock;
  requestDeadlineMs?: number;
  pollDeadlineMs?: number;
}

/** Every call may throw a GatehouseError with code GATEHOUSE_ACME_*, or the reason of the signal. */
export interface AcmeWire {
  readonly accountUrl: string | undefined;
  termsOfService(signal?: AbortSignal): Promise<string | undefined>;
  /** Make the account of this key, or find it: a CA answers both with its URL. */
  createAccount(contact: { email: string | undefined }, signal?: AbortSignal): Promise<string>;
  /** The URL of this key's account, or undefined when the CA knows none (RFC 8555 §7.3.1). */
  findAccount(signal?: AbortSignal): Promise<string | undefined>;
  newOrder(names: readonly string[], signal?: AbortSignal): Promise<AcmeOrder>;
  getOrder(url: string, signal?: AbortSignal): Promise<AcmeOrder>;
  authorization(url: string, signal?: AbortSignal): Promise<AcmeAuthorization>;
  challengeKeyAuthorization(challenge: AcmeChallenge): Promise<string>;
  completeChallenge(challenge: AcmeChallenge, signal?: AbortSignal): Promise<void>;
  /** Until it is no longer `pending`. @throws GATEHOUSE_ACME_SLOW at the deadline */
  pollAuthorization(url: string, signal?: AbortSignal): Promise<AcmeAuthorization>;
  finalize(order: AcmeOrder, csrPem: string, signal?: AbortSignal): Promise<AcmeOrder>;
  /** Until it is neither `pending` nor `processing`. @throws GATEHOUSE_ACME_SLOW at the deadline */
  pollOrder(url: string, signal?: AbortSignal): Promise<AcmeOrder>;
  /** The chain of a valid order, as PEM. */
  certificate(order: AcmeOrder, signal?: AbortSignal): Promise<string>;
}

export function createAcmeWire(options: WireOptions): AcmeWire {
  tameAcmeClient();
  const { directoryUrl, clock = systemClock, pollDeadlineMs = POLL_DEADLINE_MS } = options;
  const secureContext = trusting(options.roots);
  const nonce: NonceSlot = { value: undefined, since: 0 };
  let accountUrl = options.accountUrl;
  let client: Client | undefined;

  const open = (): Client =>
    (client ??= new Client({
      directoryUrl,
      accountKey: options.accountKeyPem,
      ...(accountUrl !== undefined && { accountUrl }),
    }));

  const scopeOf = (signal: AbortSignal | undefined): CallScope => ({
    clock,
    signal,
    secureContext,
    userAgent: options.userAgent ?? "gatehouse",
    requestDeadlineMs: options.requestDeadlineMs ?? REQUEST_DEADLINE_MS,
    nonce,
    retryAfterMs: undefined,
  });

  /** One step: a signed request, again with a fresh nonce while that is all that is wrong. */
  async function step<T>(doing: string, scope: CallScope, work: (client: Client) => Promise<T>): Promise<T> {
    try {
      return await withinScope(scope, () => withFreshNonces(scope.signal, () => work(open())));
    } catch (error) {
      // Directory and nonce may be what is stale (row 6 of the reliability facts): the next call reads them anew.
      client = undefined;
      nonce.value = undefined;
      throw explain(error, doing, clock.now());
    }
  }

  const fetchOrder = (url: string, scope: CallScope): Promise<AcmeOrder> =>
    step("looking at the order", scope, async (client) =>
      readOrder(await client.getOrder({ url } as ClientOrder), url),
    );

  const fetchAuthorization = (url: string, scope: CallScope): Promise<AcmeAuthorization> =>
    step("looking at the authorization", scope, async (client) => {
      const [data] = await client.getAuthorizations({ authorizations: [url] } as ClientOrder);
      return readAuthorization(data, url);
    });

  return {
    get accountUrl() {
      return accountUrl;
    },

    termsOfService: (signal) =>
      step("reading the CA's directory", scopeOf(signal), async (client) => {
        const terms: unknown = await client.getTermsOfServiceUrl();
        return typeof terms === "string" ? terms.slice(0, 500) : undefined;
      }),

    createAccount: ({ email }, signal) =>
      step("making an account", scopeOf(signal), async (client) => {
        await client.createAccount({
          termsOfServiceAgreed: true,
          ...(email !== undefined && { contact: [`mailto:${email}`] }),
        });
        return (accountUrl = client.getAccountUrl());
      }),

    async findAccount(signal) {
      accountUrl = client = undefined;
      try {
        return await step("looking for our account", scopeOf(signal), async (client) => {
          await client.createAccount({ onlyReturnExisting: true });
          return (accountUrl = client.getAccountUrl());
        });
      } catch (error) {
        if (problemType(error) === "accountDoesNotExist") return undefined;
        throw error;
      }
    },

    newOrder: (names, signal) =>
      step(`ordering a certificate for ${names.join(", ")}`, scopeOf(signal), async (client) => {
        const order = await client.createOrder({ identifiers: names.map((value) => ({ type: "dns", value })) });
        return readOrder(order, order.url);
      }),

    getOrder: (url, signal) => fetchOrder(url, scopeOf(signal)),
    authorization: (url, signal) => fetchAuthorization(url, scopeOf(signal)),
    challengeKeyAuthorization: (challenge) => open().getChallengeKeyAuthorization(challenge as ClientChallenge),

    completeChallenge: (challenge, signal) =>
      step("asking the CA to look at the challenge", scopeOf(signal), async (client) => {
        await client.completeChallenge(challenge as ClientChallenge);
      }),

    pollAuthorization: (url, signal) =>
      poll("to check the name", scopeOf(signal), pollDeadlineMs, (scope) => fetchAuthorization(url, scope), {
        isSettled: ({ status }) => status !== "pending",
      }),

    finalize: (order, csrPem, signal) =>
      step("asking for the signature", scopeOf(signal), async (client) => {
        const target = { url: order.url, finalize: order.finalizeUrl } as ClientOrder;
        return readOrder(await client.finalizeOrder(target, csrPem), order.url);
      }),

    pollOrder: (url, signal) =>
      poll("to sign", scopeOf(signal), pollDeadlineMs, (scope) => fetchOrder(url, scope), {
        isSettled: ({ status }) => status !== "pending" && status !== "processing",
      }),

    certificate: (order, signal) =>
      step("downloading the certificate", scopeOf(signal), async (client) => {
        const target = { url: order.url, status: "valid", certificate: order.certificateUrl } as ClientOrder;
        const chain: unknown = await client.getCertificate(target);
        if (typeof chain !== "string") throw new AcmeUnreachable("garbage", "it sent no PEM");
        return chain;
      }),
  };
}

/** Built once for a wire: parsing some 150 roots takes tens of milliseconds. */
function trusting(roots: string | undefined): SecureContext | undefined {
  if (roots === undefined) return undefined;
  try {
    return createSecureContext({ ca: [...getCACertificates("default"), roots] });
  } catch (cause) {
    throw new GatehouseError("GATEHOUSE_CONFIG_INVALID", {
      message: `acme.caRoots is not a PEM certificate: ${errorText(cause)}.`,
      hint: "Give the file that begins with -----BEGIN CERTIFICATE-----.",
      cause,
    });
  }
}

/** The kind of problem behind an explained error. */
export function problemType(error: unknown): string | undefined {
  return error instanceof GatehouseError && error.cause instanceof AcmeProblem ? error.cause.type : undefined;
}

async function withFreshNonces<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof AcmeProblem) || error.type !== "badNonce" || tries === NONCE_TRIES) throw error;
      // The refusal brought a new nonce along (RFC 8555 §6.5); wire-http holds it ready.
      if (tries > NONCE_JITTER_AFTER) await sleep(Math.random() * NONCE_JITTER_MS, undefined, { signal });
    }
  }
}

async function poll<T>(
  waitingFor: string,
  scope: CallScope,
  withinMs: number,
  look: (scope: CallScope) => Promise<T>,
  { isSettled }: { isSettled: (item: T) => boolean },
): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (let pause = POLL_FIRST_MS; ; pause = Math.min(pause * 2, POLL_MAX_MS)) {
    const item = await look(scope);
    if (isSettled(item)) return item;
    const wait = scope.retryAfterMs ?? pause;
    if (performance.now() + wait > deadline) {
      throw new GatehouseError("GATEHOUSE_ACME_SLOW", {
        message: `The CA takes longer than ${withinMs / 1_000} s ${waitingFor}.`,
        hint: "Nothing to do here: the order is kept and continued at the next try.",
        ...(scope.retryAfterMs !== undefined && { notBefore: scope.clock.now() + scope.retryAfterMs }),
      });
    }
    await sleep(wait, undefined, { signal: scope.signal });
  }
}
