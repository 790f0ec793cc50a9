/**
 * What may be said about zones and those who write into them?
 * Owns: the declarations of `dns` and of one block for each provider.
 * Never: chooses a provider (resolve-dns does).
 */
import { isIP } from "node:net";
import * as z from "zod";
import { Refusal, shown } from "../findings.ts";
import { block, choice, duration, leaf, optionalBlock, secretText, text } from "../values/leaves.ts";

/** Keys of the file; `acme.dns` names one of them. */
export const PROVIDER_BLOCKS = ["duckdns", "cloudflare", "desec", "rfc2136", "dnsHook"] as const;

const DNS_PORT = 53;
const JSON_TEXT = { type: "string" };

/** `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1`, `[2001:db8::1]:5353`. */
function readServer(value: unknown): { host: string; port: number } | Refusal {
  const what = `${shown(value)} is not the address of a DNS server`;
  if (typeof value !== "string") return new Refusal(what, "write 192.0.2.1, with its port if it is not 53");
  if (isIP(value) !== 0) return { host: value, port: DNS_PORT };
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([\d.]+)):(\d{1,5})$/.exec(value) ?? [];
  const host = bracketed ?? plain ?? "";
  const port = Number(digits);
  if (isIP(host) === 0 || port < 1 || port > 65_535) {
    return new Refusal(what, "write its address: 192.0.2.1, 192.0.2.1:5353 or [2001:db8::1]:53");
  }
  return { host, port };
}

const servers = (doc: string) =>
  z
    .preprocess(
      (value) => (Array.isArray(value) ? (value as unknown[]) : [value]),
      z.array(leaf({ doc: "An address, with a port if it is not 53.", json: JSON_TEXT }, readServer)),
    )
    .prefault([])
    .meta({ description: doc, short: "string" });

/** A token goes over it, so https; http only to this very machine. */
export function urlRefusal(value: string): Refusal | undefined {
  const url = URL.parse(value);
  if (url === null) return new Refusal(`${shown(value)} is not a URL`, "write https://…");
  const isHere = ["127.0.0.1", "localhost", "[::1]"].includes(url.hostname);
  if (url.protocol === "https:" || (url.protocol === "http:" && isHere)) return undefined;
  return new Refusal("a token goes to this address, so it must be https", "write https://…");
}

const apiUrl = (provider: string, preset: string) => {
  const doc = `Where ${provider} is asked.`;
  return text({ doc, default: preset }, urlRefusal).prefault(preset).meta({ description: doc });
};

export const token = (doc: string, example: string) =>
  secretText({ doc: `${doc}: file:/path or env:NAME.`, example, elsewhere: true });

const dnsName = (doc: string, example: string) =>
  text({ doc, example }, (value) =>
    /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.?$/i.test(value)
      ? undefined
      : new Refusal(`${shown(value)} is not a DNS name`, `write ${example}`),
  );

export const dnsSchemas = {
  dns: block("How zones are looked at.", {
    resolvers: servers("Resolvers to ask, in place of the system's; one, or a list."),
    nameServers: servers(
      "Ask these whether a record is visible, in place of the zone's own name servers: for a zone with two faces.",
    ),
    propagation: duration({
      doc: "How long a zone may take to show a new record at all its name servers.",
      default: "2m",
      min: "1s",
      max: "1h",
    }),
  }),
  duckdns: optionalBlock("DuckDNS as a DNS provider.", {
    token: token("The token of the account", "file:/etc/gatehouse/duckdns-token"),
    domain: text(
      {
        doc: "The name there, without .duckdns.org. Needed only where a name of your own domain leads to it by CNAME.",
        example: "myhome",
      },
      (value) =>
        /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i.test(value)
          ? undefined
          : new Refusal(`${shown(value)} is not a name at DuckDNS`, "write myhome for myhome.duckdns.org"),
    ).optional(),
    api: apiUrl("DuckDNS", "https://www.duckdns.org"),
  }),
  cloudflare: optionalBlock("Cloudflare as a DNS provider.", {
    token: token("An API token with the permission DNS: Edit for the zone", "file:/etc/gatehouse/cloudflare-token"),
    api: apiUrl("Cloudflare", "https://api.cloudflare.com/client/v4"),
  }),
  desec: optionalBlock("deSEC as a DNS provider.", {
    token: token("A token of the account", "file:/etc/gatehouse/desec-token"),
    api: apiUrl("deSEC", "https://desec.io/api/v1"),
  }),
  rfc2136: optionalBlock("A name server of your own as a DNS provider, by dynamic updates (bind, knot, PowerDNS).", {
    server: leaf(
      { doc: "Its address, with a port if it is not 53.", example: "192.168.0.53", json: JSON_TEXT },
      readServer,
    ),
    zone: dnsName("The zone. Left out, the server is asked.", "example.org").optional(),
    key: optionalBlock("The TSIG key; left out, updates are not signed.", {
      name: dnsName("Its name.", "gatehouse"),
      algorithm: choice({ doc: "Its algorithm.", default: "hmac-sha256" }, [
        "hmac-sha256",
        "hmac-sha384",
        "hmac-sha512",
      ]),
      secret: token("Its secret, in base64", "file:/etc/gatehouse/tsig-secret"),
    }),
  }),
  dnsHook: optionalBlock(
    "A program of your own as a DNS provider, called as: PROGRAM present|clear|address NAME VALUE.",
    {
      command: z
        .preprocess(
          (value) => (Array.isArray(value) ? (value as unknown[]) : [value]),
          z.array(text({ doc: "The program, then its arguments." })).refine((list) => list.length > 0, {
            message: "is an empty list",
            params: { remedy: "write the program, such as /usr/local/bin/my-dns" },
          }),
        )
        .meta({
          description: "The program, or a list of it and its first arguments. No shell runs it.",
          short: "string",
          examples: ["/usr/local/bin/my-dns"],
        }),
      timeout: duration({ doc: "How long it may take.", default: "1m", min: "1s", max: "1h" }),
    },
  ),
};
