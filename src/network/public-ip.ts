/**
 * Which address does the world see, and is it ours alone?
 * Owns: asking the router first and witnesses outside second, how many must agree, and what a difference means.
 * Never: publishes an address; asks anybody unless it is called.
 */
import { Resolver } from "node:dns/promises";
import { request } from "node:https";
import { isIP } from "node:net";
import { rootCertificates } from "node:tls";
import { errorText } from "../core/errors.ts";
import { kindOf, ownStableIpv6 } from "./addresses.ts";

/** Somebody outside who tells callers their address. */
export type Witness =
  /** The body is the address, as text. */
  | { kind: "https"; url: string }
  /** A TXT record of `name`, asked of `server` itself, is the address. */
  | { kind: "dns"; server: string; name: string };

export interface WitnessAnswer {
  witness: string;
  address: string | undefined;
  /** Why there is none. */
  error: string | undefined;
}

/**
 * `none`: the router's own address is what the world sees. `shared` and `private`: the router's address says that another
 * NAT is in front. `different`: it looks public and the world sees another one. `unknown`: one of the two is not known.
 */
export type NatInFront = "none" | "shared" | "private" | "different" | "unknown";

export interface PublicAddress {
  /** Undefined when neither the router nor two witnesses tell. */
  ipv4: string | undefined;
  from: "router" | "witnesses" | undefined;
  nat: NatInFront;
  routerAddress: string | undefined;
  answers: readonly WitnessAnswer[];
  /** The stable global address of this machine, not a temporary one. */
  ipv6: string | undefined;
}

export interface PublicAddressOptions {
  /** The router's WAN address, as it last told; undefined where it does not tell. */
  routerAddress: string | undefined;
  witnesses: readonly Witness[];
  /** PEM text: what to trust for witnesses by HTTPS beside the public roots. */
  roots?: string;
  /** Limits the search for `ipv6` to one interface. */
  interface?: string;
  signal: AbortSignal;
}

/** Two, because one may be wrong, bought or in the way. */
const AGREEING = 2;
const WITNESS_WITHIN_MS = 5_000;
const MAX_WITNESSES = 8;
/** The longest IPv6 text is 39 characters; what is longer is a page. */
const MAX_ANSWER_BYTES = 100;

/** Rejects with the signal's reason alone: a witness that fails is an answer of its own. */
export async function lookAtPublicAddress(options: PublicAddressOptions): Promise<PublicAddress> {
  const { routerAddress, witnesses, signal } = options;
  const [answers, ipv6] = await Promise.all([
    Promise.all(witnesses.slice(0, MAX_WITNESSES).map((one) => askWitness(one, options))),
    ownStableIpv6(options.interface),
  ]);
  signal.throwIfAborted();
  return { ...judge(routerAddress, answers), routerAddress, answers, ipv6 };
}

/** What the router and the witnesses come to, taken together. */
export function judge(
  routerAddress: string | undefined,
  answers: readonly WitnessAnswer[],
): Pick<PublicAddress, "ipv4" | "from" | "nat"> {
  const seen = agreed(answers);
  const kind = routerAddress === undefined ? "none" : kindOf(routerAddress);
  if (kind === "public" && (seen === undefined || seen === routerAddress)) {
    return { ipv4: routerAddress, from: "router", nat: seen === undefined ? "unknown" : "none" };
  }
  const from = seen === undefined ? undefined : "witnesses";
  if (kind === "shared" || kind === "private") return { ipv4: seen, from, nat: kind };
  return { ipv4: seen, from, nat: kind === "public" ? "different" : "unknown" };
}

function agreed(answers: readonly WitnessAnswer[]): string | undefined {
  const votes = new Map<string, number>();
  for (const { address } of answers) {
    if (address === undefined || kindOf(address) !== "public" || isIP(address) !== 4) continue;
    votes.set(address, (votes.get(address) ?? 0) + 1);
  }
  const [best, ...others] = [...votes].sort(([, a], [, b]) => b - a);
  // As many for another one: then nobody knows.
  if (best === undefined || best[1] < AGREEING || others[0]?.[1] === best[1]) return undefined;
  return best[0];
}

const nameOf = (one: Witness): string => (one.kind === "https" ? one.url : `${one.name} at ${one.server}`);

async function askWitness(witness: Witness, { roots, signal }: PublicAddressOptions): Promise<WitnessAnswer> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(WITNESS_WITHIN_MS)]);
  try {
    const text = witness.kind === "https" ? await byHttps(witness.url, roots, bounded) : await byDns(witness, bounded);
    const address = text.trim();
    if (isIP(address) === 0) throw new Error("its answer is no address");
    return { witness: nameOf(witness), address, error: undefined };
  } catch (error) {
    return { witness: nameOf(witness), address: undefined, error: errorText(error) };
  }
}

function byHttps(url: string, roots: string | undefined, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const trust = roots === undefined ? {} : { ca: [...rootCertificates, roots] };
    // By IPv4, or a witness would tell the IPv6 address.
    const asked = request(url, { family: 4, agent: false, signal, ...trust }, (response) => {
      let text = "";
      response.setEncoding("latin1");
      response.on("error", reject);
      response.on("data", (chunk: string) => {
        text += chunk;
        if (text.length > MAX_ANSWER_BYTES) response.destroy(new Error("its answer is a page"));
      });
      response.on("end", () => {
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`status ${response.statusCode}`));
      });
    });
    asked.on("error", reject);
    asked.end();
  });
}

async function byDns({ server, name }: { server: string; name: string }, signal: AbortSignal): Promise<string> {
  const resolver = new Resolver({ timeout: WITNESS_WITHIN_MS / 2, tries: 2, maxTimeout: WITNESS_WITHIN_MS });
  resolver.setServers([server]);
  const cancel = (): void => resolver.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    const [record = []] = await resolver.resolveTxt(name);
    return record.join("").slice(0, MAX_ANSWER_BYTES);
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}
