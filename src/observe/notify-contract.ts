/**
 * What is a message to a person, and what is somebody who takes it there?
 * Owns: the shapes between those who raise alerts, the queue, and the receivers.
 * Never: sends.
 */
export interface Alert {
  /** What it is about, the same each time: `certificate:home.example.org`. */
  key: string;
  severity: "warning" | "critical";
  /** One line. */
  title: string;
  /** What happened, in plain words. */
  message: string;
  nextStep: string | undefined;
}

export interface Message extends Omit<Alert, "severity"> {
  severity: Alert["severity"] | "info";
  /** ms since 1970. */
  at: number;
}

export interface Receiver {
  /** For the log: a kind and a host, no path and no credentials. */
  readonly label: string;
  readonly kind: "webhook" | "mail";
  /** @throws DeliveryRefused, or anything else that a later try may mend */
  deliver(message: Message, signal: AbortSignal): Promise<void>;
}

/** A receiver's refusal that trying again cannot mend. */
export class DeliveryRefused extends Error {
  override readonly name = "DeliveryRefused";
}

/** For receivers that take plain text. */
export const textOf = ({ message, nextStep }: Message): string =>
  nextStep === undefined ? message : `${message}\n\nWhat to do: ${nextStep}`;
