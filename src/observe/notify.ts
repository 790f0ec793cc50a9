/**
 * Who tells a person that something needs them?
 * Owns: what is open now, when each thing was last told, the queue to each receiver, and the bounds on all of them.
 * Never: decides what is worth a message (whoever raises it does), and never writes a receiver's address to the log.
 *
 * One thing has one key. Raising it again changes nothing until `repeatMs` have passed or it has become worse; settling it
 * tells that it is over to those who heard of it. What is open survives restarts: a crash loop sends one message, not fifty.
 */
import { errorText } from "../core/errors.ts";
import type { Clock } from "../core/time.ts";
import type { Logger } from "./log.ts";
import { type Alert, DeliveryRefused, type Message, type Receiver } from "./notify-contract.ts";
import { createMailReceiver, type MailSettings } from "./notify-mail.ts";
import { createWebhookReceiver, type WebhookSettings } from "./notify-webhook.ts";

export interface NotifySettings {
  /** An open thing is told again after this. */
  repeatMs: number;
  webhooks: readonly WebhookSettings[];
  mail: MailSettings | undefined;
}

/** Where the open things are kept; a text of ours. */
export interface NotifyMemory {
  load(): Promise<Buffer | undefined>;
  save(text: string): Promise<void>;
}

export interface TestResult {
  receiver: string;
  ok: boolean;
  problem: string | undefined;
}

export interface Notifier {
  /** Another list of receivers; what waits for those that are gone is dropped. */
  apply(settings: NotifySettings): void;
  /** Reads what was open before the restart. Call it before the first `raise`. */
  remember(memory: NotifyMemory): Promise<void>;
  raise(alert: Alert): void;
  /** It is over. Nothing happens when it was never told. */
  settle(key: string, words: string): void;
  /** One message to each receiver, now and once. */
  test(): Promise<readonly TestResult[]>;
  stop(): void;
}

const DELIVER_WITHIN_MS = 20_000;
/** Then it is given up: the thing is told again after `repeatMs` if it is still open. */
const PAUSES_MS = [10_000, 60_000, 300_000];
/** A house where more goes wrong at once has one cause, and fifty messages do not name it better. */
const MAX_WAITING = 50;
const MAX_IN_AN_HOUR = 30;
const MAX_OPEN = 1_000;

interface Open {
  at: number;
  severity: Alert["severity"];
  title: string;
}

export function createNotifier(options: {
  log: Logger;
  clock: Clock;
  onSent?: (kind: Receiver["kind"], outcome: "ok" | "failed") => void;
  /** For tests. */
  pausesMs?: readonly number[];
}): Notifier {
  const { log, clock, onSent, pausesMs = PAUSES_MS } = options;
  const open = new Map<string, Open>();
  const lines = new Map<Receiver, { waiting: Message[]; working: boolean }>();
  const stopping = new AbortController();
  let sentAt: number[] = [];
  let repeatMs = 86_400_000;
  let memory: NotifyMemory | undefined;
  let saving: Promise<void> = Promise.resolve();

  function keep(): void {
    const text = JSON.stringify({ version: 1, open: [...open] });
    saving = saving
      .then(() => memory?.save(text))
      .catch((error: unknown) => {
        log.warn({ event: "notify.unkept", reason: errorText(error) }, "what was told could not be stored");
      });
  }

  /** @returns false when the hour is full */
  function send(message: Message): boolean {
    if (lines.size === 0) return false;
    sentAt = sentAt.filter((at) => at > clock.now() - 3_600_000);
    if (sentAt.length >= MAX_IN_AN_HOUR) {
      log.warn({ event: "notify.held", key: message.key }, "too many messages in an hour, this one waits");
      return false;
    }
    sentAt.push(clock.now());
    for (const [receiver, line] of lines) {
      if (line.waiting.length < MAX_WAITING) line.waiting.push(message);
      void work(receiver, line);
    }
    return true;
  }

  async function work(receiver: Receiver, line: { waiting: Message[]; working: boolean }): Promise<void> {
    if (line.working) return;
    line.working = true;
    for (let message = line.waiting.shift(); message !== undefined; message = line.waiting.shift()) {
      await deliver(receiver, message);
    }
    line.working = false;
  }

  async function deliver(receiver: Receiver, message: Message): Promise<void> {
    const facts = { receiver: receiver.label, key: message.key };
    for (let attempt = 0; !stopping.signal.aborted && lines.has(receiver); attempt++) {
      try {
        await attemptAt(receiver, message);
        onSent?.(receiver.kind, "ok");
        log.info({ event: "notify.sent", ...facts }, "a message was sent");
        return;
      } catch (error) {
        const pause = error instanceof DeliveryRefused ? undefined : pausesMs[attempt];
        const reason = errorText(error);
        if (pause === undefined) {
          onSent?.(receiver.kind, "failed");
          log.error({ event: "notify.failed", ...facts, reason }, "a message could not be delivered");
          return;
        }
        log.warn({ event: "notify.again", ...facts, reason, inMs: pause }, "a message is tried again");
        await rest(pause, stopping.signal);
      }
    }
  }

  const attemptAt = (receiver: Receiver, message: Message): Promise<void> =>
    receiver.deliver(message, AbortSignal.any([stopping.signal, AbortSignal.timeout(DELIVER_WITHIN_MS)]));

  return {
    apply(settings) {
      ({ repeatMs } = settings);
      lines.clear();
      const receivers = [
        ...settings.webhooks.map((one) => createWebhookReceiver(one)),
        ...(settings.mail === undefined ? [] : [createMailReceiver(settings.mail)]),
      ];
      for (const receiver of receivers) lines.set(receiver, { waiting: [], working: false });
    },

    async remember(given) {
      memory = given;
      for (const [key, one] of readOpen((await given.load().catch(() => undefined))?.toString("utf8")))
        open.set(key, one);
    },

    raise(alert) {
      const { key, severity, title } = alert;
      const before = open.get(key);
      const isWorse = severity === "critical" && before?.severity === "warning";
      const now = clock.now();
      // A clock that went back must not silence it for years.
      const isFresh = before !== undefined && now - before.at < repeatMs && before.at <= now + repeatMs;
      if (isFresh && !isWorse) return;
      if (before === undefined && open.size >= MAX_OPEN) return;
      if (!send({ ...alert, at: now })) return;
      open.set(key, { at: now, severity, title });
      keep();
    },

    settle(key, words) {
      const before = open.get(key);
      if (before === undefined) return;
      open.delete(key);
      keep();
      const at = clock.now();
      send({ key, severity: "info", title: `Over: ${before.title}`, message: words, nextStep: undefined, at });
    },

    async test() {
      const message: Message = {
        key: "test",
        severity: "info",
        title: "Gatehouse can reach you",
        message: "This is a test. Alerts about certificates and this home's connection will come like this.",
        nextStep: undefined,
        at: clock.now(),
      };
      return Promise.all(
        [...lines.keys()].map(async (receiver) => {
          const { label } = receiver;
          try {
            await attemptAt(receiver, message);
            return { receiver: label, ok: true, problem: undefined };
          } catch (error) {
            return { receiver: label, ok: false, problem: errorText(error) };
          }
        }),
      );
    },

    stop() {
      stopping.abort();
    },
  };
}

/** What cannot be read is as good as nothing: one message too many. */
function readOpen(text: string | undefined): [string, Open][] {
  try {
    const { open } = JSON.parse(text ?? "") as { open?: [string, Open][] };
    return (open ?? []).filter(([key, { at }]) => typeof key === "string" && Number.isFinite(at)).slice(0, MAX_OPEN);
  } catch {
    return [];
  }
}

function rest(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    timer.unref();
    signal.addEventListener("abort", end);
  });
}
