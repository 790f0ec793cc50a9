/**
 * How is a CA spoken to, one step at a time?
 * Owns: acme-client (with wire/http, the only files that know it), nonce retries, polling, one account's key and URL.
 * Never: decides what to do next, keeps anything, or runs a whole order by itself (`auto()` is not used).
 */
import { isIP } from "node:net";
import { Client } from "acme-client";
import { GatehouseError } from "../../core/errors.ts";
import { type Clock, systemClock } from "../../core/time.ts";
import { explain } from "../explain.ts";
import { AcmeProblem, AcmeUnreachable, isRecord } from "../problem.ts";
import { type AcmeAuthorization, type AcmeChallenge, type AcmeOrder, readAuthorization, readOrder } from "./answers.ts";
import { poll, withFreshNonces } from "./again.ts";
import { trusting } from "./trust.ts";
import { type CallScope, type NonceSlot, tameAcmeClient, withinScope } from "./http.ts";

const REQUEST_DEADLINE_MS = 30_000;
/** Long enough for several vantage points and a CA under load; the order stays on disk when it is not. */
const POLL_DEADLINE_MS = 120_000;
type ClientOrder = Parameters<Client["getOrder"]>[0];
type ClientChallenge = Parameters<Client["completeChallenge"]>[0];

export interface ExternalAccount {
  kid: string;
  /** The HMAC key, base64url as CAs hand it out. */
  hmacKey: string;
}

export interface WireOptions {
  directoryUrl: string;
  /** PEM of the account's private key. */
  accountKeyPem: string;
  /** The account's URL (kid), when it is known. */
  accountUrl?: string | undefined;
  /** The key has no account and speaks for itself: for `revoke` by a certificate's own key (RFC 8555 §7.6). */
  isKeyAlone?: boolean | undefined;
  /** External account binding (RFC 8555 §7.3.4), for CAs whose accounts begin on a website. */
  eab?: ExternalAccount | undefined;
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
  /** Another address for this account; none removes it (RFC 8555 §7.3.2). */
  updateContact(contact: { email: string | undefined }, signal?: AbortSignal): Promise<void>;
  /** From now on this wire signs with the new key (RFC 8555 §7.3.5). */
  changeKey(newKeyPem: string, signal?: AbortSignal): Promise<void>;
  /** Names of the profiles that the directory advertises. */
  profiles(signal?: AbortSignal): Promise<string[]>;
  /** @param options.replaces  the certificate that this one follows, as `renewal-info` names it (RFC 9773 §5) */
  newOrder(
    names: readonly string[],
    options: { profile?: string | undefined; replaces?: string | undefined },
    signal?: AbortSignal,
  ): Promise<AcmeOrder>;
  getOrder(url: string, signal?: AbortSignal): Promise<AcmeOrder>;
  authorization(url: string, signal?: AbortSignal): Promise<AcmeAuthorization>;
  /** RFC 8555 §8.1. */
  keyAuthorization(token: string): Promise<string>;
  completeChallenge(challenge: AcmeChallenge, signal?: AbortSignal): Promise<void>;
  /** Until it is no longer `pending`. @throws GATEHOUSE_ACME_SLOW at the deadline */
  pollAuthorization(url: string, signal?: AbortSignal): Promise<AcmeAuthorization>;
  finalize(order: AcmeOrder, csrPem: string, signal?: AbortSignal): Promise<AcmeOrder>;
  /** Until it is neither `pending` nor `processing`. @throws GATEHOUSE_ACME_SLOW at the deadline */
  pollOrder(url: string, signal?: AbortSignal): Promise<AcmeOrder>;
  /** Take a certificate back (RFC 8555 §7.6), in this account's name or by its own key. @param reason  a number of RFC 5280 §5.3.1 */
  revoke(certificatePem: string, reason: number, signal?: AbortSignal): Promise<void>;
  /** The chain of a valid order, as PEM: the preferred one when the CA offers it, else the CA's own choice. */
  certificate(
    order: AcmeOrder,
    options: { preferredChain?: string | undefined },
    signal?: AbortSignal,
  ): Promise<string>;
}

export function createAcmeWire(options: WireOptions): AcmeWire {
  tameAcmeClient();
  const { directoryUrl, clock = systemClock, pollDeadlineMs = POLL_DEADLINE_MS } = options;
  const secureContext = trusting(options.roots);
  const nonce: NonceSlot = { value: undefined, since: 0 };
  const eab = options.eab && { kid: options.eab.kid, hmacKey: options.eab.hmacKey };
  let { accountUrl, accountKeyPem } = options;
  let client: Client | undefined;

  const open = (): Client => {
    client ??= new Client({
      directoryUrl,
      accountKey: accountKeyPem,
      ...(eab !== undefined && { externalAccountBinding: eab }),
      ...(accountUrl !== undefined && { accountUrl }),
    });
    if (options.isKeyAlone === true) withoutAccount(client);
    return client;
  };

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
        const contact = email === undefined ? {} : { contact: [`mailto:${email}`] };
        return (accountUrl = await askForAccount(client, { termsOfServiceAgreed: true, ...contact }));
      }),

    async findAccount(signal) {
      accountUrl = client = undefined;
      try {
        return await step("looking for our account", scopeOf(signal), async (client) => {
          return (accountUrl = await askForAccount(client, { onlyReturnExisting: true }));
        });
      } catch (error) {
        if (problemType(error) === "accountDoesNotExist") return undefined;
        throw error;
      }
    },

    updateContact: ({ email }, signal) =>
      step("changing the account's address", scopeOf(signal), async (client) => {
        await client.updateAccount({ contact: email === undefined ? [] : [`mailto:${email}`] });
      }),

    changeKey: (newKeyPem, signal) =>
      step("changing the account's key", { ...scopeOf(signal), isSilenceFine: true }, async (current) => {
        await current.updateAccountKey(newKeyPem);
        accountKeyPem = newKeyPem;
        client = undefined;
      }),

    profiles: (signal) => step("reading the CA's directory", scopeOf(signal), async (client) => profilesIn(client)),

    newOrder: (names, { profile, replaces }, signal) =>
      step(`ordering a certificate for ${names.join(", ")}`, scopeOf(signal), async (client) => {
        const identifiers = names.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value }));
        // What RFC 8555 does not know (profile; RFC 9773 §5: replaces) is passed on as it is.
        const wanted = {
          identifiers,
          ...(profile !== undefined && { profile }),
          ...(replaces !== undefined && { replaces }),
        };
        const order = await client.createOrder(wanted);
        return readOrder(order, order.url);
      }),

    getOrder: (url, signal) => fetchOrder(url, scopeOf(signal)),
    authorization: (url, signal) => fetchAuthorization(url, scopeOf(signal)),
    // Its type is HTTP-01 whatever is asked: for DNS-01 the library would hash it, and the solver does that itself.
    keyAuthorization: (token) => open().getChallengeKeyAuthorization({ type: "http-01", token } as ClientChallenge),

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

    revoke: (certificatePem, reason, signal) =>
      step("taking a certificate back", { ...scopeOf(signal), isSilenceFine: true }, async (client) => {
        // The library's enum is of the same numbers, and exists in its types alone.
        const why: object = { reason };
        await client.revokeCertificate(certificatePem, why);
      }),

    certificate: (order, { preferredChain }, signal) =>
      step("downloading the certificate", scopeOf(signal), async (client) => {
        const target = { url: order.url, status: "valid", certificate: order.certificateUrl } as ClientOrder;
        const chain: unknown = await client.getCertificate(target, preferredChain);
        if (typeof chain !== "string") throw new AcmeUnreachable("garbage", "it sent no PEM");
        return chain;
      }),
  };
}

/** The library's own way updates an account that is there already; with nothing new in it that is refused by some CAs. */
async function askForAccount(client: Client, wanted: object): Promise<string> {
  const inner = client as unknown as { api: { createAccount(wanted: object): Promise<unknown> } };
  await inner.api.createAccount(wanted);
  return client.getAccountUrl();
}

/** The library names an account in each request; without one it sends the key itself, which is what is wanted. */
function withoutAccount(client: Client): void {
  const inner = client as unknown as { api: { getAccountUrl(): string | null } };
  inner.api.getAccountUrl = () => null;
}

/** A directory is the CA's word: bounded, and nothing but words (draft-ietf-acme-profiles §3). */
async function profilesIn(client: Client): Promise<string[]> {
  const inner = client as unknown as { http: { getMetaField(field: string): Promise<unknown> } };
  const profiles = await inner.http.getMetaField("profiles");
  if (!isRecord(profiles)) return [];
  return Object.keys(profiles)
    .filter((name) => /^[\w.-]{1,64}$/.test(name))
    .slice(0, 50);
}

/** The kind of problem behind an explained error. */
export function problemType(error: unknown): string | undefined {
  return error instanceof GatehouseError && error.cause instanceof AcmeProblem ? error.cause.type : undefined;
}
