/**
 * What a checked configuration is, once every default is filled in.
 * Owns: the shape that the other rooms may know (as types alone).
 * Never: parses; `schema` makes these, `load` finds and freezes them.
 */
import type { DoctorConfig } from "./sections/doctor.ts";
import type { NotifyConfig } from "./sections/notify.ts";
import type { RouterConfig } from "./sections/router.ts";

/** Where a listener waits. `fd` takes a socket that systemd opened. */
export type ListenAddress = { host: string | undefined; port: number } | { fd: number };

export interface UpstreamTls {
  /** Is the target's certificate verified? Default true. */
  verify: boolean;
  /** PEM text of the only roots trusted for it. */
  roots: string | undefined;
  /** SNI and the name to verify, when it is not the host of the address. */
  serverName: string | undefined;
}

/** A machine inside. `demo` is the sample page that Gatehouse itself serves. */
export interface TargetConfig {
  kind: "http" | "https" | "unix" | "demo";
  /** As written, for logs and the metrics label; never sent to a client. */
  text: string;
  host: string; // "" for unix and demo
  port: number; // 0 for unix and demo
  path: string; // socket path for unix, else ""
  tls: UpstreamTls;
}

export interface RouteConfig {
  /** Begins with `/`. `/api/` covers what is below it; `/` covers all. Longest wins. */
  prefix: string;
  target: TargetConfig;
  /** Cut the prefix off the path before forwarding. */
  strip: boolean;
}

export interface TimeoutsConfig {
  connectMs: number;
  /** From the whole request sent to the first byte of the answer. */
  firstByteMs: number;
  /** Silence of the target in the middle of an answer, or of the client in the middle of a body. */
  idleMs: number;
  /** Silence in both directions of an upgraded connection. */
  tunnelIdleMs: number;
}

/** Each name below a star gets a certificate of its own when it is first asked for. */
export interface OnDemandConfig {
  ask: string | undefined;
  /** Of the label; empty: `ask` alone decides. */
  match: readonly string[];
  /** New names. */
  perHour: number;
  /** Names altogether. */
  most: number;
}

/** TLS goes through to a machine that ends it itself. */
export interface PassthroughConfig {
  target: { host: string; port: number; text: string };
  isPublic: boolean;
  proxyProtocol: "v1" | "v2" | undefined;
  /** Silence in both directions. */
  idleMs: number;
}

export interface SiteConfig {
  /** A-label, lower case, no trailing dot; may begin with `*.`. The key of metrics and logs. */
  name: string;
  /** Further names, spelled like `name`: the same site, in the same certificate. */
  names?: readonly string[] | undefined;
  /** Then its own name, which has a star, has no certificate. */
  onDemand?: OnDemandConfig | undefined;
  /** For a CA account of its own; left out, the one of `acme`. */
  email?: string | undefined;
  /** Absolute paths of PEM files that somebody else renews; then nothing is ordered for it. */
  tls?: { cert: string; key: string } | undefined;
  /** Devices show a certificate of our own: or else 403, or as they like. */
  clientCert?: "required" | "optional" | undefined;
  /** Either forwards (routes, longest prefix first) or answers with a redirect. */
  routes: readonly RouteConfig[];
  /** Then it has neither routes nor a certificate of ours. */
  passthrough: PassthroughConfig | undefined;
  redirect: { to: string; status: 301 | 302 | 307 | 308 } | undefined;
  /** Bytes; 0 means no limit. */
  maxBody: number;
  timeouts: TimeoutsConfig;
  /** Send X-Forwarded-* and Forwarded to the target. */
  forwardingHeaders: boolean;
  /** Set (text) or removed (null) on every answer. Names are lower case. */
  responseHeaders: ReadonlyMap<string, string | null>;
}

/** Who writes into a zone. The same shape as `ProviderSettings` in dns/contract. */
export type DnsProviderConfig =
  | { kind: "duckdns"; token: string; domain: string | undefined; url: string }
  | { kind: "cloudflare"; token: string; url: string }
  | { kind: "desec"; token: string; url: string }
  | {
      kind: "rfc2136";
      server: { host: string; port: number };
      zone: string | undefined;
      key: { name: string; algorithm: "hmac-sha256" | "hmac-sha384" | "hmac-sha512"; secret: string } | undefined;
    }
  | { kind: "hook"; command: readonly string[]; timeoutMs: number };

/** A service for addresses alone. */
export interface Dyndns2Config {
  kind: "dyndns2";
  url: string;
  user: string;
  password: string;
}

/** The same shape as `AddressWriterSettings` in dns/contract. */
export type AddressWriterConfig = DnsProviderConfig | Dyndns2Config;

/** The same shape as `Witness` in network/public-ip. */
export type WitnessConfig = { kind: "https"; url: string } | { kind: "dns"; server: string; name: string };

export interface DdnsConfig {
  names: readonly { name: string; by: AddressWriterConfig }[];
  /** As written. */
  by: "auto" | "duckdns" | "cloudflare" | "desec" | "rfc2136" | "dnsHook" | "dyndns2";
  /** Keep an address of this kind? At least one is true. */
  ipv4: boolean;
  ipv6: boolean;
  /** Where the IPv6 address is taken from; undefined: any. */
  interface: string | undefined;
  checkMs: number;
  witnesses: readonly WitnessConfig[];
}

export interface DnsConfig {
  /** All that are set up; at most one of each kind. */
  providers: readonly DnsProviderConfig[];
  /** Empty: those of the system. */
  resolvers: readonly { host: string; port: number }[];
  /** Empty: the zone's own. */
  nameServers: readonly { host: string; port: number }[];
  propagationMs: number;
  dyndns2: Dyndns2Config | undefined;
}

/** A CA to turn to when the first one fails. */
export interface FallbackCaConfig {
  caName: string;
  directoryUrl: string;
  caRoots: string | undefined;
  eab: { kid: string; hmacKey: string } | undefined;
}

export interface AcmeConfig {
  email: string | undefined;
  /** The name written (`local`, `letsencrypt`, …) or `custom`. */
  caName: string;
  /** Directory URL; undefined for the embedded CA. */
  directoryUrl: string | undefined;
  /** PEM text of extra roots for the CA's own HTTPS. */
  caRoots: string | undefined;
  /** Directory URL of its staging, when one was written. */
  stagingUrl?: string | undefined;
  /** Is it a CA that only signs public names? (letsencrypt, letsencrypt-staging, zerossl, google) */
  isPublic: boolean;
  /** Asked in this order after failures in a row. */
  fallback: readonly FallbackCaConfig[];
  /** External account binding (RFC 8555 §7.3.4). */
  eab: { kid: string; hmacKey: string } | undefined;
  challenge: "auto" | "http-01" | "tls-alpn-01" | "dns-01";
  /** Who proves names by dns-01. */
  dns: DnsProviderConfig | undefined;
  /** Sent when the CA advertises it. */
  profile: string | undefined;
  key: "p256" | "p384" | "rsa2048" | "rsa4096";
  /** Common name of an issuer. */
  preferredChain: string | undefined;
  /** Renew when this share of the lifetime is left (1/3; 1/2 for lives under ten days unless set). */
  renewAtShare: number | undefined;
}

/**
 * What a stranger may take of us. Sizes in bytes. Each has its reason in docs/limits.md and its name in
 * `gatehouse_limit_reached_total`.
 */
export interface LimitsConfig {
  /** CIDRs of the owner's own addresses: no limit per address, the reserve is theirs, they are never shed. */
  exempt: readonly string[];
  /** Open client connections of all listeners together. */
  connections: number;
  /** The last of these are only for private and exempt addresses. */
  connectionsReserved: number;
  /** From one stranger: an IPv4 address or an IPv6 /64. */
  connectionsPerAddress: number;
  /** From one private address, which may be the router or a proxy, and with it everybody. */
  connectionsPerNeighbour: number;
  /** From one stranger in ten seconds. */
  newConnectionsPerAddress: number;
  /** TLS handshakes under way at once. */
  handshakes: number;
  handshakeMs: number;
  /** From the open connection (TLS included) to the first byte of its first request. */
  firstByteMs: number;
  /** From the first byte of a request to the end of its head. */
  headMs: number;
  /** All of a request head. */
  headSize: number;
  headFields: number;
  /** Name and value of one field. */
  fieldSize: number;
  /** The target of a request: path and query. */
  urlSize: number;
  /** Silence between two requests of an HTTP/1.x connection. */
  idleMs: number;
  requestsPerConnection: number;
  /** Requests sent ahead of the answer that is under way (HTTP/1.x). */
  pipelined: number;
  /** Bytes per second of a request body, counted over windows of bodyGraceMs; nobody is judged before the first one ends. */
  bodyRate: number;
  bodyGraceMs: number;
  /** Of a body that nobody wants (an answer came first): read and dropped, before the connection is closed. */
  unreadBody: number;
  /** The client takes nothing of an answer that waits for it. */
  writeStallMs: number;
  /** All of a target's answer head. */
  answerHeadSize: number;
  /** Upgraded connections (WebSocket), over HTTP/1.1 and HTTP/2 together. */
  tunnels: number;
  /** From one stranger, counted as for connections. */
  tunnelsPerAddress: number;
  h2: {
    /** Open at once in one session. */
    streams: number;
    /** Streams that a client called off or made malformed, in ten seconds of one session. */
    resets: number;
    /** Bytes in ten seconds of one session that carry neither a request nor a body. */
    overhead: number;
    /** A session without streams. */
    idleMs: number;
  };
}

/** A port that is carried to a machine inside as it is. */
export interface PortConfig {
  /** As written (`tcp/20170`): the name in metrics, logs and commands. */
  key: string;
  protocol: "tcp" | "udp";
  /** Address of this machine; undefined for all of them. */
  host: string | undefined;
  port: number;
  target: { host: string; port: number; text: string };
  description: string | undefined;
  /** CIDRs that may connect; empty: everybody. */
  allow: readonly string[];
  /** TLS ends here, with this name's certificate. */
  tls: string | undefined;
  /** The header that tells the target who the client is. */
  proxyProtocol: "v1" | "v2" | undefined;
  /** May the target have a public address? */
  isPublic: boolean;
  idleMs: number;
  /** At once. */
  sessions: number;
}

export interface Config {
  file: string;
  listen: { https: readonly ListenAddress[]; http: readonly ListenAddress[] };
  /** Absolute path of the state folder. */
  state: string;
  /** Absolute path of the admin socket. */
  admin: string;
  /** Processes that serve; 1 is this one alone. */
  workers: number | "auto";
  acme: AcmeConfig;
  dns: DnsConfig;
  router: RouterConfig;
  ddns: DdnsConfig | undefined;
  doctor: DoctorConfig;
  sites: readonly SiteConfig[];
  ports: readonly PortConfig[];
  /** Sites and ports that were left out, with the finding that says why (`file:line:column …`). The rest runs. */
  quarantined: readonly { name: string; finding: string }[];
  /** CIDRs of peers whose forwarding headers are believed; `lan` is spelled out already. */
  trustedProxies: readonly string[];
  /** CIDRs of peers whose every connection begins with a PROXY protocol header. */
  proxyProtocolFrom: readonly string[];
  limits: LimitsConfig;
  drainMs: number;
  notify: NotifyConfig;
  metrics: { listen: ListenAddress } | undefined;
  log: { level: "trace" | "debug" | "info" | "warn" | "error"; access: boolean; pretty: "auto" | boolean };
}
