/**
 * What may be said about alerts?
 * Owns: the section `notify`: its declaration, its secrets, and how it is written out again.
 * Never: sends one (observe/notify does).
 */
import * as z from "zod";
import { formatDuration } from "../../core/time.ts";
import { Refusal, shown } from "../findings.ts";
import { block, choice, count, duration, leaf, oneOrMany, optionalBlock, secretText, text } from "../values/leaves.ts";
import { isEmail, readShare } from "../values/readings.ts";
import type { Resolver } from "../values/secrets.ts";

/** Who is told when something needs a person. The receivers have the shape of observe/notify. */
export interface NotifyConfig {
  /** In a row, for one name. */
  failures: number;
  /** Share of a certificate's life, 0 … 1. */
  lifeLeft: number;
  repeatMs: number;
  webhooks: readonly { url: string; format: "json" | "ntfy" | "slack"; token: string | undefined }[];
  mail:
    | {
        host: string;
        port: number;
        security: "tls" | "starttls" | "none";
        user: string | undefined;
        password: string | undefined;
        from: string;
        to: readonly string[];
      }
    | undefined;
}

const FORMATS = ["json", "ntfy", "slack"] as const;

const webhook = z.preprocess(
  (value) => (typeof value === "object" && value !== null ? value : { url: value }),
  z.strictObject({
    url: secretText({
      doc: "Where to POST to. Whoever knows it can write there, so rather file:/path or env:NAME.",
      example: "https://ntfy.sh/my-house",
    }),
    format: choice(
      {
        doc: "json for Home Assistant webhooks and programs, ntfy, or slack (Mattermost, Discord's /slack).",
        default: "json",
      },
      FORMATS,
    ),
    token: secretText({
      doc: "Sent as Authorization: Bearer: file:/path or env:NAME.",
      example: "file:/etc/gatehouse/ntfy-token",
      elsewhere: true,
    }).optional(),
  }),
);

const mailAddress = (doc: string) =>
  text({ doc, example: "me@example.org" }, (value) =>
    isEmail(value) ? undefined : new Refusal(`${shown(value)} is not an e-mail address`, "write me@example.org"),
  );

const mail = optionalBlock("Alerts by mail.", {
  server: leaf(
    {
      doc: "The mail server to hand them to, with its port if it is not 465.",
      example: "smtp.example.org:465",
      json: { type: "string" },
    },
    readServer,
  ),
  security: choice(
    {
      doc: "tls from the first byte, starttls, or none (for a server on this machine). auto: starttls on ports 25 and 587, else tls.",
      default: "auto",
    },
    ["auto", "tls", "starttls", "none"],
  ),
  user: text({ doc: "Left out, nobody logs in.", example: "gatehouse@example.org" }).optional(),
  password: secretText({
    doc: "file:/path or env:NAME.",
    example: "file:/etc/gatehouse/mail-password",
    elsewhere: true,
  }).optional(),
  from: mailAddress("Who they come from."),
  to: oneOrMany("Who gets them.", mailAddress("An address."), []),
});

export const notifySchema = block("Who is told when something needs a person; gatehouse notify test tries it.", {
  failures: count({ doc: "Tell after so many failed orders in a row for one name.", default: 3, min: 1, max: 100 }),
  lifeLeft: leaf(
    {
      doc: "Tell when less than this share of a certificate's life is left and no new one is there; it lies below acme.renewAt.",
      json: { type: ["string", "number"] },
    },
    readShare,
  )
    .prefault("1/5")
    .meta({ description: "Tell when less than this share of a certificate's life is left and no new one is there." }),
  repeat: duration({ doc: "Tell again of what is still so.", default: "1d", min: "1h", max: "30d" }),
  webhooks: z
    .preprocess((value) => (Array.isArray(value) ? (value as unknown[]) : [value]), z.array(webhook))
    .prefault([])
    .meta({ description: "URLs to POST to, or blocks of url, format and token.", short: "string" }),
  mail,
});

type Declared = z.output<typeof notifySchema>;

function readServer(value: unknown): { host: string; port: number } | Refusal {
  const wrong = new Refusal(`${shown(value)} is not a mail server`, "write smtp.example.org or smtp.example.org:587");
  if (typeof value !== "string") return wrong;
  const [, host, digits] = /^([A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)(?::(\d{1,5}))?$/.exec(value) ?? [];
  const port = Number(digits ?? 465);
  return host === undefined || port < 1 || port > 65_535 ? wrong : { host, port };
}

export async function resolveNotify(declared: Declared, resolver: Resolver): Promise<NotifyConfig> {
  const { failures, lifeLeft, repeat } = declared;
  const webhooks: NotifyConfig["webhooks"][number][] = [];
  for (const [at, one] of declared.webhooks.entries()) {
    const here = resolver.below(["webhooks", at]);
    const url = await here.secret(one.url, ["url"]);
    const token = one.token && (await here.secret(one.token, ["token"]));
    if (url === undefined) continue;
    if (!/^https?:$/.test(URL.parse(url)?.protocol ?? "")) {
      here.report(["url"], "is not an http or https URL", "write https://…", "value");
    } else webhooks.push({ url, format: one.format, token });
  }
  return { failures, lifeLeft, repeatMs: repeat, webhooks, mail: await resolveMail(declared.mail, resolver) };
}

async function resolveMail(declared: Declared["mail"], resolver: Resolver): Promise<NotifyConfig["mail"]> {
  if (declared === undefined) return undefined;
  const { server, security, user, from, to } = declared;
  const password = declared.password && (await resolver.secret(declared.password, ["mail", "password"]));
  if (to.length === 0) resolver.report(["mail"], "nobody gets it", "write to: me@example.org", "value");
  const usual = server.port === 25 || server.port === 587 ? "starttls" : "tls";
  return { ...server, security: security === "auto" ? usual : security, user, password, from, to };
}

type Hide = (value: string | undefined) => string | undefined;

/** The keys of the file that come to this. */
export function notifyOut({ failures, lifeLeft, repeatMs, webhooks, mail: sent }: NotifyConfig, hide: Hide) {
  return {
    failures,
    lifeLeft,
    repeat: formatDuration(repeatMs),
    webhooks: webhooks.map(({ url, format, token }) => ({
      url: hide(url),
      format,
      ...(token !== undefined && { token: hide(token) }),
    })),
    ...(sent !== undefined && {
      mail: {
        server: `${sent.host}:${sent.port}`,
        security: sent.security,
        ...(sent.user !== undefined && { user: sent.user }),
        ...(sent.password !== undefined && { password: hide(sent.password) }),
        from: sent.from,
        to: sent.to,
      },
    }),
  };
}
