/**
 * Which keys are there, what do they take, and what is said about them?
 * Owns: the one declaration of every setting; the loader, the reference and the JSON Schema read it.
 * Never: looks at two settings at once (resolve does) or reads a file.
 */
import { validateHeaderValue } from "node:http";
import * as z from "zod";
import { readListenAddress, readPeers } from "./values/addresses.ts";
import { ddnsSchemas } from "./sections/ddns.ts";
import { doctorSchema } from "./sections/doctor.ts";
import { Refusal, shown } from "./findings.ts";
import {
  block,
  mapOf,
  choice,
  choiceRefusal,
  duration,
  flag,
  leaf,
  oneOrMany,
  optionalBlock,
  secretText,
  sizeOrNone,
  text,
} from "./values/leaves.ts";
import { limitsSchema } from "./sections/limits.ts";
import { notifySchema } from "./sections/notify.ts";
import { portsSchema, proxyProtocol, readPortTarget } from "./sections/ports.ts";
import { headerRefusal, prefixRefusal, readRedirect, readTarget } from "./values/readings.ts";
import { routerSchema } from "./sections/router.ts";
import { onDemandSchema } from "./sections/on-demand.ts";
import { acmeSchema } from "./sections/schema-acme.ts";
import { furtherNames } from "./sections/site-names.ts";
import { dnsSchemas } from "./sections/schema-dns.ts";
import { workersSchema } from "./sections/workers.ts";

const LISTEN_JSON = { type: "string" };
const listenAddress = leaf({ doc: "Where to listen.", json: LISTEN_JSON }, readListenAddress);

const peers = leaf({ doc: "An address, a network or a word.", json: { type: "string" } }, readPeers);

const upstreamTls = (doc: string) =>
  optionalBlock(doc, {
    verify: flag({ doc: "Check the target's certificate.", default: true }),
    roots: secretText({
      doc: "PEM certificates of the only roots that are trusted for the target: file:/path or env:NAME.",
      example: "file:/etc/gatehouse/nas-root.pem",
      elsewhere: true,
    }).optional(),
    serverName: text(
      {
        doc: "The name to ask for (SNI) and to check, when it is not the host of the address.",
        example: "nas.example.org",
      },
      (value) =>
        /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/i.test(value)
          ? undefined
          : new Refusal(`${shown(value)} is not a host name`, "write nas.example.org"),
    ).optional(),
  });

const target = leaf(
  {
    doc: "The machine inside: host:port, http://host:port, https://host:port, unix:/path, or demo (the built-in sample page).",
    example: "192.168.0.200:8123",
    json: { type: "string" },
  },
  readTarget,
);

const route = z
  .preprocess(
    (value) => (isBlock(value) ? value : { to: value }),
    z.strictObject({
      to: target,
      strip: flag({ doc: "Cut the prefix off the path before forwarding.", default: false }),
      upstreamTls: upstreamTls("How to speak TLS with this https target; instead of the site's."),
    }),
  )
  .meta({ description: "A target, or a block of keys.", short: "string" });

const headerValue = leaf(
  { doc: "A text sets the header, null removes it.", json: { type: ["string", "null"] } },
  (value) => {
    if (value === null) return null;
    if (typeof value !== "string") return new Refusal(`${shown(value)} is not a text`, "put it in quotes");
    try {
      validateHeaderValue("x", value);
      return value;
    } catch {
      return new Refusal(`${shown(value)} has characters that no header may carry`, "one line of printable letters");
    }
  },
);

const CLIENT_CERT = ["required", "optional"] as const;

const STATUSES = [301, 302, 307, 308] as const;

function readStatus(value: unknown): (typeof STATUSES)[number] | Refusal {
  return STATUSES.find((status) => status === value) ?? choiceRefusal(value, STATUSES.map(String));
}

export const siteSchema = z
  .preprocess(
    (value) => (isBlock(value) ? value : value === null ? {} : { to: value }),
    z.strictObject({
      to: target.optional(),
      upstreamTls: upstreamTls("How to speak TLS with https targets of this site."),
      routes: mapOf(route, prefixRefusal).optional().meta({
        description: "Path prefix: target, or a block of keys. The longest prefix wins; /api/ covers what is below it.",
      }),
      redirect: leaf(
        {
          doc: "Answer with a redirect to this URL instead of forwarding. {path} becomes the path and query of the request.",
          example: "https://example.org{path}",
          json: { type: "string" },
        },
        readRedirect,
      ).optional(),
      status: leaf(
        { doc: "Status of the redirect. Default: 308.", example: 308, json: { enum: [...STATUSES] } },
        readStatus,
      ).optional(),
      names: furtherNames,
      onDemand: onDemandSchema,
      email: secretText({
        doc: "For a CA account of this site's own. Default: the one of acme.",
        example: "nas@example.org",
      }).optional(),
      tls: optionalBlock(
        "Certificate files of your own, in PEM, which somebody else renews. A changed pair is served at once.",
        {
          cert: text(
            {
              doc: "The certificate with its chain; a relative path begins beside this file.",
              example: "/etc/ssl/nas/fullchain.pem",
            },
            pathRefusal,
          ),
          key: text({ doc: "Its private key, not encrypted.", example: "/etc/ssl/nas/privkey.pem" }, pathRefusal),
        },
      ),
      clientCert: leaf(
        {
          doc: "Ask devices for a certificate that gatehouse client-cert made: required answers 403 without one, optional lets them in all the same. Who it is goes to the target as X-Forwarded-Client-Cert.",
          example: "required",
          json: { enum: [...CLIENT_CERT] },
        },
        (value) => CLIENT_CERT.find((one) => one === value) ?? choiceRefusal(value, CLIENT_CERT),
      ).optional(),
      passthrough: leaf(
        {
          doc: "Do not end TLS for this name: carry it, by the name in its first message, to this machine, which has the certificate.",
          example: "192.168.0.210:443",
          json: { type: "string" },
        },
        readPortTarget,
      ).optional(),
      proxyProtocol: proxyProtocol("With passthrough only; the target must expect it."),
      maxBody: sizeOrNone({ doc: "The largest request body; more is answered with 413.", default: "none" }),
      timeouts: block("How long this site waits.", {
        connect: duration({
          doc: "For the connection to the target, name lookup and TLS included.",
          default: "5s",
          min: "10ms",
          max: "5m",
        }),
        firstByte: duration({
          doc: "From the whole request sent to the first byte of the answer.",
          default: "60s",
          min: "10ms",
          max: "1d",
        }),
        idle: duration({
          doc: "Silence in the middle of an answer or of a request body.",
          default: "5m",
          min: "10ms",
          max: "1d",
        }),
        tunnelIdle: duration({
          doc: "Silence in both directions of a WebSocket or other upgraded connection.",
          default: "1h",
          min: "10ms",
          max: "7d",
        }),
      }),
      forwardingHeaders: flag({
        doc: "Tell the target about the client: X-Forwarded-For, -Proto, -Host, -Port, Forwarded, X-Real-IP.",
        default: true,
      }),
      headers: block("Headers of this site's answers.", {
        response: mapOf(headerValue, headerRefusal)
          .prefault({})
          .meta({
            description: "Name: text sets it on every answer, name: null removes it.",
            examples: [{ "X-Frame-Options": "SAMEORIGIN", Server: null }],
          }),
      }),
    }),
  )
  .meta({
    description: "A target, or a block of keys. The name is a host name; *.example.org stands in quotes.",
    short: "string",
  });

function isBlock(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export const configSchema = z.strictObject({
  listen: block(
    'Where to listen: ":443" (all addresses), "127.0.0.1:8443", "[::]:443", "fd:3" (from systemd); one, or a list.',
    {
      https: oneOrMany("For HTTPS.", listenAddress, ":443"),
      http: oneOrMany("For plain HTTP: the CA's challenges and redirects to HTTPS. [] for none.", listenAddress, ":80"),
    },
  ),
  state: text(
    {
      doc:
        "Folder of keys, certificates and the ledger (0700). A relative path begins at the home folder: /var/lib/gatehouse for " +
        "files in /etc/gatehouse, the folder above when the file lies in a folder named config, else the file's own. " +
        "Default: certs in the home folder; /var/lib/gatehouse itself for files in /etc/gatehouse.",
      example: "certs",
    },
    pathRefusal,
  ).optional(),
  admin: text(
    {
      doc:
        "Unix socket of the command line (0600). Relative like state. " +
        "Default: admin.sock in the state folder; /run/gatehouse/admin.sock for files in /etc/gatehouse.",
      example: "certs/admin.sock",
    },
    pathRefusal,
  ).optional(),
  trustedProxies: oneOrMany(
    "Peers whose X-Forwarded-* headers are believed: addresses, networks, or loopback, private (RFC 1918 and fc00::/7), lan (private and link-local).",
    peers,
    [],
  ),
  limits: limitsSchema,
  proxyProtocolFrom: oneOrMany(
    "Peers that tell the client in a PROXY protocol header (v1 or v2) before everything else: a load balancer or a VPS in front. Written like trustedProxies. Each of their connections must begin with one; from nobody else is one taken.",
    leaf({ doc: "An address, a network or a word.", json: { type: "string" } }, readPeers),
    [],
  ),
  drain: duration({ doc: "How long running requests may take after SIGTERM.", default: "30s", min: "0s", max: "1h" }),
  workers: workersSchema,
  acme: acmeSchema,
  ...dnsSchemas,
  router: routerSchema,
  ...ddnsSchemas,
  doctor: doctorSchema,
  sites: z.record(z.string(), siteSchema).meta({ description: "Host name: target, or a block of keys." }),
  ports: portsSchema,
  notify: notifySchema,
  metrics: optionalBlock("Prometheus metrics, on a listener of their own; left out, there is none.", {
    listen: leaf({ doc: "Where to listen.", example: "127.0.0.1:9145", json: LISTEN_JSON }, readListenAddress),
  }),
  log: block("What is written to standard output.", {
    level: choice({ doc: "The least important that is written.", default: "info" }, [
      "trace",
      "debug",
      "info",
      "warn",
      "error",
    ]),
    access: flag({ doc: "One line per request.", default: true }),
    format: choice({ doc: "auto is pretty on a terminal and JSON elsewhere.", default: "auto" }, [
      "auto",
      "pretty",
      "json",
    ]),
  }),
});

function pathRefusal(value: string): Refusal | undefined {
  if (value === "" || value.includes("\0")) return new Refusal(`${shown(value)} is not a path`, "write a path");
  return value.startsWith("~") ? new Refusal("~ is not expanded here", "write the whole path") : undefined;
}

export type DeclaredSite = z.output<typeof siteSchema>;
export type Declared = Omit<z.output<typeof configSchema>, "sites">;
export type DeclaredUpstreamTls = DeclaredSite["upstreamTls"];
