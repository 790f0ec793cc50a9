/**
 * Which of our ports should the router lead here, and who asks it?
 * Owns: the companion that keeps a mapper as the configuration wants it; the secret that its requests are recognized by.
 * Never: speaks to a router itself.
 */
import { randomBytes } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { CompanionActions } from "../admin/actions.ts";
import type { Addresses, Bound } from "../cluster/contract.ts";
import type { Config, PortConfig } from "../config/model.ts";
import type { RouterConfig } from "../config/sections/router.ts";
import { kindOf } from "../network/addresses.ts";
import { findGateway } from "../network/gateway.ts";
import { createMapper, type RouterMapper } from "../network/mapper.ts";
import type { WantedPort } from "../network/mapped-port.ts";
import { checklistOf, reportOf, type RouterPortReport } from "../network/router-report.ts";
import type { Logger } from "../observe/log.ts";
import type { RouterMetrics } from "../observe/router-tally.ts";
import { createFileStorage } from "../storage/files.ts";
import type { Companion } from "./companion.ts";

const SECRET_KEY = "router/secret";
const SECRET_BYTES = 32;

export interface RouterKeeping {
  companion: Companion;
  actions: Pick<CompanionActions, "router">;
  /** The router's WAN address, as it last told; undefined where it is not asked or does not tell. */
  externalAddress(): string | undefined;
  /** It is asked for 443 and 80 and has not said yes or no. Also before the first configuration. */
  isOpening(): boolean;
}

export function createRouterKeeping(options: {
  log: Logger;
  metrics: RouterMetrics;
  addresses(): Addresses;
}): RouterKeeping {
  const { log, metrics, addresses } = options;
  let settings: RouterConfig | undefined;
  let ports: readonly PortConfig[] = [];
  let mapper: RouterMapper | undefined;

  return {
    externalAddress() {
      const report = mapper?.report();
      // What a router said before it fell silent may be another's address by now.
      return report?.error === undefined ? report?.externalAddress : undefined;
    },
    isOpening() {
      if (settings?.map === "off") return false;
      const report = mapper?.report();
      if (report === undefined) return true;
      const isWeb = ({ externalPort, family }: RouterPortReport): boolean =>
        family === "ipv4" && (externalPort === 443 || externalPort === 80);
      return report.error === undefined && report.ports.some((port) => isWeb(port) && port.state === "waiting");
    },
    companion: {
      name: "router",
      async apply(config) {
        const wanted = wantedPorts(addresses(), config.ports);
        ports = config.ports;
        if (!isDeepStrictEqual(settings, config.router)) {
          // Switched off: then nothing of ours may stay in the router.
          await mapper?.stop({ unmap: config.router.map === "off" });
          mapper = undefined;
          metrics.routerAnswers(undefined);
          settings = config.router;
          mapper = await mapperFor(config);
        }
        if (mapper === undefined) return;
        if (wanted.length === 0) log.warn({ event: "router.nothing_to_map" }, "no port is listened on for the LAN");
        mapper.setWanted(wanted);
      },
      stop: () => mapper?.stop({ unmap: settings?.unmap ?? false }),
    },
    actions: {
      async router() {
        const report = mapper?.report() ?? (await unasked());
        return { report, checklist: checklistOf(report.gateway, wantedPorts(addresses(), ports)) };
      },
    },
  };

  async function mapperFor({ router, state }: Config): Promise<RouterMapper | undefined> {
    const { map, leaseMs, checkMs } = router;
    if (map === "off") return undefined;
    const secret = await keptSecret(state);
    return createMapper({ map, leaseSeconds: Math.round(leaseMs / 1_000), checkMs, secret, log, metrics });
  }
}

async function unasked() {
  const gateway = await findGateway();
  const nothing = { link: undefined, externalAddress: undefined, lastAnswerAt: undefined, error: undefined };
  return reportOf({ map: "off", gateway, ports: [], ...nothing });
}

/** @throws GATEHOUSE_STORAGE_FAILED */
async function keptSecret(state: string): Promise<Buffer> {
  const storage = await createFileStorage(state, { leftovers: "leave" });
  const kept = await storage.read(SECRET_KEY);
  if (kept?.length === SECRET_BYTES) return kept;
  const made = randomBytes(SECRET_BYTES);
  await storage.write(SECRET_KEY, made);
  return made;
}

const LOOPBACK = /^(?:127\.|::1$|localhost$)/;

/** Who lets in nobody from outside needs no way in. */
const isForHomeAlone = (allow: readonly string[]): boolean =>
  allow.length > 0 &&
  allow.every((network) => !network.endsWith("/0") && kindOf(network.split("/")[0] ?? "") !== "public");

/** What the world dials → what is listened on, for listeners that the router can reach. */
function wantedPorts({ https, http }: Addresses, ports: readonly PortConfig[]): WantedPort[] {
  const wanted = (name: string, externalPort: number, bounds: readonly Bound[]): WantedPort[] => {
    const open = bounds.filter(({ host }) => !LOOPBACK.test(host));
    // The port itself where it is listened on; else the first, such as 8443 of a plain user's Gatehouse.
    const port = (open.find((one) => one.port === externalPort) ?? open[0])?.port;
    if (port === undefined) return [];
    const hosts = open.filter((one) => one.port === port).map(({ host }) => host);
    const isIpv6 = hosts.some((host) => host.includes(":")) && port === externalPort;
    const isIpv4 = hosts.some((host) => host === "::" || !host.includes(":"));
    const families = [...(isIpv4 ? (["ipv4"] as const) : []), ...(isIpv6 ? (["ipv6"] as const) : [])];
    return [{ name, protocol: "tcp", externalPort, internalPort: port, families }];
  };
  const forwarded = ports
    .filter(({ host, allow }) => !LOOPBACK.test(host ?? "") && !isForHomeAlone(allow))
    .map(({ key, protocol, host, port }): WantedPort => {
      const families = [
        ...(host === undefined || host === "::" || !host.includes(":") ? (["ipv4"] as const) : []),
        ...(host === undefined || host.includes(":") ? (["ipv6"] as const) : []),
      ];
      return { name: key, protocol, externalPort: port, internalPort: port, families };
    });
  return [...wanted("https", 443, https), ...wanted("http", 80, http), ...forwarded];
}
