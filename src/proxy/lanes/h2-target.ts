/**
 * How is one HTTP/2 request asked of a target in HTTP/1.1?
 * Owns: the node:http request with explicit framing, the one retry, and what its errors mean.
 * Never: touches the client's stream.
 */
import { type ClientRequest, type IncomingMessage, request as httpRequest } from "node:http";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { errorText, type ErrorCode, GatehouseError, isGatehouseError } from "../../core/errors.ts";
import type { Exchange, LaneContext } from "../exchange.ts";
import { requestHeaders } from "../rules/headers.ts";
import type { Decision } from "../rules/policy.ts";
import { createDeadlines, type Deadlines } from "../upstream/deadlines.ts";
import { connectFailure, isTlsCode } from "../upstream/dial.ts";

type Forward = Extract<Decision, { kind: "forward" }>;

export interface TargetCall {
  /** The attempt that runs now; another object after the retry, which happens only before a body byte was written. */
  request(): ClientRequest;
  readonly deadlines: Deadlines;
  destroy(): void;
}

export interface TargetEvents {
  /** The target has taken the connection, TLS included; once. */
  connected(): void;
  /** There is room for more of the body. */
  drained(): void;
  information(message: { statusCode: number; rawHeaders: string[] }): void;
  response(message: IncomingMessage): void;
  failed(error: GatehouseError): void;
}

/** Sent twice they do what they do once (RFC 9110 §9.2.2). */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PROPFIND", "REPORT", "SEARCH"]);
/** Methods whose request without a body carries no Content-Length either (RFC 9110 §8.6). */
const BODYLESS = new Set(["GET", "HEAD", "OPTIONS", "DELETE"]);

export function callTarget(context: LaneContext, exchange: Exchange, forward: Forward, on: TargetEvents): TargetCall {
  const { head } = exchange;
  const { target } = forward.route;
  const headers = requestHeaders(head, exchange.client, forward.site);
  // Node frames a GET without either field as bodyless and would write its DATA raw behind the head: a second request
  // for the target (verified against http-proxy-3 and httpxy). So the framing is always said.
  if (head.body === "length") headers.push("content-length", String(head.contentLength));
  else if (head.body === "chunked") headers.push("transfer-encoding", "chunked");
  else if (!BODYLESS.has(head.method)) headers.push("content-length", "0");

  let isOver = false;
  let isConnected = false;
  const deadlines = createDeadlines(forward.site.timeouts, (error) => fail(error));
  let current = attempt(false);

  function attempt(isRetry: boolean): ClientRequest {
    let socket: Duplex | undefined;
    let hasAnswered = false;
    const request = httpRequest({
      agent: isRetry ? context.upstream.freshAgentFor(target) : context.upstream.agentFor(target),
      method: head.method,
      path: forward.path,
      headers,
      setHost: false,
    });
    request.on("socket", (given) => {
      socket = given;
      if (isOver) return;
      deadlines.connecting(given, () => {
        if (isOver || isConnected) return;
        isConnected = true;
        on.connected();
      });
    });
    request.on("finish", () => deadlines.sent());
    request.on("drain", () => on.drained());
    request.on("information", (message) => on.information(message));
    // 101 to a request that asked for no upgrade: what follows is no HTTP (RFC 9110 §15.2.2).
    request.on("upgrade", (_message, upgraded) => {
      upgraded.destroy();
      fail(garbage("101 without being asked"));
    });
    request.on("response", (message) => {
      hasAnswered = true;
      message.on("error", () => {});
      if (isOver) {
        message.destroy();
        return;
      }
      deadlines.answered();
      on.response(message);
    });
    request.on("error", (error: NodeJS.ErrnoException) => {
      // After the head, what happens to the answer is seen on the answer itself.
      if (isOver || request !== current || hasAnswered) return;
      const isDeadOnArrival = request.reusedSocket && isReset(error);
      // A kept connection that the target closed in this very moment (RFC 9112 §9.3.1): asked once more on a new one.
      if (isDeadOnArrival && !isRetry && head.body === "none" && IDEMPOTENT.has(head.method)) {
        isConnected = false;
        current = attempt(true);
        current.end();
        return;
      }
      fail(explain(error, isConnected, socket instanceof TLSSocket && !socket.connecting));
    });
    return request;
  }

  function fail(error: GatehouseError): void {
    if (isOver) return;
    destroy();
    on.failed(error);
  }

  function destroy(): void {
    isOver = true;
    deadlines.stop();
    current.destroy();
  }

  return { request: () => current, deadlines, destroy };
}

const isReset = (error: NodeJS.ErrnoException): boolean => error.code === "ECONNRESET" || error.code === "EPIPE";

function explain(error: NodeJS.ErrnoException, wasConnected: boolean, isSecuring: boolean): GatehouseError {
  if (isGatehouseError(error)) return error;
  const code = error.code ?? "";
  if (code.startsWith("HPE_")) return garbage(errorText(error), error);
  return new GatehouseError(wasConnected ? meaningOf(code) : connectFailure(error, isSecuring), {
    message: `The target ${wasConnected ? "closed the connection" : "cannot be reached"}: ${errorText(error)}`,
    hint: wasConnected ? "Its own log may say why." : "Is the machine on, and does it listen on this address and port?",
    cause: error,
  });
}

/** Of an error after the connection stood. */
function meaningOf(code: string): ErrorCode {
  if (code === "ETIMEDOUT") return "GATEHOUSE_UPSTREAM_SLOW";
  return isTlsCode(code) ? "GATEHOUSE_UPSTREAM_TLS" : "GATEHOUSE_UPSTREAM_RESET";
}

export function garbage(what: string, cause?: unknown): GatehouseError {
  return new GatehouseError("GATEHOUSE_UPSTREAM_GARBAGE", {
    message: `The target's answer is no valid HTTP: ${what}`,
    hint: "Does the target speak HTTP on this port, or HTTPS (then write https:// before it)?",
    cause,
  });
}
