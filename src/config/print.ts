/**
 * What does a configuration look like written out, every default filled in?
 * Owns: Config → the keys and units of the file; what is printed loads again to the same Config.
 * Never: shows what came from env: or file:; it prints the reference.
 */
import { Document } from "yaml";
import { formatDuration, formatSize } from "../core/time.ts";
import { listenText } from "./values/addresses.ts";
import { ddnsOut } from "./sections/ddns.ts";
import { doctorOut } from "./sections/doctor.ts";
import { limitsOut } from "./sections/limits.ts";
import { dnsOut } from "./sections/resolve-dns.ts";
import { routerOut } from "./sections/router.ts";
import type { AcmeConfig, Config, RouteConfig, SiteConfig, TargetConfig } from "./model.ts";
import { notifyOut } from "./sections/notify.ts";
import { portOut } from "./sections/ports.ts";

export type WrittenConfig = Readonly<Record<string, unknown>>;

export function writtenOut(config: Config, references: ReadonlyMap<string, string>): WrittenConfig {
  const hide = (value: string | undefined) => (value === undefined ? undefined : (references.get(value) ?? value));
  const { listen, metrics, log } = config;
  return defined({
    listen: { https: listen.https.map(listenText), http: listen.http.map(listenText) },
    state: config.state,
    admin: config.admin,
    trustedProxies: config.trustedProxies,
    limits: limitsOut(config.limits),
    proxyProtocolFrom: config.proxyProtocolFrom.length === 0 ? undefined : config.proxyProtocolFrom,
    drain: formatDuration(config.drainMs),
    workers: config.workers,
    acme: acmeOut(config.acme, hide),
    ...dnsOut(config.dns, hide),
    router: routerOut(config.router),
    doctor: doctorOut(config.doctor),
    ...ddnsOut(config.ddns, config.dns, hide),
    sites: Object.fromEntries(config.sites.map((site) => [site.name, siteOut(site, hide)])),
    ports:
      config.ports.length === 0
        ? undefined
        : Object.fromEntries(config.ports.map((port) => [port.key, defined(portOut(port))])),
    notify: notifyOut(config.notify, hide),
    metrics: metrics && { listen: listenText(metrics.listen) },
    log: {
      level: log.level,
      access: log.access,
      format: log.pretty === "auto" ? "auto" : log.pretty ? "pretty" : "json",
    },
  });
}

type Hide = (value: string | undefined) => string | undefined;

function acmeOut(acme: AcmeConfig, hide: Hide) {
  return defined({
    ca: acme.caName === "custom" ? acme.directoryUrl : acme.caName,
    email: hide(acme.email),
    caRoots: hide(acme.caRoots),
    eab: eabOut(acme.eab, hide),
    staging: acme.stagingUrl,
    fallback: acme.fallback.map((other) =>
      defined({
        ca: other.caName === "custom" ? other.directoryUrl : other.caName,
        caRoots: hide(other.caRoots),
        eab: eabOut(other.eab, hide),
      }),
    ),
    challenge: acme.challenge,
    dns: acme.dns === undefined ? "auto" : acme.dns.kind === "hook" ? "dnsHook" : acme.dns.kind,
    profile: acme.profile,
    key: acme.key,
    preferredChain: acme.preferredChain,
    renewAt: acme.renewAtShare,
  });
}

const eabOut = (eab: AcmeConfig["eab"], hide: Hide) => eab && { kid: eab.kid, key: hide(eab.hmacKey) };

function siteOut(site: SiteConfig, hide: Hide) {
  const [first, ...others] = site.routes;
  const isPlain = first !== undefined && others.length === 0 && first.prefix === "/" && !first.strip;
  return defined({
    ...(isPlain ? routeOut(first, hide) : {}),
    routes:
      isPlain || first === undefined
        ? undefined
        : Object.fromEntries(site.routes.map((one) => [one.prefix, routeOut(one, hide)])),
    names: site.names,
    onDemand:
      site.onDemand &&
      defined({ ...site.onDemand, match: site.onDemand.match.length === 0 ? undefined : site.onDemand.match }),
    email: hide(site.email),
    tls: site.tls,
    clientCert: site.clientCert,
    passthrough: site.passthrough?.target.text,
    proxyProtocol: site.passthrough?.proxyProtocol,
    redirect: site.redirect?.to,
    status: site.redirect?.status,
    maxBody: site.maxBody === 0 ? "none" : formatSize(site.maxBody),
    timeouts: {
      connect: formatDuration(site.timeouts.connectMs),
      firstByte: formatDuration(site.timeouts.firstByteMs),
      idle: formatDuration(site.timeouts.idleMs),
      tunnelIdle: formatDuration(site.timeouts.tunnelIdleMs),
    },
    forwardingHeaders: site.forwardingHeaders,
    headers: { response: Object.fromEntries(site.responseHeaders) },
  });
}

function routeOut({ target, strip }: RouteConfig, hide: Hide) {
  return defined({ to: target.text, strip: strip ? true : undefined, upstreamTls: tlsOut(target, hide) });
}

function tlsOut({ kind, tls }: TargetConfig, hide: Hide) {
  return kind === "https"
    ? defined({ verify: tls.verify, roots: hide(tls.roots), serverName: tls.serverName })
    : undefined;
}

function defined(map: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(map).filter(([, value]) => value !== undefined));
}

export function configAsYaml(written: WrittenConfig): string {
  return new Document(written, { aliasDuplicateObjects: false }).toString({ lineWidth: 0 });
}
