/**
 * What does the table of forwarded ports come to?
 * Owns: `ports:`, its keys (`tcp/20170`), what two settings of a port mean together, and the warnings about doors that
 *   are better not opened to everybody.
 * Never: opens a port.
 */
import { isIP, isIPv6 } from "node:net";
import * as z from "zod";
import { checkName, type NamePolicy } from "../../core/names.ts";
import { isInsideAddress } from "../../core/networks.ts";
import { formatDuration } from "../../core/time.ts";
import { listenText, readPeers } from "../values/addresses.ts";
import { Refusal, shown } from "../findings.ts";
import { choiceRefusal, flag, leaf, mapOf, optionalDuration, text } from "../values/leaves.ts";
import type { PortConfig } from "../model.ts";
import type { Resolver } from "../values/secrets.ts";
import { readPlainHostAndPort } from "../values/targets.ts";

/** Each session costs a file descriptor or two; the usual limit of a service is 524,288. */
const MAX_SESSIONS = 65_536;

const KEY_FORMS = "write tcp/20170 or udp/51820; one address only: tcp/192.168.0.5:20170";

interface PortKey {
  protocol: "tcp" | "udp";
  host: string | undefined;
  port: number;
}

function readPortKey(key: string): PortKey | Refusal {
  const parts = /^(?<protocol>tcp|udp)\/(?:(?<host>\[[^\]]+\]|[^:/[\]]+):)?(?<port>\d{1,5})$/.exec(key)?.groups;
  if (parts === undefined) return new Refusal(`${shown(key)} is not a port to forward`, KEY_FORMS);
  const port = Number(parts["port"]);
  if (port > 65_535) return new Refusal(`port ${port} does not exist`, "ports end at 65535");
  const written = parts["host"];
  const host = written?.startsWith("[") === true ? written.slice(1, -1) : written;
  const isBracketed = written !== host;
  if (host !== undefined && (isIP(host) === 0 || isBracketed !== isIPv6(host))) {
    return new Refusal(`${shown(written)} is not an address of this machine`, KEY_FORMS);
  }
  return { protocol: parts["protocol"] === "udp" ? "udp" : "tcp", host, port };
}

const keyRefusal = (key: string): Refusal | undefined => {
  const read = readPortKey(key);
  return read instanceof Refusal ? read : undefined;
};

export function readPortTarget(value: unknown): PortConfig["target"] | Refusal {
  const forms = "write host:port, such as 192.168.0.200:22";
  if (typeof value !== "string") return new Refusal(`${shown(value)} is not a target`, forms);
  const read = readPlainHostAndPort(value);
  return read instanceof Refusal ? read : { host: read.host, port: read.port, text: value };
}

function readAllow(value: unknown): string[] | Refusal {
  const found: string[] = [];
  for (const one of Array.isArray(value) ? (value as unknown[]) : [value]) {
    const read = readPeers(one);
    if (read instanceof Refusal) return read;
    found.push(...read);
  }
  return found.length > 0 ? found : new Refusal("an empty list lets nobody in", "remove allow, or name a network");
}

export const proxyProtocol = (condition: string) =>
  leaf(
    {
      doc: `Tell the target who the client is, in a PROXY protocol header: v1 or v2. ${condition}`,
      example: "v2",
      json: { enum: ["v1", "v2"] },
    },
    (value): "v1" | "v2" | Refusal => (value === "v1" || value === "v2" ? value : choiceRefusal(value, ["v1", "v2"])),
  ).optional();

const portSchema = z
  .preprocess(
    (value) => (typeof value === "object" && value !== null && !Array.isArray(value) ? value : { to: value }),
    z.strictObject({
      to: leaf(
        { doc: "The machine inside and its port.", example: "172.16.1.2:22", json: { type: "string" } },
        readPortTarget,
      ),
      description: text({ doc: "What it is for.", example: "ssh to the build VM" }, (value) =>
        value.length <= 200 ? undefined : new Refusal("this is longer than 200 characters", "say it shorter"),
      ).optional(),
      allow: leaf(
        {
          doc: "Who may connect: addresses, networks, or loopback, private, lan; one, or a list. Default: everybody.",
          example: ["lan"],
          json: { type: ["string", "array"], items: { type: "string" } },
        },
        readAllow,
      ).optional(),
      tls: text({
        doc: "End TLS here with the certificate of this name, and speak plainly to the target. tcp only.",
        example: "mqtt.example.org",
      }).optional(),
      proxyProtocol: proxyProtocol("tcp only; the target must expect it."),
      public: flag({ doc: "The target may have a public address.", default: false }),
      idle: optionalDuration({
        doc: "Silence in both directions before a session ends. Default: 2h4m for tcp (RFC 5382), 5m for udp (RFC 4787).",
        example: "1h",
        min: "1s",
        max: "7d",
      }),
      sessions: leaf(
        {
          doc: "Sessions at once; more are turned away.",
          default: 1024,
          json: { type: "integer", minimum: 1, maximum: MAX_SESSIONS },
        },
        (value): number | Refusal =>
          typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= MAX_SESSIONS
            ? value
            : new Refusal(`${shown(value)} is not a number of sessions`, `write one from 1 to ${MAX_SESSIONS}`),
      ).prefault(1024),
    }),
  )
  .meta({ description: "A target (host:port), or a block of keys.", short: "string" });

export const portsSchema = mapOf(portSchema, keyRefusal)
  .prefault({})
  .meta({
    description:
      "Ports that are carried to machines inside as they are: tcp/PORT or udp/PORT, with an address of this machine before the port where it is not for all of them.",
    examples: [{ "tcp/20170": "172.16.1.2:22", "udp/51820": "192.168.0.203:51820" }],
  });

type DeclaredPort = z.output<typeof portSchema>;
export type DeclaredPorts = Readonly<Record<string, DeclaredPort>>;

/**
 * Services that are broken into when everybody can reach them: weak passwords are tried all day long, or there is no
 * password at all. Keyed by the port at the target, which says what it is better than the one outside.
 */
const DELICATE: Readonly<Record<number, string>> = {
  21: "FTP",
  22: "SSH",
  23: "Telnet",
  111: "the RPC port mapper",
  137: "NetBIOS",
  139: "NetBIOS file sharing",
  389: "LDAP",
  445: "Windows file sharing (SMB)",
  1433: "a Microsoft SQL Server",
  1521: "an Oracle database",
  1900: "UPnP discovery",
  2049: "NFS",
  2375: "Docker without a password",
  3306: "MySQL or MariaDB",
  3389: "Remote Desktop (RDP)",
  5432: "PostgreSQL",
  5900: "a VNC screen",
  5984: "CouchDB",
  6379: "Redis",
  8123: "Home Assistant without HTTPS",
  9200: "Elasticsearch",
  11211: "memcached",
  27017: "MongoDB",
};

const IDLE_MS = { tcp: 7_440_000, udp: 300_000 };

export function resolvePorts(
  declared: DeclaredPorts,
  names: NamePolicy,
  taken: ReadonlyMap<string, string>,
  resolver: Resolver,
  warn: (path: readonly string[], what: string, remedy: string) => void,
): PortConfig[] {
  const ports: PortConfig[] = [];
  const seen = new Map<string, string>();
  for (const [key, one] of Object.entries(declared)) {
    const read = readPortKey(key);
    if (read instanceof Refusal) continue;
    const { protocol, host, port } = read;
    const at = resolver.below(["ports", key]);
    const before = resolver.problems.length;
    const place = `${protocol} ${listenText({ host, port })}`;
    const other = port === 0 ? undefined : seen.get(place);
    if (other !== undefined)
      at.report([], "is the same port as another", "remove one of them", "key", ["ports", other]);
    seen.set(place, key);
    const listener = protocol === "tcp" && port !== 0 ? taken.get(listenText({ host, port })) : undefined;
    if (listener !== undefined) at.report([], `${listener} listens there already`, "choose another port", "key");
    for (const setting of ["tls", "proxyProtocol"] as const) {
      if (protocol === "udp" && one[setting] !== undefined)
        at.report([setting], "is for tcp alone", "remove it", "key");
    }
    const tls = one.tls === undefined ? undefined : checkName(one.tls, names);
    if (tls !== undefined && "refusal" in tls) at.report(["tls"], `the name ${tls.refusal}`, tls.hint, "value");
    if (isIP(one.to.host) !== 0 && !one.public && !isInsideAddress(one.to.host)) {
      at.report(
        ["to"],
        `${one.to.host} is a public address, and a forward leads to a machine inside`,
        "write the machine's private address, or public: true if that is meant",
        "value",
      );
    }
    if (resolver.problems.length > before) continue;
    const service = DELICATE[one.to.port];
    const isForThisMachine = host === "::1" || host?.startsWith("127.") === true;
    if (one.allow === undefined && service !== undefined && !isForThisMachine) {
      warn(
        ["ports", key],
        `opens ${service} to everybody`,
        "name who may connect (allow: [lan]), or reach it through a VPN such as WireGuard",
      );
    }
    ports.push({
      key,
      protocol,
      host,
      port,
      target: one.to,
      description: one.description,
      allow: one.allow ?? [],
      tls: tls !== undefined && "name" in tls ? tls.name : undefined,
      proxyProtocol: one.proxyProtocol,
      isPublic: one.public,
      idleMs: one.idle ?? IDLE_MS[protocol],
      sessions: one.sessions,
    });
  }
  return ports;
}

/** As it would be written in the file, every default filled in. */
export function portOut(port: PortConfig): Record<string, unknown> {
  return {
    to: port.target.text,
    description: port.description,
    allow: port.allow.length === 0 ? undefined : port.allow,
    tls: port.tls,
    proxyProtocol: port.proxyProtocol,
    public: port.isPublic,
    idle: formatDuration(port.idleMs),
    sessions: port.sessions,
  };
}
