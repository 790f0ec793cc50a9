/**
 * How does a message reach a phone or a house by a URL?
 * Owns: the three shapes (JSON for Home Assistant and programs, ntfy, Slack), one POST, what its answer means.
 * Never: follows a redirect (the address is a secret) or tries again by itself.
 */
import { DeliveryRefused, type Message, type Receiver, textOf } from "./notify-contract.ts";

export interface WebhookSettings {
  url: string;
  format: "json" | "ntfy" | "slack";
  /** Sent as `Authorization: Bearer`. */
  token: string | undefined;
}

interface Post {
  body: string;
  headers: Record<string, string>;
}

const JSON_TYPE = { "content-type": "application/json" };

/** ntfy: 5 is the highest, 3 the usual. */
const PRIORITY = { critical: "5", warning: "4", info: "3" } as const;

const SHAPES: Readonly<Record<WebhookSettings["format"], (message: Message) => Post>> = {
  json: ({ key, severity, title, message, nextStep, at }) => ({
    headers: JSON_TYPE,
    body: JSON.stringify({
      source: "gatehouse",
      key,
      severity,
      title,
      message,
      nextStep: nextStep ?? null,
      at: new Date(at).toISOString(),
    }),
  }),
  ntfy: (message) => ({
    headers: {
      "content-type": "text/plain; charset=utf-8",
      // Header values are Latin-1; ntfy reads RFC 2047 words.
      title: isPlain(message.title) ? message.title : `=?UTF-8?B?${Buffer.from(message.title).toString("base64")}?=`,
      priority: PRIORITY[message.severity],
      tags: message.severity === "info" ? "white_check_mark" : "warning",
    },
    body: textOf(message),
  }),
  slack: (message) => ({
    headers: JSON_TYPE,
    body: JSON.stringify({ text: escapeSlack(`*${message.title}*\n${textOf(message)}`) }),
  }),
};

const isPlain = (text: string): boolean => /^[\x20-\x7e]*$/.test(text);

/** Slack takes these three for markup of its own. */
const escapeSlack = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

export function createWebhookReceiver({ url, format, token }: WebhookSettings): Receiver {
  return {
    kind: "webhook",
    label: `${format} at ${URL.parse(url)?.host ?? "?"}`,
    async deliver(message, signal) {
      const { body, headers } = SHAPES[format](message);
      const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
      let response: Response;
      try {
        response = await fetch(url, {
          method: "POST",
          redirect: "manual",
          headers: { ...headers, ...authorization, "user-agent": "gatehouse" },
          body,
          signal,
        });
      } catch (error) {
        throw new Error(`it could not be reached: ${causeOf(error)}`, { cause: error });
      }
      await response.body?.cancel().catch(() => {});
      const { status } = response;
      if (status >= 200 && status < 300) return;
      if (status === 408 || status === 429 || status >= 500) throw new Error(`it answered with status ${status}`);
      throw new DeliveryRefused(`it answered with status ${status}: check its address and its token`);
    },
  };
}

/** "fetch failed" says nothing; the code below it does, and holds no address. */
function causeOf(error: unknown): string {
  const { name, cause } = error as { name?: string; cause?: { code?: string } };
  return cause?.code ?? name ?? "unknown";
}
