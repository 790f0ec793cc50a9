/**
 * A real front on loopback ports: TLS with a throw-away CA, real rules, a real upstream pool; outcomes are kept.
 */
import { randomBytes } from "node:crypto";
import type { TestContext } from "node:test";
import { createSecureContext, type SecureContext } from "node:tls";
import type { SiteConfig } from "../../src/config/model.ts";
import { tlsSettings } from "../../src/core/tls-settings.ts";
import { createPassthrough } from "../../src/forward/passthrough.ts";
import type { Metrics } from "../../src/observe/metrics.ts";
import { createFront, type Front, type FrontOptions } from "../../src/proxy/front/front.ts";
import { createLimitReports } from "../../src/proxy/limits.ts";
import { createTunnelBounds } from "../../src/proxy/limits-tunnels.ts";
import { createRules } from "../../src/proxy/rules/policy.ts";
import type { UpstreamPool } from "../../src/proxy/upstream/pool.ts";
import { type Issued, makeCa, type TestCa } from "./certificates.ts";
import { MARK, laneContext, limitsConfig, proxyConfig, type Recorded } from "./proxy-lane.ts";

export interface FrontHome {
  front: Front;
  httpsPort: number;
  httpPort: number;
  ca: TestCa;
  recorded: Recorded;
  upstream: UpstreamPool;
  state: { leaving: boolean; draining: boolean };
  /** Calls of every metric, as `name(arguments)`. */
  counted: string[];
  /** What a reload does to the rules. */
  reload(sites: readonly SiteConfig[]): void;
}

export interface FrontHomeOptions extends Partial<Omit<FrontOptions, "context">> {
  /** Configured, but their certificate is not there yet. */
  pending?: readonly string[];
  /** The defaults, but for these. */
  limits?: Parameters<typeof limitsConfig>[0];
}

/** One CA and one bundle for all tests of a process: making them is the slow part. */
let shared: Promise<{ ca: TestCa; fallback: Issued; site: Issued }> | undefined;
const NAMES = ["a.test", "b.test", "home.localhost", "*.lab.test"];

async function certificates(): Promise<{ ca: TestCa; fallback: Issued; site: Issued }> {
  const ca = await makeCa();
  const neutral = await makeCa({ name: "invalid" });
  return { ca, fallback: await neutral.issue({ names: ["invalid"] }), site: await ca.issue({ names: NAMES }) };
}

/** Each of `sites` must be one of a.test, b.test, home.localhost, *.lab.test (or be named in `pending`). */
export async function startFront(
  t: TestContext,
  sites: readonly SiteConfig[],
  options: FrontHomeOptions = {},
): Promise<FrontHome> {
  shared ??= certificates();
  const { ca, fallback, site } = await shared;
  const { pending = [], limits: changes, ...rest } = options;
  const limits = limitsConfig(changes);
  const { context, recorded, upstream, state } = laneContext(t, proxyConfig(sites));
  const counted: string[] = [];
  const metrics = new Proxy(context.metrics, {
    get(target, name: keyof Metrics) {
      return (...values: unknown[]): unknown => {
        counted.push(
          `${name}(${values.map((value) => (typeof value === "string" || typeof value === "number" ? `${value}` : "…")).join(",")})`,
        );
        return (target[name] as (...given: unknown[]) => unknown)(...values);
      };
    },
  });
  let rules = createRules(proxyConfig(sites), MARK);
  const prepare = (): SecureContext => createSecureContext({ ...tlsSettings, key: site.keyPem, cert: site.chainPem });
  const [prepared, withTicket] = [prepare(), prepare()];
  const passthrough = createPassthrough({ log: context.log, isLogged: () => true });
  const front = createFront({
    context: {
      ...context,
      metrics,
      rules: () => rules,
      limits: () => limits,
      limitReached: createLimitReports({ log: context.log, metrics }),
      tunnels: createTunnelBounds(() => limits),
    },
    chooseContext(name, hasTicket) {
      if (pending.includes(name)) return { refused: "pending" };
      return rules.routes.site(name) === undefined
        ? { refused: "unknown" }
        : { context: hasTicket ? withTicket : prepared };
    },
    fallback,
    ticketKeys: randomBytes(48),
    arrived: () => {},
    answerChallenge: () => Promise.resolve(undefined),
    passthrough: (raw, client, passed) => passthrough.carry(raw, client, passed),
    ...rest,
  });
  t.after(() => front.destroy());
  await front.listen("https", { host: "127.0.0.1", port: 0 });
  await front.listen("http", { host: "127.0.0.1", port: 0 });
  const { https, http } = front.addresses();
  return {
    front,
    httpsPort: https[0]?.port ?? 0,
    httpPort: http[0]?.port ?? 0,
    ca,
    recorded,
    upstream,
    state,
    counted,
    reload: (next) => (rules = createRules(proxyConfig(next), MARK)),
  };
}
