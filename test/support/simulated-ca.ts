/**
 * A CA that lives in a clock of the test's own: behind our wire's interface, with real keys and certificates, and with the
 * limits that Let's Encrypt publishes, counted by itself. A question beyond a limit is noted as a violation.
 */
import { createHash, createPublicKey, generateKeyPairSync, randomBytes, sign, type KeyObject } from "node:crypto";
import { Pkcs10CertificateRequest } from "@peculiar/x509";
import { explain } from "../../src/acme/explain.ts";
import { domainOf } from "../../src/acme/ledger/limits.ts";
import { AcmeProblem, AcmeUnreachable } from "../../src/acme/problem.ts";
import type { AcmeAuthorization, AcmeOrder } from "../../src/acme/wire/answers.ts";
import type { AcmeInfo, RenewalWindow } from "../../src/acme/wire/info.ts";
import type { AcmeWire } from "../../src/acme/wire/wire.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** What goes wrong with one question; undefined: nothing. */
export type Trouble =
  | { road: "refused" | "cut" | "timeout" }
  /** Done, but the answer is lost. */
  | { road: "lost" }
  | { status: number; type: string; detail: string; retryAfterMs?: number };

export interface SimulatedCa {
  connect(): AcmeWire;
  info: AcmeInfo;
  /** What was asked beyond a published limit. */
  violations: string[];
  orders: number;
  certificates: number;
  /** Orders that named their predecessor and were not counted. */
  replacements: number;
}

export interface SimulatedCaOptions {
  directoryUrl: string;
  clock: { now(): number };
  lifeMs(name: string): number;
  /** Asked at each question. */
  trouble?: (question: keyof AcmeWire | "directory" | "renewalInfo", names: readonly string[]) => Trouble | undefined;
  /** Would the CA's look at this name succeed now? */
  isReachable?: (name: string) => boolean;
  /** Moves the window of a certificate. Default: around two thirds of its life. */
  window?: (certificate: { name: string; notBefore: number; notAfter: number }) => RenewalWindow | undefined;
  retryAfterMs?: number;
  /** The CA's clock less the test's. */
  skewMs?: () => number;
}

interface Order {
  names: readonly string[];
  account: string;
  isFree: boolean;
  isRenewal: boolean;
  status: AcmeOrder["status"];
  chainPem?: string;
}

/** Fills up again evenly; counted in tokens, unlike ours, which is counted in instants. */
class Bucket {
  #tokens: number;
  #at: number;
  readonly #burst: number;
  readonly #periodMs: number;
  constructor(burst: number, periodMs: number, now: number) {
    [this.#tokens, this.#burst, this.#periodMs, this.#at] = [burst, burst, periodMs, now];
  }
  has(now: number): boolean {
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#at) * this.#burst) / this.#periodMs);
    this.#at = now;
    return this.#tokens >= 1 - 1e-6;
  }
  take(): void {
    this.#tokens--;
  }
}

const LIMITS = {
  orders: [300, 3 * HOUR],
  domain: [50, 7 * DAY],
  set: [5, 7 * DAY],
  failures: [5, HOUR],
  accounts: [10, 3 * HOUR],
} as const;

export function simulateCa(options: SimulatedCaOptions): SimulatedCa {
  const { clock, directoryUrl, trouble = () => undefined, isReachable = () => true } = options;
  const root = createRoot(directoryUrl);
  const buckets = new Map<string, Bucket>();
  const orders = new Map<string, Order>();
  const authorizations = new Map<
    string,
    { name: string; isWildcard: boolean; order: string; status: AcmeAuthorization["status"] }
  >();
  /** By the identifier of renewal information. */
  const issued = new Map<
    string,
    { name: string; set: string; notBefore: number; notAfter: number; isReplaced: boolean }
  >();
  const sets = new Set<string>();
  let counter = 0;

  const ca: SimulatedCa = { connect, info: createInfo(), violations: [], orders: 0, certificates: 0, replacements: 0 };

  function bucket(kind: keyof typeof LIMITS, key: string): Bucket {
    const place = `${kind} ${key}`;
    const [burst, periodMs] = LIMITS[kind];
    const found = buckets.get(place) ?? new Bucket(burst, periodMs, clock.now());
    buckets.set(place, found);
    return found;
  }

  function limit(kind: keyof typeof LIMITS, key: string): void {
    if (bucket(kind, key).has(clock.now())) return;
    ca.violations.push(`${new Date(clock.now()).toISOString()} ${kind} ${key}`);
    throw problem({ status: 429, type: "rateLimited", detail: `${kind} of ${key}`, retryAfterMs: HOUR });
  }

  const problem = ({ status, type, detail, retryAfterMs }: Extract<Trouble, { status: number }>): AcmeProblem =>
    new AcmeProblem({ status, type, detail, subproblems: [], retryAfterMs });

  /** A question: trouble before it is heard, what it does, trouble after. */
  async function heard<T>(what: Parameters<typeof trouble>[0], names: readonly string[], work: () => T): Promise<T> {
    try {
      const wrong = trouble(what, names);
      if (wrong !== undefined && "status" in wrong) throw problem(wrong);
      if (wrong !== undefined && wrong.road !== "lost") throw new AcmeUnreachable(wrong.road, "simulated");
      const result = work();
      if (wrong !== undefined) throw new AcmeUnreachable("cut", "simulated: the answer is lost");
      return result;
    } catch (error) {
      throw explain(error, `asking ${what}`, clock.now());
    }
  }

  const asOrder = (url: string): AcmeOrder => {
    const order = orders.get(url);
    if (order === undefined) throw problem({ status: 404, type: "malformed", detail: "no such order" });
    return {
      url,
      status: order.status,
      names: order.names,
      authorizations: order.names.map((name) => `${url}/authz/${name}`),
      finalizeUrl: `${url}/finalize`,
      certificateUrl: order.chainPem === undefined ? undefined : `${url}/certificate`,
      expires: undefined,
      profile: undefined,
      problem: undefined,
    };
  };

  const asAuthorization = (url: string): AcmeAuthorization => {
    const { name, isWildcard, status } = authorizations.get(url) ?? { name: "?", isWildcard: false, status: "expired" };
    const token = createHash("sha256").update(url).digest("base64url");
    const type = isWildcard ? "dns-01" : "http-01";
    const done = status === "valid" ? "valid" : status === "pending" ? "pending" : "invalid";
    const wrong = new AcmeProblem({
      type: "connection",
      status: 0,
      detail: "simulated",
      subproblems: [],
      retryAfterMs: undefined,
    });
    return {
      url,
      name,
      isWildcard,
      status,
      challenges: [
        { type, url: `${url}/challenge`, token, status: done, problem: done === "invalid" ? wrong : undefined },
      ],
    };
  };

  function replace(id: string, names: readonly string[]): boolean {
    const old = issued.get(id);
    if (old === undefined) throw problem({ status: 404, type: "malformed", detail: "predecessor unknown" });
    if (old.isReplaced) throw problem({ status: 409, type: "alreadyReplaced", detail: "it has a successor" });
    if (!names.includes(old.name)) throw problem({ status: 400, type: "malformed", detail: "no name in common" });
    return (windowOf(old)?.start ?? 0) <= clock.now();
  }

  function connect(): AcmeWire {
    const account = "the account";
    return {
      accountUrl: `${directoryUrl}/account`,
      termsOfService: () => heard("termsOfService", [], () => undefined),
      createAccount: () =>
        heard("createAccount", [], () => {
          limit("accounts", "here");
          bucket("accounts", "here").take();
          return `${directoryUrl}/account`;
        }),
      findAccount: () => heard("findAccount", [], () => undefined),
      updateContact: async () => {},
      changeKey: async () => {},
      revoke: async () => {},
      profiles: () => heard("profiles", [], () => []),
      newOrder: (names, { replaces }) =>
        heard("newOrder", names, () => {
          const set = [...names].sort().join(" ");
          const isFree = replaces !== undefined && replace(replaces, names);
          const isRenewal = sets.has(set);
          for (const name of names) limit("failures", `${account} ${name.replace(/^\*\./, "")}`);
          if (!isFree) limit("set", set);
          if (!isFree && !isRenewal) {
            for (const domain of new Set(names.map(domainOf))) limit("domain", domain);
            limit("orders", account);
            bucket("orders", account).take();
          }
          if (isFree) ca.replacements++;
          ca.orders++;
          const url = `${directoryUrl}/order/${++counter}`;
          orders.set(url, { names, account, isFree, isRenewal, status: "pending" });
          for (const name of names) {
            const isWildcard = name.startsWith("*.");
            authorizations.set(`${url}/authz/${name}`, {
              name: name.replace(/^\*\./, ""),
              isWildcard,
              order: url,
              status: "pending",
            });
          }
          if (isFree && replaces !== undefined) {
            const old = issued.get(replaces);
            if (old !== undefined) old.isReplaced = true;
          }
          return asOrder(url);
        }),
      getOrder: (url) => heard("getOrder", orders.get(url)?.names ?? [], () => asOrder(url)),
      authorization: (url) => heard("authorization", [], () => asAuthorization(url)),
      keyAuthorization: async (token) => `${token}.thumbprint`,
      completeChallenge: ({ url }) =>
        heard("completeChallenge", [], () => {
          const authorization = authorizations.get(url.replace(/\/challenge$/, ""));
          if (authorization === undefined)
            throw problem({ status: 404, type: "malformed", detail: "no such challenge" });
          const order = orders.get(authorization.order);
          if (isReachable(authorization.name)) {
            authorization.status = "valid";
            if (
              order !== undefined &&
              asOrder(authorization.order).authorizations.every((each) => authorizations.get(each)?.status === "valid")
            ) {
              order.status = "ready";
            }
            return;
          }
          authorization.status = "invalid";
          if (order !== undefined) order.status = "invalid";
          const failures = bucket("failures", `${account} ${authorization.name}`);
          failures.has(clock.now());
          failures.take();
        }),
      pollAuthorization: (url) => heard("pollAuthorization", [], () => asAuthorization(url)),
      finalize: (order, csrPem) =>
        heard("finalize", order.names, () => {
          const mine = orders.get(order.url);
          if (mine?.status !== "ready") throw problem({ status: 403, type: "orderNotReady", detail: "not ready" });
          const set = [...mine.names].sort().join(" ");
          const sets5 = bucket("set", set);
          if (!mine.isFree) {
            sets5.has(clock.now());
            sets5.take();
          }
          if (!mine.isFree && !mine.isRenewal) {
            for (const domain of new Set(mine.names.map(domainOf))) {
              bucket("domain", domain).has(clock.now());
              bucket("domain", domain).take();
            }
          }
          sets.add(set);
          ca.certificates++;
          const [name = ""] = mine.names;
          const notBefore = Math.floor(clock.now() / 1_000) * 1_000 - HOUR;
          const notAfter = notBefore + options.lifeMs(name);
          const serial = Buffer.concat([Buffer.of(0x41), randomBytes(15)]);
          const publicKey = Buffer.from(new Pkcs10CertificateRequest(csrPem).publicKey.rawData);
          mine.chainPem = root.issue({ names: mine.names, publicKey, serial, notBefore, notAfter });
          mine.status = "valid";
          issued.set(`${root.keyId.toString("base64url")}.${serial.toString("base64url")}`, {
            name,
            set,
            notBefore,
            notAfter,
            isReplaced: false,
          });
          return asOrder(order.url);
        }),
      pollOrder: (url) => heard("pollOrder", orders.get(url)?.names ?? [], () => asOrder(url)),
      certificate: (order) => heard("certificate", order.names, () => orders.get(order.url)?.chainPem ?? ""),
    };
  }

  function windowOf(certificate: { name: string; notBefore: number; notAfter: number }): RenewalWindow | undefined {
    if (options.window !== undefined) return options.window(certificate);
    const life = certificate.notAfter - certificate.notBefore;
    const middle = certificate.notBefore + life * (life < 10 * DAY ? 1 / 2 : 2 / 3);
    return { start: middle - life / 100, end: middle + life / 100, explanationUrl: undefined };
  }

  function createInfo(): AcmeInfo {
    return {
      directory: () =>
        heard("directory", [], () => ({ renewalInfoUrl: `${directoryUrl}/info`, skewMs: -(options.skewMs?.() ?? 0) })),
      renewalInfo: (_, id) =>
        heard("renewalInfo", [], () => {
          const certificate = issued.get(id);
          if (certificate === undefined)
            throw problem({ status: 404, type: "malformed", detail: "unknown certificate" });
          return { window: windowOf(certificate), retryAfterMs: options.retryAfterMs ?? 6 * HOUR };
        }),
    };
  }
  return ca;
}

/** DER by hand: the library takes milliseconds for each of thousands. */
function createRoot(name: string): {
  keyId: Buffer;
  issue(leaf: {
    names: readonly string[];
    publicKey: Buffer;
    serial: Buffer;
    notBefore: number;
    notAfter: number;
  }): string;
} {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const subject = sequence(tlv(0x31, sequence(oid("550403"), tlv(0x0c, Buffer.from(name.slice(8, 60))))));
  const spki = createPublicKey(privateKey).export({ type: "spki", format: "der" });
  const keyId = createHash("sha1").update(spki).digest();
  return {
    keyId,
    issue({ names, publicKey, serial, notBefore, notAfter }) {
      const san = sequence(...names.map((each) => tlv(0x82, Buffer.from(each))));
      const extensions = sequence(
        sequence(oid("551d11"), tlv(0x01, Buffer.of(0xff)), tlv(0x04, san)),
        sequence(oid("551d23"), tlv(0x04, sequence(tlv(0x80, keyId)))),
      );
      const body = sequence(
        tlv(0xa0, tlv(0x02, Buffer.of(2))),
        tlv(0x02, serial),
        ECDSA_SHA256,
        subject,
        sequence(time(notBefore), time(notAfter)),
        sequence(),
        publicKey,
        tlv(0xa3, extensions),
      );
      return pemOf(sequence(body, ECDSA_SHA256, tlv(0x03, Buffer.concat([Buffer.of(0), signed(body, privateKey)]))));
    },
  };
}

const signed = (body: Buffer, key: KeyObject): Buffer => sign("sha256", body, key);
const oid = (hex: string): Buffer => tlv(0x06, Buffer.from(hex, "hex"));
const sequence = (...parts: Buffer[]): Buffer => tlv(0x30, Buffer.concat(parts));
const ECDSA_SHA256 = sequence(oid("2a8648ce3d040302"));
const time = (ms: number): Buffer =>
  tlv(0x18, Buffer.from(`${new Date(ms).toISOString().replace(/[-:T]/g, "").slice(0, 14)}Z`));

function tlv(tag: number, content: Buffer): Buffer {
  const { length } = content;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.of(tag, ...size), content]);
}

const pemOf = (der: Buffer): string =>
  `-----BEGIN CERTIFICATE-----\n${(der.toString("base64").match(/.{1,64}/g) ?? []).join("\n")}\n-----END CERTIFICATE-----\n`;
