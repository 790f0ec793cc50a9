/**
 * What is the same for all requests of one connection with one Host?
 * Owns: who the client is and what the target is told of it, worked out once by the rules that every lane asks.
 * Never: reads a head; of a peer whose word about others is believed, nothing is kept.
 */
import type { SiteConfig } from "../../../config/model.ts";
import type { RequestIds } from "../../../core/request-ids.ts";
import { isTrusted } from "../../rules/client-identity.ts";
import { deviceFields } from "../../rules/device.ts";
import { canonicalAuthority, type ClientIdentity, forwardingFields, identifyClient } from "../../rules/headers.ts";
import type { Rules } from "../../rules/policy.ts";
import type { RequestHead } from "../../rules/request-head.ts";
import { normaliseHost } from "../../rules/routes.ts";
import type { ConnectionFacts } from "../check-request.ts";
import { linesOf } from "./answer.ts";

export interface Standing {
  rules: Rules;
  authority: string;
  /** Normalised. */
  host: string;
  /** As the target sees it. */
  canonical: string;
  /** Undefined for a believed peer: each of its requests may speak of somebody else. */
  client: ClientIdentity | undefined;
  /** The forwarding headers as lines. */
  lines: string;
}

/** @returns undefined when the authority is none */
export function standingUnder(
  rules: Rules,
  authority: string,
  facts: ConnectionFacts,
  known: Standing | undefined,
): Standing | undefined {
  if (known !== undefined && known.rules === rules && known.authority === authority) return known;
  const host = normaliseHost(authority);
  if (host === undefined) return undefined;
  const nothing = { method: "", target: "/", version: "1.1", headers: [], body: "none", contentLength: 0 } as const;
  const client = isTrusted(facts.peerAddress, rules)
    ? undefined
    : identifyClient({ ...facts, ...nothing, authority, host }, rules);
  return {
    rules,
    authority,
    host,
    canonical: canonicalAuthority({ authority, host }),
    // Each request gets an id of its own; this one would only be kept.
    client: client === undefined ? undefined : { ...client, requestId: "" },
    lines: client === undefined ? "" : inOnePiece(linesOf(forwardingFields(client))),
  };
}

/** V8 keeps a string as the tree it was added up from, and every request would walk through that again. */
const inOnePiece = (text: string): string => Buffer.from(text, "latin1").toString("latin1");

export function clientOf(standing: Standing, head: RequestHead, ids: RequestIds): ClientIdentity {
  const { client } = standing;
  return client === undefined ? identifyClient(head, standing.rules) : { ...client, requestId: ids.next() };
}

/** The lines that the edge adds to the head, in the order of `requestHeaders`. */
export function addedLines(standing: Standing, client: ClientIdentity, site: SiteConfig, head: RequestHead): string {
  const device = site.clientCert === undefined ? "" : linesOf(deviceFields(head, site));
  const id = `${device}x-request-id: ${client.requestId}\r\n`;
  if (!site.forwardingHeaders) return id;
  return (standing.client === undefined ? linesOf(forwardingFields(client)) : standing.lines) + id;
}
