/**
 * A real compat lane on a loopback port, with real rules and a real upstream pool; log and metrics are kept for looking at.
 */
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { Writable } from "node:stream";
import type { TestContext } from "node:test";
import { limitsOf, limitsSchema } from "../../src/config/sections/limits.ts";
import type { Config, LimitsConfig, RouteConfig, SiteConfig, TargetConfig } from "../../src/config/model.ts";
import type { ExchangeRecord } from "../../src/observe/access-log.ts";
import type { LimitName } from "../../src/observe/limit-names.ts";
import { createLog, type Logger } from "../../src/observe/log.ts";
import type { Metrics } from "../../src/observe/metrics.ts";
import { createDemo } from "../../src/proxy/demo/demo.ts";
import type { LaneContext } from "../../src/proxy/exchange.ts";
import { createHomeAssistantHint } from "../../src/proxy/home-assistant.ts";
import { type CompatLane, createCompatLane } from "../../src/proxy/lanes/compat/lane.ts";
import { createFastLane } from "../../src/proxy/lanes/fast/lane.ts";
import type { ConnectionFacts } from "../../src/proxy/lanes/check-request.ts";
import type { RequestHead } from "../../src/proxy/rules/request-head.ts";
import { createLimitReports } from "../../src/proxy/limits.ts";
import { createTunnelBounds } from "../../src/proxy/limits-tunnels.ts";
import { createRules } from "../../src/proxy/rules/policy.ts";
import { createUpstreamPool, type UpstreamPool } from "../../src/proxy/upstream/pool.ts";

/** What a Gatehouse of the tests calls itself to its targets. */
export const MARK = "5afe";

export function targetConfig(port: number, changes: Partial<TargetConfig> = {}): TargetConfig {
  return {
    kind: "http",
    text: `127.0.0.1:${port}`,
    host: "127.0.0.1",
    port,
    path: "",
    tls: { verify: true, roots: undefined, serverName: undefined },
    ...changes,
  };
}

export function siteConfig(name: string, target: TargetConfig, changes: Partial<SiteConfig> = {}): SiteConfig {
  const route: RouteConfig = { prefix: "/", target, strip: false };
  return {
    name,
    routes: [route],
    passthrough: undefined,
    redirect: undefined,
    maxBody: 0,
    timeouts: { connectMs: 5_000, firstByteMs: 5_000, idleMs: 5_000, tunnelIdleMs: 5_000 },
    forwardingHeaders: true,
    responseHeaders: new Map(),
    ...changes,
  };
}

/** The defaults, but for what is given. */
export function limitsConfig(
  changes: Partial<Omit<LimitsConfig, "h2">> & { h2?: Partial<LimitsConfig["h2"]> } = {},
): LimitsConfig {
  const limits = limitsOf(limitsSchema.parse(undefined));
  return { ...limits, ...changes, h2: { ...limits.h2, ...changes.h2 } };
}

export function proxyConfig(sites: readonly SiteConfig[], changes: Partial<Config> = {}): Config {
  return {
    file: "",
    listen: { https: [], http: [] },
    state: "",
    admin: "",
    workers: 1,
    router: { map: "off", leaseMs: 7_200_000, checkMs: 20_000, unmap: false },
    notify: { failures: 3, lifeLeft: 0.2, repeatMs: 86_400_000, webhooks: [], mail: undefined },
    acme: {
      email: undefined,
      caName: "local",
      directoryUrl: undefined,
      caRoots: undefined,
      isPublic: false,
      eab: undefined,
      fallback: [],
      challenge: "auto",
      dns: undefined,
      profile: undefined,
      key: "p256",
      preferredChain: undefined,
      renewAtShare: undefined,
    },
    dns: { providers: [], resolvers: [], nameServers: [], dyndns2: undefined, propagationMs: 1_000 },
    ddns: undefined,
    doctor: { prober: undefined },
    sites,
    ports: [],
    quarantined: [],
    trustedProxies: [],
    proxyProtocolFrom: [],
    limits: limitsConfig(),
    drainMs: 1_000,
    metrics: undefined,
    log: { level: "debug", access: true, pretty: false },
    ...changes,
  };
}

export interface Recorded {
  access: ExchangeRecord[];
  upstreamErrors: string[];
  limits: LimitName[];
  started: number;
  lines: Record<string, unknown>[];
}

/** Everything a lane is given, with the outcomes kept. */
export function laneContext(
  t: TestContext,
  config: Config,
): {
  context: LaneContext;
  recorded: Recorded;
  upstream: UpstreamPool;
  state: { leaving: boolean; draining: boolean };
} {
  const recorded: Recorded = { access: [], upstreamErrors: [], limits: [], started: 0, lines: [] };
  const demo = createDemo();
  const upstream = createUpstreamPool({
    connectDemo: () => demo.connect(),
    full: () => context.limitReached("upstream_connections", ""),
  });
  t.after(() => {
    upstream.close();
    demo.close();
  });
  const destination = new Writable({
    write(chunk: Buffer, _, done) {
      for (const line of chunk.toString().split("\n")) {
        if (line.startsWith("{")) recorded.lines.push(JSON.parse(line) as Record<string, unknown>);
      }
      done();
    },
  });
  const log: Logger = createLog({ level: "debug", pretty: false, destination });
  const metrics: Metrics = {
    setSites: () => {},
    watchPorts: () => {},
    ddnsUpdate: () => {},
    ddnsName: () => {},
    watchCertificates: () => {},
    messageSent: () => {},
    exchangeStarted: () => void recorded.started++,
    exchangeEnded: () => {},
    upgradeOpened: () => {},
    upgradeClosed: () => {},
    upstreamError: (_, __, reason) => void recorded.upstreamErrors.push(reason),
    connectionOpened: () => {},
    connectionClosed: () => {},
    connectionRejected: () => {},
    limitReached: (limit) => void recorded.limits.push(limit),
    handshake: () => {},
    certificate: () => {},
    acmeOrder: () => {},
    acmeConsecutiveFailures: () => {},
    reload: () => {},
    workers: () => {},
    workerLost: () => {},
    families: () => Promise.resolve([]),
    routerAnswers: () => {},
    routerPort: () => {},
    routerRequest: () => {},
    routerRepair: () => {},
    scrape: () => Promise.resolve({ contentType: "", body: "" }),
  };
  const rules = createRules(config, MARK);
  const state = { leaving: false, draining: false };
  const context: LaneContext = {
    rules: () => rules,
    isLeaving: () => state.leaving || state.draining,
    isDraining: () => state.draining,
    limits: () => config.limits,
    limitReached: createLimitReports({ log, metrics }),
    tunnels: createTunnelBounds(() => config.limits),
    upstream,
    log,
    access: { write: (record) => void recorded.access.push(record) },
    metrics,
    homeAssistant: createHomeAssistantHint({ log, upstream }),
  };
  return { context, recorded, upstream, state };
}

export interface RunningLane {
  port: number;
  lane: CompatLane;
  recorded: Recorded;
  upstream: UpstreamPool;
  upgrades: { head: RequestHead; firstBytes: Buffer }[];
  state: { leaving: boolean; draining: boolean };
}

export async function startLane(
  t: TestContext,
  config: Config,
  facts: Partial<ConnectionFacts> = {},
  options: { lane?: "fast" | "compat" } = {},
): Promise<RunningLane> {
  const { context, recorded, upstream, state } = laneContext(t, config);
  const upgrades: RunningLane["upgrades"] = [];
  const lane = createCompatLane(context, {
    onUpgrade(head, socket, firstBytes) {
      upgrades.push({ head, firstBytes });
      socket.end("HTTP/1.1 101 Switching Protocols\r\n\r\n");
    },
  });
  // Every write waits for the end of its turn, as when many are at work; the front's own lane shows the other way.
  const fast = createFastLane(context, { handOver: (socket, handed) => lane.accept(socket, handed), gatherFrom: 1 });
  // As the real listeners do (front/listen).
  const server = createServer({ noDelay: true, allowHalfOpen: options.lane === "fast" }, (socket) => {
    (options.lane === "fast" ? fast : lane).accept(socket, {
      peerAddress: socket.remoteAddress ?? "",
      peerPort: socket.remotePort ?? 0,
      localPort: socket.localPort ?? 0,
      serverName: undefined,
      tlsVersion: undefined,
      scheme: "https",
      ...facts,
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    fast.destroy();
    lane.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, lane, recorded, upstream, upgrades, state };
}
