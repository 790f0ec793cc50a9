/**
 * What do the declared settings come to, taken together?
 * Owns: defaults that depend on where the file lies, secrets, names checked against the CA, clashes between sections.
 * Never: parses text or throws; what is wrong goes to the resolver.
 */
import { basename, dirname, join, resolve } from "node:path";
import { coversEverybody, listenText } from "./values/addresses.ts";
import { resolveDdns } from "./sections/ddns.ts";
import { resolveDoctor } from "./sections/doctor.ts";
import type { Judged } from "./judge.ts";
import { resolveRouter } from "./sections/router.ts";
import { resolveLimits } from "./sections/limits.ts";
import type { Config, ListenAddress } from "./model.ts";
import { resolveNotify } from "./sections/notify.ts";
import { resolvePorts } from "./sections/ports.ts";
import { type Warn, resolveAcme } from "./sections/resolve-acme.ts";
import { chooseProvider, resolveDns } from "./sections/resolve-dns.ts";
import type { Declared } from "./schema.ts";
import type { Resolver } from "./values/secrets.ts";
import { namePolicy, resolveSites } from "./sections/site-names.ts";
import { socketPathRefusal } from "./values/targets.ts";

export interface Resolved {
  config: Omit<Config, "quarantined">;
  /** Name as written → A-label, where it has one. */
  names: ReadonlyMap<string, string>;
}

/** `hasProblems(section)`: the section was replaced by its defaults, so nothing is concluded from it. */
export async function resolveConfig(
  file: string,
  judged: Judged,
  resolver: Resolver,
  warn: Warn,
  hasProblems: (section: string) => boolean,
): Promise<Resolved> {
  const { declared } = judged;
  const zones = await resolveDns(declared, resolver);
  const provider = chooseProvider(declared, zones, resolver);
  const acme = await resolveAcme(declared, provider, resolver.below(["acme"]), warn);
  const { dyndns2, ddns } = await resolveDdns(declared, zones, resolver);
  const areListenersKnown = !hasProblems("listen") && !hasProblems("metrics");
  const taken = areListenersKnown ? checkListeners(declared, resolver) : new Map<string, string>();
  const isHttpWanted = acme.challenge === "http-01" && acme.directoryUrl !== undefined;
  if (declared.listen.http.length === 0 && isHttpWanted && !hasProblems("acme") && !hasProblems("listen")) {
    resolver.report(
      ["listen", "http"],
      "acme.challenge is http-01, and nothing listens for plain HTTP",
      'write ":80", or acme.challenge: auto',
      "value",
    );
  }
  const trustedProxies = [...new Set(declared.trustedProxies.flat())];
  if (coversEverybody(trustedProxies)) {
    warn(
      ["trustedProxies"],
      "every client is believed about its own address",
      "name the proxy in front of Gatehouse alone",
    );
  }
  const policy = namePolicy(hasProblems("acme") ? undefined : acme);
  const { sites, names } = await resolveSites(judged, policy, resolver);
  // A port with a site's further name shows that site's certificate.
  const keptAs = new Map(sites.flatMap((site) => (site.names ?? []).map((name) => [name, site.name])));
  const ports = resolvePorts(declared.ports, { ...policy, canBeAddress: false }, taken, resolver, warn).map((port) => ({
    ...port,
    tls: port.tls === undefined ? undefined : (keptAs.get(port.tls) ?? port.tls),
  }));
  return {
    names,
    config: {
      file: resolve(file),
      listen: declared.listen,
      ...resolvePaths(file, declared, resolver),
      workers: declared.workers,
      acme,
      router: resolveRouter(declared.router),
      dns: { ...zones, dyndns2 },
      ddns,
      doctor: resolveDoctor(declared.doctor),
      sites,
      ports,
      trustedProxies,
      proxyProtocolFrom: [...new Set(declared.proxyProtocolFrom.flat())],
      limits: resolveLimits(declared.limits, resolver.below(["limits"]), warn),
      drainMs: declared.drain,
      notify: await resolveNotify(declared.notify, resolver.below(["notify"])),
      metrics: declared.metrics,
      log: {
        level: declared.log.level,
        access: declared.log.access,
        pretty: declared.log.format === "auto" ? "auto" : declared.log.format === "pretty",
      },
    },
  };
}

/**
 * An installation keeps its state in /var/lib and its socket in /run (FHS 3.0 §5.8, §3.15); a checkout keeps all of it
 * beside its `config` folder; any other file, beside itself.
 */
function resolvePaths(file: string, { state, admin }: Declared, resolver: Resolver): Pick<Config, "state" | "admin"> {
  const folder = dirname(resolve(file));
  const isInstalled = folder === "/etc/gatehouse" || folder.startsWith("/etc/gatehouse/");
  const home = isInstalled ? "/var/lib/gatehouse" : basename(folder) === "config" ? dirname(folder) : folder;
  const stateFolder = resolve(home, state ?? (isInstalled ? "" : "certs"));
  const socket =
    admin === undefined ? join(isInstalled ? "/run/gatehouse" : stateFolder, "admin.sock") : resolve(home, admin);
  const refusal = socketPathRefusal(socket);
  if (refusal !== undefined) {
    resolver.report(
      ["admin"],
      refusal.what,
      admin === undefined ? "write admin: with a shorter path, such as /run/gatehouse.sock" : refusal.remedy,
      "value",
    );
  }
  return { state: stateFolder, admin: socket };
}

/** Two of them on one address: the second could never open. Port 0 is a new one each time. */
function checkListeners({ listen, metrics }: Declared, resolver: Resolver): Map<string, string> {
  const taken = new Map<string, string>();
  const take = (address: ListenAddress, path: (string | number)[], use: string) => {
    if ("port" in address && address.port === 0) return;
    const text = listenText(address);
    const other = taken.get(text);
    if (other !== undefined)
      resolver.report(path, `${other} listens on ${text} already`, "choose another port", "value");
    taken.set(text, use);
  };
  listen.https.forEach((address, at) => take(address, ["listen", "https", at], "listen.https"));
  listen.http.forEach((address, at) => take(address, ["listen", "http", at], "listen.http"));
  if (metrics !== undefined) take(metrics.listen, ["metrics", "listen"], "metrics");
  if (listen.https.length === 0)
    resolver.report(["listen", "https"], "nothing listens for HTTPS", 'write ":443"', "value");
  return taken;
}
