/**
 * What does a machine inside answer to one small request?
 * Owns: GET / with or without forwarding headers, over plain HTTP or TLS; telling which of the two a port speaks.
 * Never: judges the answer.
 */
import { type ClientRequest, request as requestPlain, type RequestOptions } from "node:http";
import { request as requestTls } from "node:https";
import { isIP, Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { TargetConfig } from "../config/model.ts";

const ANSWER_WITHIN_MS = 5_000;
/** A machine inside that speaks TLS answers the first message within milliseconds. */
const HELLO_WITHIN_MS = 2_000;
/** Enough to know a bare refusal by, or a page by its title. */
const SHOWN_BYTES = 2_000;

export interface TargetAnswer {
  status: number;
  /** The first bytes of the body. */
  text: string;
  /** Our address on that connection: what the target sees. */
  localAddress: string | undefined;
}

export interface Asking {
  /** The site's name, as a visitor would send it. */
  host: string;
  withForwarding: boolean;
  signal: AbortSignal;
}

/** A request as the proxy would make it, with the headers of `options` beside; not sent yet. */
export function requestTo(target: TargetConfig, asking: Asking, options: RequestOptions): ClientRequest {
  const { host, withForwarding, signal } = asking;
  const whole: RequestOptions = {
    ...(target.kind === "unix" ? { socketPath: target.path } : { host: target.host, port: target.port }),
    agent: false,
    signal,
    ...options,
    headers: {
      host,
      "user-agent": "gatehouse-doctor",
      ...(withForwarding ? forwardingFor(host) : {}),
      ...(options.headers as Record<string, string> | undefined),
    },
  };
  return target.kind === "https" ? askOverTls(target, whole) : requestPlain(whole);
}

/** @throws the network's or the parser's error; after 5 s one with code ETIMEDOUT */
export function askTarget(target: TargetConfig, asking: Asking): Promise<TargetAnswer> {
  return new Promise((resolve, reject) => {
    const asked = requestTo(target, asking, { path: "/" });
    const timer = setTimeout(() => {
      const late = new Error(`no answer within ${ANSWER_WITHIN_MS / 1000} s`);
      asked.destroy(Object.assign(late, { code: "ETIMEDOUT" }));
    }, ANSWER_WITHIN_MS);
    asked.on("close", () => clearTimeout(timer));
    asked.on("error", reject);
    asked.on("response", (answer) => {
      const { socket } = answer;
      // Read now: a closed socket has forgotten it.
      const localAddress = socket instanceof Socket ? socket.localAddress : undefined;
      let text = "";
      const done = (): void => {
        resolve({ status: answer.statusCode ?? 0, text, localAddress });
        asked.destroy();
      };
      answer.setEncoding("latin1");
      answer.on("error", reject);
      answer.on("data", (piece: string) => {
        text = (text + piece).slice(0, SHOWN_BYTES);
        if (text.length === SHOWN_BYTES) done();
      });
      answer.on("end", done);
    });
    asked.end();
  });
}

/** A visitor from the documentation range (RFC 5737): no address that a target could take for one of its own. */
const forwardingFor = (host: string): Record<string, string> => ({
  "x-forwarded-for": "192.0.2.1",
  "x-forwarded-proto": "https",
  "x-forwarded-host": host,
});

function askOverTls({ host, tls }: TargetConfig, options: RequestOptions): ClientRequest {
  const name = tls.serverName ?? host;
  return requestTls({
    ...options,
    servername: isIP(name) === 0 ? name : "",
    rejectUnauthorized: tls.verify,
    ...(tls.roots === undefined ? {} : { ca: tls.roots }),
  });
}

/** Does a TLS handshake succeed there, whoever vouches for it? */
export function speaksTls({ host, port }: TargetConfig, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectTls({
      host,
      port,
      servername: isIP(host) === 0 ? host : "",
      rejectUnauthorized: false,
      timeout: HELLO_WITHIN_MS,
    });
    const end = (speaks: boolean): void => {
      signal.removeEventListener("abort", stop);
      socket.destroy();
      resolve(speaks);
    };
    const stop = (): void => end(false);
    signal.addEventListener("abort", stop, { once: true });
    socket.on("error", () => end(false));
    socket.on("timeout", () => end(false));
    socket.on("secureConnect", () => end(true));
  });
}
