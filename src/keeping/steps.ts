/**
 * What is being done for a certificate right now?
 * Owns: handing the log lines of an order, as they are written, to whoever waits for it.
 * Never: words a line itself; what a person at the terminal reads is what the log says.
 */
import type { Step } from "../admin/actions.ts";
import type { Logger } from "../observe/log.ts";
import { redactText } from "../observe/redact.ts";

export interface Steps {
  /** Writes to the log as before; give it to those whose lines are steps. */
  log: Logger;
  /** Until the returned function is called. */
  listen(name: string, tell: (step: Step) => void): () => void;
}

const ENDS: ReadonlySet<string> = new Set(["certificate.issued", "certificate.failed"]);

type Fields = Readonly<Record<string, unknown>>;

/**
 * Orders run one at a time: a line without a name is of the one that is under way.
 *
 * @param onEnd  an order came to an end, well or not
 */
export function createSteps(log: Logger, onEnd: () => void): Steps {
  const listeners = new Set<(fields: Fields, message: string) => void>();
  const telling =
    (level: "info" | "warn" | "error") =>
    (fields: Fields, message: string): void => {
      log[level](fields, message);
      for (const listen of listeners) listen(fields, message);
      if (ENDS.has(String(fields["event"]))) onEnd();
    };
  const through = Object.create(log) as Logger;
  through.info = telling("info") as Logger["info"];
  through.warn = telling("warn") as Logger["warn"];
  through.error = telling("error") as Logger["error"];
  return {
    log: through,
    listen(name, tell) {
      const listen = (fields: Fields, message: string): void => {
        const isOthers = typeof fields["name"] === "string" && fields["name"] !== name && isAboutOne(fields);
        if (!isOthers) tell({ text: redactText(wordsOf(fields, message)) });
      };
      listeners.add(listen);
      return () => listeners.delete(listen);
    },
  };
}

/** Of a certificate for several names, each is proved by itself; the events of the whole carry its first name. */
const isAboutOne = ({ event }: Fields): boolean => /^(?:certificate|acme\.order)\./.test(String(event));

function wordsOf(fields: Fields, message: string): string {
  const { event, name, challenge, why, reason, ca } = fields;
  if (event === "acme.challenge.chosen") return `${String(name)} by ${String(challenge)} (${String(why)}): ${message}`;
  const more = reason ?? ca;
  return typeof more === "string" ? `${message} (${more})` : message;
}
