/**
 * How does an order become a certificate?
 * Owns: the steps of RFC 8555 §7.4, resumed wherever the last process left them.
 * Never: decides that a certificate is needed, and never saves one (issue does).
 *
 * Write-ahead: the order's URL and the key are on disk before the CA is asked to sign. Whatever breaks after that (the
 * connection, the process, the disk), the next try looks at the same order and goes on.
 */
import { isIP } from "node:net";
import { GatehouseError, isGatehouseError } from "../core/errors.ts";
import type { Clock } from "../core/time.ts";
import type { Logger } from "../observe/log.ts";
import type { CertificateBundle } from "../storage/bundles.ts";
import { type CertificateFacts, checkCertificate } from "./certificate-check.ts";
import type { Prover } from "./authorize.ts";
import { explainChallenge } from "./challenges/explain.ts";
import type { PendingOrder, PendingOrders } from "./pending-order.ts";
import { AcmeProblem, AcmeUnreachable, readProblem } from "./problem.ts";
import { type KeyType, createSigningRequest, generateKeyPem } from "./signing-request.ts";
import type { AcmeOrder } from "./wire/answers.ts";
import { type AcmeWire, problemType } from "./wire/wire.ts";

/** pending, ready, processing, valid, and finalize lost on the way once or twice; more turns are a CA going in circles. */
const MAX_TURNS = 8;

/** What to ask for; all but the names may be left to the CA. */
export interface WantedCertificate {
  /** What the bundle is stored under. */
  name: string;
  /** DNS names (`*.` too) and addresses, `name` among them. */
  names: readonly string[];
  key: KeyType;
  /** Sent only to a CA that advertises it (draft-ietf-acme-profiles). */
  profile: string | undefined;
  /** Common name of an issuer in the chain that is preferred. */
  preferredChain: string | undefined;
  /** The certificate that this one follows, as the CA names it (RFC 9773 §5). */
  replaces?: { id: string; wasReplaced: () => Promise<void> } | undefined;
}

export interface OrderTools {
  directoryUrl: string;
  pending: PendingOrders;
  prover: Prover;
  clock: Clock;
  log: Logger;
}

/**
 * A certificate for the name: from the order that is under way when it can be finished, else from a new one. The order
 * stays on disk until `tools.pending.drop(name)`, which is due once the bundle is saved.
 *
 * @param current  what is stored already; an order with its key was finished and only not cleared away
 * @throws GATEHOUSE_ACME_*
 */
export async function obtainCertificate(
  tools: OrderTools,
  wire: AcmeWire,
  wanted: WantedCertificate,
  current: CertificateBundle | undefined,
  signal: AbortSignal,
): Promise<CertificateBundle> {
  const { name } = wanted;
  const underWay = await resumeOrder(tools, wire, wanted, current, signal);
  const { pending, order } = underWay ?? (await openOrder(tools, wire, wanted, signal));
  try {
    const valid = await drive(tools, wire, pending, order, signal);
    const facts = await download(tools, wire, pending, valid, wanted, signal);
    const { profile } = valid;
    const { directoryUrl: ca, clock } = tools;
    return { name, keyPem: pending.keyPem, ca, issuedAt: clock.now(), ...(profile && { profile }), ...facts };
  } catch (error) {
    if (!canContinue(error)) await tools.pending.drop(name);
    throw error;
  }
}

interface UnderWay {
  pending: PendingOrder;
  order: AcmeOrder;
}

async function resumeOrder(
  { pending: orders, clock, log }: OrderTools,
  wire: AcmeWire,
  { name, names }: WantedCertificate,
  current: CertificateBundle | undefined,
  signal: AbortSignal,
): Promise<UnderWay | undefined> {
  const pending = await orders.read(name);
  if (pending === undefined) return undefined;
  const drop = async (reason: string): Promise<undefined> => {
    log.info({ event: "acme.order.dropped", name, reason }, "unfinished order dropped");
    await orders.drop(name);
  };
  if (pending.keyPem === current?.keyPem) return drop("already saved");
  if (!isSameSet(pending.names, names)) return drop("other names");
  if (pending.expires !== undefined && pending.expires <= clock.now()) return drop("expired");
  let order: AcmeOrder;
  try {
    order = await wire.getOrder(pending.url, signal);
  } catch (error) {
    if (!isForgotten(error)) throw error;
    return drop("the CA does not know it");
  }
  if (order.status === "invalid") return drop("invalid");
  log.info({ event: "acme.order.resumed", name, status: order.status }, "unfinished order resumed");
  return { pending, order };
}

async function openOrder(
  { pending: orders, clock, log }: OrderTools,
  wire: AcmeWire,
  wanted: WantedCertificate,
  signal: AbortSignal,
): Promise<UnderWay> {
  const { name, names } = wanted;
  const keyPem = await generateKeyPem(wanted.key);
  const profile = await profileFor(wire, wanted, log, signal);
  const order = await newOrder(wire, wanted, profile, log, signal);
  const pending = { url: order.url, names, keyPem, createdAt: clock.now(), expires: order.expires };
  await orders.write(name, pending);
  log.info({ event: "acme.order.made", name, names, profile, status: order.status }, "certificate ordered");
  return { pending, order };
}

/** A CA that will not hear of the predecessor signs without it: once, and it is not named again. */
async function newOrder(
  wire: AcmeWire,
  { name, names, replaces }: WantedCertificate,
  profile: string | undefined,
  log: Logger,
  signal: AbortSignal,
): Promise<AcmeOrder> {
  if (replaces === undefined) return wire.newOrder(names, { profile }, signal);
  try {
    return await wire.newOrder(names, { profile, replaces: replaces.id }, signal);
  } catch (error) {
    const type = problemType(error) ?? "";
    // Unauthorized: another account of ours has ordered it. An account that may do nothing at all hears so again below.
    if (!["alreadyReplaced", "conflict", "malformed", "unauthorized"].includes(type)) throw error;
    log.info(
      { event: "acme.order.unreplaced", name, problem: type },
      "the order is made without naming its predecessor",
    );
    await replaces.wasReplaced();
    return wire.newOrder(names, { profile }, signal);
  }
}

/** The one profile of Let's Encrypt that takes addresses; a CA without it is asked for its default. */
const ADDRESS_PROFILE = "shortlived";

async function profileFor(
  wire: AcmeWire,
  { name, names, profile }: WantedCertificate,
  log: Logger,
  signal: AbortSignal,
): Promise<string | undefined> {
  const wanted = profile ?? (names.some((each) => isIP(each) !== 0) ? ADDRESS_PROFILE : undefined);
  if (wanted === undefined) return undefined;
  const advertised = await wire.profiles(signal);
  if (advertised.includes(wanted)) return wanted;
  if (profile !== undefined) {
    log.warn(
      { event: "acme.profile.unknown", name, profile, advertised },
      "the CA does not advertise this profile; its default is asked for",
    );
  }
  return undefined;
}

/** From whatever status to `valid`. */
async function drive(
  tools: OrderTools,
  wire: AcmeWire,
  pending: PendingOrder,
  first: AcmeOrder,
  signal: AbortSignal,
): Promise<AcmeOrder> {
  let order = first;
  for (let turn = 0; turn < MAX_TURNS; turn++) {
    switch (order.status) {
      case "pending":
        for (const url of order.authorizations) await tools.prover.authorize(wire, url, signal);
        order = await wire.pollOrder(order.url, signal);
        break;
      case "ready":
        order = await finalize(wire, order, pending, signal);
        break;
      case "processing":
        order = await wire.pollOrder(order.url, signal);
        break;
      case "valid":
        return order;
      case "invalid":
        throw explainChallenge(pending.names.join(", "), order.problem ?? readProblem({}, 0), {
          type: undefined,
          wasAsked: undefined,
          another: false,
          now: tools.clock.now(),
        });
    }
  }
  throw new GatehouseError("GATEHOUSE_ACME_SLOW", {
    message: `The order is still ${order.status} after ${MAX_TURNS} steps.`,
    hint: "Nothing to do here: the order is kept and continued at the next try.",
  });
}

/** When the answer is lost the CA may have signed all the same: the order itself knows. */
async function finalize(
  wire: AcmeWire,
  order: AcmeOrder,
  pending: PendingOrder,
  signal: AbortSignal,
): Promise<AcmeOrder> {
  const request = await createSigningRequest(pending.names, pending.keyPem);
  try {
    return await wire.finalize(order, request, signal);
  } catch (error) {
    const isLost = isGatehouseError(error) && error.cause instanceof AcmeUnreachable;
    if (!isLost && problemType(error) !== "orderNotReady") throw error;
    return wire.getOrder(order.url, signal);
  }
}

/** A truncated or foreign answer may be one proxy's bad moment, so it is fetched a second time before the order is given up. */
async function download(
  { clock, log }: OrderTools,
  wire: AcmeWire,
  pending: PendingOrder,
  order: AcmeOrder,
  { preferredChain }: WantedCertificate,
  signal: AbortSignal,
): Promise<CertificateFacts> {
  const fetchAndCheck = async (): Promise<CertificateFacts> =>
    checkCertificate(await wire.certificate(order, { preferredChain }, signal), { ...pending, now: clock.now() });
  try {
    return await fetchAndCheck();
  } catch (error) {
    if (!isGatehouseError(error, "GATEHOUSE_ACME_BAD_CERTIFICATE")) throw error;
    log.warn(
      { event: "acme.certificate.bad", names: pending.names, reason: error.message },
      "certificate fetched again",
    );
    return fetchAndCheck();
  }
}

export function isSameSet(some: readonly string[], others: readonly string[]): boolean {
  const set = new Set(others);
  return some.length === set.size && some.every((name) => set.has(name));
}

/** Refused, failed or unfit: starting over is all that is left. Anything else (slow, cut, aborted) goes on later. */
function canContinue(error: unknown): boolean {
  if (!isGatehouseError(error)) return true;
  return (
    error.retry !== "never" &&
    error.code !== "GATEHOUSE_ACME_CHALLENGE_FAILED" &&
    error.code !== "GATEHOUSE_ACME_BAD_CERTIFICATE"
  );
}

/** 404, "not your order", "no such order": but not "no such account", which has its own cure, and not 429. */
function isForgotten(error: unknown): boolean {
  const problem = isGatehouseError(error) && error.cause instanceof AcmeProblem ? error.cause : undefined;
  if (problem === undefined || problem.type === "accountDoesNotExist") return false;
  return problem.status >= 400 && problem.status < 500 && problem.status !== 429;
}
