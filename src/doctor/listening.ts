/**
 * Do our ports answer, or could they be opened?
 * Owns: connecting to what a running Gatehouse listens on; opening and closing the configured ports when none runs.
 * Never: leaves a port open.
 */
import { createServer, connect } from "node:net";
import type { Config, ListenAddress } from "../config/model.ts";
import { errorText, GatehouseError } from "../core/errors.ts";
import { listenFailure } from "../core/listen-failure.ts";
import { type Note, note } from "./finding.ts";
import type { Running } from "./running.ts";

const CONNECT_WITHIN_MS = 3_000;

export async function lookAtListening(
  { listen }: Config,
  listeners: Running["listeners"] | undefined,
  signal: AbortSignal,
): Promise<Note[]> {
  if (listeners !== undefined) return Promise.all(listeners.map((one) => answers(one, signal)));
  const places = [...listen.https, ...listen.http];
  return Promise.all(places.map((place) => couldOpen(place)));
}

/** Where one connects to reach a listener of all addresses. */
export const nearHost = (host: string): string =>
  host === "" || host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;

/** Rejects with the network's error. @param withinMs  milliseconds */
export function tryConnect(host: string, port: number, withinMs: number, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, signal });
    const end = (then: () => void): void => {
      clearTimeout(timer);
      socket.destroy();
      then();
    };
    const timer = setTimeout(() => {
      const late = Object.assign(new Error(`no answer within ${withinMs / 1000} s`), { code: "ETIMEDOUT" });
      end(() => reject(late));
    }, withinMs);
    socket.on("error", (error) => end(() => reject(error)));
    socket.on("connect", () => {
      const { localAddress = "" } = socket;
      end(() => resolve(localAddress));
    });
  });
}

async function answers({ kind, host, port }: Running["listeners"][number], signal: AbortSignal): Promise<Note> {
  const subject = `${kind} port ${port}`;
  try {
    await tryConnect(nearHost(host), port, CONNECT_WITHIN_MS, signal);
    return note("ok", "LISTENER_ANSWERS", { subject, seen: `The ${subject} answers on this machine.` });
  } catch (error) {
    return note("error", "LISTENER_SILENT", {
      subject,
      seen: `The ${subject} does not answer on this machine: ${errorText(error)}.`,
      why: "What does not answer here answers nobody.",
      next: "gatehouse health says what is wrong; the log says when it began. A packet filter on this machine (nft list ruleset) may be in the way.",
    });
  }
}

async function couldOpen(place: ListenAddress): Promise<Note> {
  if ("fd" in place) {
    return note("unknown", "LISTENER_HANDED_OVER", {
      seen: `The socket fd:${place.fd} is handed over at the start, so it cannot be looked at now.`,
    });
  }
  const { host, port } = place;
  const subject = `port ${port}`;
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.on("error", (error) => reject(listenFailure(error, place, "listen")));
      server.listen({ port, ...(host === undefined ? {} : { host }) }, () => server.close(() => resolve()));
    });
    return note("ok", "PORT_FREE", { subject, seen: `The ${subject} is free and may be listened on.` });
  } catch (error) {
    if (!(error instanceof GatehouseError)) throw error;
    return note("error", error.code.replace("GATEHOUSE_", ""), {
      subject,
      seen: error.message,
      why: "Gatehouse cannot start without it.",
      next: error.hint,
    });
  }
}
