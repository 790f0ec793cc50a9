/**
 * One HTTP/1.x exchange in the compat lane: what becomes of it, from checked head to last byte?
 * Owns: asking the rules, forwarding or answering, the one safe retry, limits on the body, who is told what on failure.
 * Never: listens, parses, or knows of other requests on the connection.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { GatehouseError } from "../../../core/errors.ts";
import { Exchange, type LaneContext } from "../../exchange.ts";
import { errorAnswer, type LocalAnswer, redirectAnswer, statusFor } from "../../responses.ts";
import { requestHeaders } from "../../rules/headers.ts";
import type { Decision } from "../../rules/policy.ts";
import { type RequestHead, valuesOf } from "../../rules/request-head.ts";
import { judgeAnswer } from "../../upstream/judge-answer.ts";
import { BodyBounds, bodyRefused } from "../body-bounds.ts";
import type { Refusal } from "../check-request.ts";
import { endWhenRead, relayAnswer, sendLocal, sendRaw, type UnreadBound } from "./answer.ts";
import type { Forwarding, ForwardRequest } from "./forward.ts";
import { CrumblessMessage } from "./message.ts";
import { watchUpload } from "../upload-pace.ts";

export interface Serving {
  context: LaneContext;
  forward(request: ForwardRequest): Forwarding;
  req: IncomingMessage;
  res: ServerResponse;
  head: RequestHead;
  /** From checkRequest; the head is then the best that could be read. */
  refusal: Refusal | undefined;
  /** The client waits for `100 Continue`. */
  isExpecting: boolean;
}

export interface ServedExchange {
  /** The parser found something broken in the body of this request. */
  malformed(status: number): void;
}

/** Nothing is read or written by the target twice with these (RFC 9110 §9.2.2). */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PROPFIND", "REPORT", "SEARCH"]);

/** Bytes. A crumb that nobody wants costs what the others did: a quarter of what led to the refusal is read, no more. */
const UNREAD_CRUMBS = 4_096;

export function serveExchange(serving: Serving): ServedExchange {
  const { context, req, res, head, refusal } = serving;
  const verdict: Decision | undefined =
    refusal === undefined ? undefined : { kind: "refuse", site: undefined, status: refusal.status, code: refusal.code };
  const exchange = new Exchange(context, head, verdict);
  let forwarding: Forwarding | undefined;
  let isExpecting = serving.isExpecting;
  let stopWatch: (() => void) | undefined;
  /** The answer is ours and complete; only its lingering end is left. */
  let isAnsweredHere = false;

  req.on("error", () => {});
  res.on("error", () => {});
  res.once("close", () => {
    stopWatch?.();
    // An answer cut by us has its code already; otherwise a close before the finish is the client's.
    if (!res.writableFinished) exchange.failed("GATEHOUSE_CLIENT_GONE");
    forwarding?.abort();
    exchange.end();
  });

  /**
   * Is the whole request in? `req.complete` comes one callback of the parser too late for a request without a body, and
   * for one whose last byte made the target answer at once.
   */
  function isIn(): boolean {
    if (req.complete || (head.body === "none" && refusal === undefined)) return true;
    return head.body === "length" && exchange.bytesIn >= head.contentLength;
  }
  /** A body of a known length has no framing, however it comes. */
  const isInCrumbs = (): boolean => head.body === "chunked" && req instanceof CrumblessMessage && req.isCrumbs();
  const unread: UnreadBound = {
    bytes: context.limits().unreadBody,
    onReached: () => context.limitReached("unread_body", head.peerAddress),
  };
  /** A client that waits for 100 has not begun to send: there is nothing to linger for. */
  const send = (answer: LocalAnswer, close: boolean) => {
    isAnsweredHere = true;
    exchange.bytesOut = head.method === "HEAD" ? 0 : answer.body.length;
    sendLocal(req, res, answer, {
      close: close || context.isLeaving() || !isIn(),
      isRead: isIn() || isExpecting,
      unread,
    });
  };
  function answerWith(status: number, close: boolean): void {
    if (res.headersSent) {
      cut();
      return;
    }
    exchange.status = status;
    const accept = valuesOf(head.headers, "accept")[0];
    send(errorAnswer(status, { requestId: exchange.id, accept }), close);
  }
  /** A short body must not look whole: no last chunk, no orderly end. */
  function cut(): void {
    req.socket.destroy();
  }
  function fail(error: GatehouseError, status = statusFor(error.code)): void {
    exchange.failed(error.code);
    forwarding?.abort();
    if (error.source === "upstream") exchange.reportFailure(error);
    // After a failed upload the rest of the body is still to come: only a new connection is clean.
    answerWith(status, status < 500);
  }

  const { decision } = exchange;
  if (decision.kind === "refuse") {
    exchange.failed(decision.code);
    answerWith(decision.status, refusal !== undefined || decision.status === 421 || decision.status === 503);
  } else if (decision.kind === "redirect") {
    exchange.status = decision.status;
    send(redirectAnswer(decision.status, decision.location), false);
  } else {
    if (head.body !== "none") stopWatch = startWatch(decision.site.timeouts.idleMs);
    ask(decision, false);
  }

  function startWatch(idleMs: number): () => void {
    return watchUpload({
      idleMs,
      bytes: () => exchange.bytesIn,
      isOurTurn: () => req.complete || res.headersSent || forwarding?.isWaitingForClient() !== true,
      limits: context.limits(),
      onSlow: (limit) => {
        context.limitReached(limit, head.peerAddress);
        fail(new GatehouseError("GATEHOUSE_REQUEST_REFUSED", { message: "The request body came too slowly." }), 408);
      },
    });
  }

  function ask(to: Extract<Decision, { kind: "forward" }>, isRetry: boolean): void {
    const { site, route, path } = to;
    const { upstream } = context;
    const { answerHeadSize } = context.limits();
    const bounds = new BodyBounds(site.maxBody);
    forwarding = serving.forward({
      target: route.target,
      agent: isRetry
        ? upstream.freshAgentFor(route.target, answerHeadSize)
        : upstream.agentFor(route.target, answerHeadSize),
      method: head.method,
      path,
      headers: requestHeaders(head, exchange.client, site),
      // RFC 9110 §8.6: these methods say their zero.
      body: head.body === "none" && /^(?:POST|PUT|PATCH)$/.test(head.method) ? "length" : head.body,
      contentLength: head.contentLength,
      source: req,
      timeouts: site.timeouts,
      onConnected() {
        exchange.upstreamAsked();
        if (!isExpecting) return;
        isExpecting = false;
        res.writeContinue();
      },
      onBody(bytes) {
        exchange.bytesIn += bytes;
        const limit = bounds.took(bytes, 0) ?? (isInCrumbs() ? "body_crumbs" : undefined);
        if (limit === undefined) return;
        if (limit === "body_crumbs") unread.bytes = UNREAD_CRUMBS;
        context.limitReached(limit, head.peerAddress);
        fail(bodyRefused(limit), 413);
      },
      onInformation(status, rawHeaders) {
        if (status === 103 && head.version === "1.1" && !res.headersSent) sendEarlyHints(res, rawHeaders);
      },
      onAnswer: (answer) => relay(to, answer),
      onFailed(error, isStale) {
        if (isStale && !isRetry && head.body === "none" && IDEMPOTENT.has(head.method)) ask(to, true);
        else fail(error);
      },
    });
  }

  function relay({ site }: Extract<Decision, { kind: "forward" }>, answer: IncomingMessage): void {
    exchange.upstreamAnswered();
    const wrong = judgeAnswer(answer);
    if (wrong !== undefined || forwarding === undefined) {
      if (wrong !== undefined) fail(wrong);
      return;
    }
    const { deadlines } = forwarding;
    exchange.status = answer.statusCode ?? 0;
    relayAnswer({
      res,
      answer,
      site,
      deadlines,
      // An answer before the end of the upload: it may be meant (an echo) or a refusal; either way this connection ends.
      close: !isIn() || context.isLeaving(),
      onBytes: (bytes) => (exchange.bytesOut += bytes),
      onWhole() {
        deadlines.stop();
        // The target has said its last word. If it did not want the rest, its connection is of no further use.
        if (forwarding?.isSent() === false) forwarding.abort();
        endWhenRead(req, res, isIn() || isExpecting, unread);
      },
      onTruncated() {
        exchange.failed("GATEHOUSE_UPSTREAM_RESET");
        forwarding?.abort();
        cut();
      },
    });
  }

  return {
    malformed(status) {
      exchange.failed("GATEHOUSE_REQUEST_MALFORMED");
      forwarding?.abort();
      if (isAnsweredHere) {
        res.end();
      } else if (res.headersSent) {
        cut();
      } else {
        // The parser is dead, so the request cannot be read to its end as endWhenRead does.
        isAnsweredHere = true;
        exchange.status = status;
        const answer = errorAnswer(status, { requestId: exchange.id, accept: valuesOf(head.headers, "accept")[0] });
        exchange.bytesOut = head.method === "HEAD" ? 0 : answer.body.length;
        sendRaw(req.socket, answer);
      }
    },
  };
}

function sendEarlyHints(res: ServerResponse, rawHeaders: readonly string[]): void {
  const links: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    if (rawHeaders[at]?.toLowerCase() === "link") links.push(rawHeaders[at + 1] ?? "");
  }
  try {
    if (links.length > 0) res.writeEarlyHints({ link: links });
  } catch {
    // Node knows fewer link forms than the world; a hint may be lost.
  }
}
