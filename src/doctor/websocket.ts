/**
 * Do WebSockets come through to the machine inside?
 * Owns: asking a target for an upgrade directly and through our own listener, and comparing.
 * Never: calls a target broken that may have no WebSocket at all.
 */
import { randomBytes } from "node:crypto";
import type { ClientRequest, RequestOptions } from "node:http";
import { request as requestTls } from "node:https";
import type { SiteConfig, TargetConfig } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import { type Asking, requestTo } from "./ask-target.ts";
import { httpsPlace } from "./certificates.ts";
import { type Note, note } from "./finding.ts";
import type { Running } from "./running.ts";

const ANSWER_WITHIN_MS = 5_000;
/** Home Assistant's, and what most small services have. */
const PATHS = ["/api/websocket", "/"] as const;

/** A target that answered plain requests well. */
export interface Answered {
  site: SiteConfig;
  target: TargetConfig;
  isHomeAssistant: boolean;
}

export async function lookAtWebSockets(
  answered: readonly Answered[],
  running: Running | undefined,
  signal: AbortSignal,
): Promise<Note[]> {
  if (answered.length === 0) {
    return [note("unknown", "WEBSOCKET_NOT_TRIED", { seen: "No WebSocket was tried: no target answers." })];
  }
  return Promise.all(answered.map((one) => look(one, running, signal)));
}

async function look(
  { site, target, isHomeAssistant }: Answered,
  running: Running | undefined,
  signal: AbortSignal,
): Promise<Note> {
  const { name } = site;
  const host = name.replace("*", "gatehouse-doctor");
  const asking: Asking = { host, withForwarding: site.forwardingHeaders, signal };
  const why = "Pages that live on one stay empty or say that the connection was lost.";
  let first: number | undefined;
  for (const path of PATHS) {
    const status = await upgrade((options) => requestTo(target, asking, options), path, signal).catch(() => undefined);
    signal.throwIfAborted();
    first ??= status;
    if (status !== 101) continue;
    const place = httpsPlace(running);
    const isRouted = site.routes.some((route) => route.prefix === "/" && route.target.text === target.text);
    if (place === undefined || !isRouted) {
      const seen = `${target.text} speaks WebSocket at ${path}; the way through Gatehouse was not tried.`;
      return note("unknown", "WEBSOCKET_NOT_TRIED", { subject: name, seen });
    }
    const headers = { host, "user-agent": "gatehouse-doctor" };
    const through = (options: RequestOptions): ClientRequest =>
      requestTls({
        ...options,
        ...place,
        servername: host,
        rejectUnauthorized: false,
        agent: false,
        headers: { ...headers, ...(options.headers as Record<string, string> | undefined) },
      });
    const came = await upgrade(through, path, signal).catch((error: unknown) => errorText(error));
    signal.throwIfAborted();
    if (came === 101)
      return note("ok", "WEBSOCKET_WORKS", { subject: name, seen: `A WebSocket to ${name}${path} comes through.` });
    return note("error", "WEBSOCKET_LOST", {
      subject: name,
      seen: `${target.text} speaks WebSocket at ${path}, but through Gatehouse it ends (${came}).`,
      why,
      next: "The log says why; limits.tunnels bounds how many are open at once.",
    });
  }
  if (isHomeAssistant) {
    return note("error", "TARGET_NO_WEBSOCKET", {
      subject: target.text,
      seen: `${target.text} shows Home Assistant's page but opens no WebSocket (status ${first ?? "none"}).`,
      why,
      next: `Another proxy stands in front of it that does not pass WebSockets: let it, or write Home Assistant's own address (port 8123) as the target of ${name}.`,
    });
  }
  const seen = `${target.text} offers no WebSocket at ${PATHS.join(" or ")}; it may not need one.`;
  return note("ok", "WEBSOCKET_NOT_OFFERED", { subject: name, seen });
}

/** The status; 101 when it was taken. @throws the network's error; one after 5 s */
function upgrade(send: (options: RequestOptions) => ClientRequest, path: string, signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": randomBytes(16).toString("base64"),
    };
    const bound = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_WITHIN_MS)]);
    const asked = send({ path, headers, signal: bound });
    const done = (status: number | undefined): void => {
      resolve(status ?? 0);
      asked.destroy();
    };
    asked.on("error", reject);
    asked.on("response", (answer) => {
      answer.on("error", () => {});
      done(answer.statusCode);
    });
    asked.on("upgrade", (answer, socket) => {
      socket.on("error", () => {});
      done(answer.statusCode);
      socket.destroy();
    });
    asked.end();
  });
}
