/**
 * How does a message reach a mailbox?
 * Owns: nodemailer, loaded when the first mail is sent; one connection for each message.
 * Never: sends a password in the clear unless the configuration says that there is no TLS.
 */
import { errorText } from "../core/errors.ts";
import { DeliveryRefused, type Message, type Receiver, textOf } from "./notify-contract.ts";

export interface MailSettings {
  host: string;
  port: number;
  /** `tls` from the first byte, `starttls` before anything is said, or `none`. */
  security: "tls" | "starttls" | "none";
  user: string | undefined;
  password: string | undefined;
  from: string;
  to: readonly string[];
}

const WITHIN_MS = 15_000;

export function createMailReceiver(settings: MailSettings): Receiver {
  const { host, port, security, user, password, from, to } = settings;
  return {
    kind: "mail",
    label: `mail by ${host}`,
    async deliver(message, signal) {
      const { createTransport } = await import("nodemailer");
      const transport = createTransport({
        host,
        port,
        secure: security === "tls",
        requireTLS: security === "starttls",
        ignoreTLS: security === "none",
        connectionTimeout: WITHIN_MS,
        greetingTimeout: WITHIN_MS,
        socketTimeout: WITHIN_MS,
        ...(user !== undefined && { auth: { user, pass: password ?? "" } }),
      });
      const stop = (): void => transport.close();
      signal.addEventListener("abort", stop);
      try {
        await transport.sendMail({
          from,
          to: [...to],
          subject: subjectOf(message),
          text: textOf(message),
          headers: { "Auto-Submitted": "auto-generated" }, // RFC 3834: no holiday notices in return
        });
      } catch (error) {
        throw explained(error);
      } finally {
        signal.removeEventListener("abort", stop);
        transport.close();
      }
    },
  };
}

const subjectOf = ({ severity, title }: Message): string => (severity === "critical" ? `[!] ${title}` : title);

/** A wrong password, sender or recipient is wrong again in a minute; RFC 5321 §4.2.1 calls these 5yz. */
function explained(error: unknown): Error {
  const { code, responseCode } = error as { code?: string; responseCode?: number };
  const words = errorText(error).slice(0, 300);
  if (code === "EAUTH") return new DeliveryRefused("the mail server does not take user and password");
  if (responseCode !== undefined && responseCode >= 500)
    return new DeliveryRefused(`the mail server refused: ${words}`);
  return new Error(words);
}
