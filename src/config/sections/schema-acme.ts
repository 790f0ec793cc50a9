/**
 * What may be said about who signs, and how names are proved?
 * Owns: the declaration of the section `acme`.
 * Never: looks at two settings at once (resolve-acme does).
 */
import * as z from "zod";
import { Refusal, shown } from "../findings.ts";
import { block, choice, leaf, optionalBlock, secretText, text } from "../values/leaves.ts";
import { readCa, readShare } from "../values/readings.ts";
import { PROVIDER_BLOCKS } from "./schema-dns.ts";

const caRoots = secretText({
  doc: "PEM certificates that the CA's own HTTPS is checked against as well, for a private CA: file:/path or env:NAME.",
  example: "file:/etc/step/root.pem",
  elsewhere: true,
}).optional();

const eab = optionalBlock("External account binding, from the website of a CA that wants it.", {
  kid: text({ doc: "The key identifier.", example: "kid-1" }),
  key: secretText({
    doc: "The HMAC key as the CA shows it (base64url): file:/path or env:NAME.",
    example: "file:/etc/gatehouse/eab-key",
    elsewhere: true,
  }),
});

const fallback = z
  .preprocess(
    (value) => (Array.isArray(value) ? (value as unknown[]) : [value]),
    z.array(
      z.preprocess(
        (value) => (typeof value === "object" && value !== null ? value : { ca: value }),
        z.strictObject({ ca: leaf({ doc: "As acme.ca; not local.", json: { type: "string" } }, readCa), caRoots, eab }),
      ),
    ),
  )
  .prefault([])
  .meta({
    description:
      "CAs to turn to when the first one fails twice in a row, in this order: names or URLs as in ca, or blocks of ca, caRoots and eab. Each new try begins with the first one again.",
    short: "string",
  });

export const acmeSchema = block("Who signs the certificates.", {
  ca: leaf(
    {
      doc: "letsencrypt, letsencrypt-staging, zerossl, google, local (Gatehouse's own CA, for tests and networks without a public name), or the https URL of an ACME directory.",
      json: { type: "string" },
    },
    readCa,
  )
    .prefault("letsencrypt")
    .meta({
      description:
        "letsencrypt, letsencrypt-staging, zerossl, google (both want eab), local (Gatehouse's own CA), or the https URL of an ACME directory.",
    }),
  email: secretText({
    doc: "Where the CA writes to; many need none. A text, env:NAME or file:/path.",
    example: "me@example.org",
  }).optional(),
  caRoots,
  eab,
  staging: leaf(
    {
      doc: "Where the same CA lets one rehearse: the https URL of a directory. Known of letsencrypt; others seldom have one. caRoots count for it as well.",
      example: "https://ca-staging.example.org/directory",
      json: { type: "string" },
    },
    readCa,
  ).optional(),
  fallback,
  challenge: choice(
    {
      doc: "How names are proved. auto: port 80 (http-01), else port 443 alone (tls-alpn-01), else in DNS (dns-01); what failed gives way to the next, and the log says why.",
      default: "auto",
    },
    ["auto", "http-01", "tls-alpn-01", "dns-01"],
  ),
  dns: choice(
    { doc: "Which of the DNS providers below proves names by dns-01. auto: the one that is set up.", default: "auto" },
    ["auto", ...PROVIDER_BLOCKS],
  ),
  profile: text(
    {
      doc: "Kind of certificate, of those that the CA advertises: classic, tlsserver and shortlived at Let's Encrypt. Left out, the CA chooses.",
      example: "shortlived",
    },
    (value) =>
      /^[\w.-]{1,64}$/.test(value)
        ? undefined
        : new Refusal(`${shown(value)} is not the name of a profile`, "write shortlived"),
  ).optional(),
  key: choice({ doc: "Kind of key of new certificates.", default: "p256" }, ["p256", "p384", "rsa2048", "rsa4096"]),
  preferredChain: text({
    doc: "Common name of a root or intermediate: where the CA offers several chains, the one with it is taken.",
    example: "ISRG Root X1",
  }).optional(),
  renewAt: leaf(
    {
      doc: "Renew when this share of the lifetime is left: a fraction or a number between 0.05 and 1. Default: 1/3, or 1/2 for lifetimes under ten days.",
      example: "1/3",
      json: { type: ["string", "number"] },
    },
    readShare,
  ).optional(),
});
