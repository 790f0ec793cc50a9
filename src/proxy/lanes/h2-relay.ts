/**
 * How do one HTTP/2 stream and one request to a target become one exchange?
 * Owns: bytes, trailers and interim answers in both directions, backpressure, and who is told of a failure.
 * Never: judges the request or dials.
 */
import type { IncomingMessage } from "node:http";
import { constants, type ServerHttp2Stream } from "node:http2";
import { GatehouseError } from "../../core/errors.ts";
import type { Exchange, LaneContext } from "../exchange.ts";
import { errorAnswer, statusFor } from "../responses.ts";
import { relayedTrailers, responseHeaders } from "../rules/headers.ts";
import type { Decision } from "../rules/policy.ts";
import { valuesOf } from "../rules/request-head.ts";
import { judgeAnswer } from "../upstream/judge-answer.ts";
import { watchUpload } from "./compat-upload.ts";
import { answerStream, cutStream, finishStream, headerBlock } from "./h2-answer.ts";
import type { SessionBounds } from "./h2-bounds.ts";
import { callTarget, garbage, type TargetCall } from "./h2-target.ts";

type Forward = Extract<Decision, { kind: "forward" }>;

/** Interim answers are rare (103, sometimes 102); more of them is a target gone mad. */
const MAX_INTERIM = 8;
/** Trailers that frame or route (RFC 9110 §6.5.1): nghttp2 refuses pseudo headers, not all of these. */
const MALFORMED_TRAILERS = new Set(["content-length", "transfer-encoding", "connection", "host", "te", "trailer"]);

/** What comes behind the body, which may be here before anybody asks for the body; and who hears of its size. */
export interface LateFields {
  /** Flat list, as it came. */
  trailers: readonly string[];
  readonly bounds: SessionBounds;
}

export function relayStream(
  context: LaneContext,
  stream: ServerHttp2Stream,
  exchange: Exchange,
  forward: Forward,
  late: LateFields,
): void {
  const { head } = exchange;
  const { site } = forward;
  let interim = 0;
  let stallTimer: NodeJS.Timeout | undefined;
  let stopWatch: (() => void) | undefined;
  /** The answer was taken whole, or there will be none. */
  let isSettled = false;

  /** True for the first caller. */
  const settle = (): boolean => {
    if (isSettled) return false;
    isSettled = true;
    clearTimeout(stallTimer);
    stopWatch?.();
    call.deadlines.stop();
    return true;
  };
  const fail = (error: GatehouseError, status = statusFor(error.code)): void => {
    if (!settle()) return;
    exchange.failed(error.code);
    call.destroy();
    if (error.source === "upstream") exchange.reportFailure(error);
    if (stream.destroyed || stream.closed) return;
    // Never END_STREAM after a part of the body: a short answer must not look whole.
    // What came before the end goes out first; a turn later it is with nghttp2.
    if (stream.headersSent) setImmediate(() => cutStream(stream));
    else answerStream(stream, exchange, errorAnswer(status, pageFacts(exchange)), late.bounds);
  };
  const malformed = (): void => {
    if (!settle()) return;
    exchange.failed("GATEHOUSE_REQUEST_MALFORMED");
    call.destroy();
    if (stream.headersSent) cutStream(stream);
    else stream.close(constants.NGHTTP2_PROTOCOL_ERROR);
  };

  const { session } = stream;
  stream.once("close", () => {
    // An END_STREAM on the last DATA frame closes the stream before Node says 'finish'.
    const isTaken = stream.writableFinished || (stream.rstCode === 0 && session?.destroyed === false);
    if (settle() || !isTaken) exchange.failed("GATEHOUSE_CLIENT_GONE");
    call.destroy();
  });

  const call: TargetCall = callTarget(context, exchange, forward, {
    connected() {
      exchange.upstreamAsked();
      if (head.body !== "none") readBody();
    },
    drained() {
      call.deadlines.progress();
      call.deadlines.paused(true);
      stream.resume();
    },
    information({ statusCode, rawHeaders }) {
      call.deadlines.progress();
      if (statusCode === 101 || ++interim > MAX_INTERIM) fail(garbage("interim answers"));
      // 100 is between us and the target; the client's own was sent when its body was asked for.
      else if (statusCode !== 100 && isOpen()) {
        stream.additionalHeaders(headerBlock(statusCode, responseHeaders(rawHeaders, site)));
      }
    },
    response: relayAnswer,
    failed: fail,
  });
  if (head.body === "none") {
    stream.resume();
    call.request().end();
  }

  function isOpen(): boolean {
    return !stream.headersSent && !stream.destroyed && !stream.closed;
  }

  function readBody(): void {
    if (valuesOf(head.headers, "expect").length > 0 && isOpen()) stream.additionalHeaders({ ":status": 100 });
    // In one packet with the first piece where that is here already; otherwise the target may judge the head first.
    // Not with `Content-Length: 0`: that head alone is a whole request, and END_STREAM may yet prove it malformed.
    setImmediate(() => {
      if (!isSettled && (head.body === "chunked" || head.contentLength > 0)) call.request().flushHeaders();
    });
    // Silence of the client is not the target's: that has a watch of its own.
    call.deadlines.paused(true);
    stopWatch = watchUpload({
      idleMs: site.timeouts.idleMs,
      bytes: () => exchange.bytesIn,
      isOurTurn: () => stream.isPaused() || stream.readableEnded || stream.headersSent,
      limits: context.limits(),
      onSlow: () =>
        fail(new GatehouseError("GATEHOUSE_REQUEST_REFUSED", { message: "The request body came too slowly." }), 408),
    });
    stream.on("data", (chunk: Buffer) => {
      if (isSettled) return;
      exchange.bytesIn += chunk.length;
      late.bounds.earned(chunk.length);
      call.deadlines.progress();
      if (site.maxBody > 0 && exchange.bytesIn > site.maxBody) {
        fail(
          new GatehouseError("GATEHOUSE_REQUEST_REFUSED", { message: "The request body is larger than maxBody." }),
          413,
        );
      } else if (!call.request().write(chunk)) {
        stream.pause();
        call.deadlines.paused(false);
      }
    });
    // Node says 'end' for a reset stream too, and may say it first: one turn later the truth is known.
    stream.once("end", () => setImmediate(bodyEnded));
  }

  function bodyEnded(): void {
    if (isSettled || stream.aborted || stream.destroyed || stream.closed) return;
    if (head.body === "length" && exchange.bytesIn !== head.contentLength) {
      malformed();
      return;
    }
    if (late.trailers.some((name, at) => at % 2 === 0 && MALFORMED_TRAILERS.has(name))) {
      malformed();
      return;
    }
    call.deadlines.paused(false);
    const trailers = relayedTrailers(late.trailers);
    if (trailers.length > 0 && head.body === "chunked") call.request().addTrailers(pairs(trailers));
    call.request().end();
  }

  function relayAnswer(answer: IncomingMessage): void {
    const status = answer.statusCode ?? 0;
    exchange.upstreamAnswered();
    call.deadlines.paused(false);
    const wrong = judgeAnswer(answer);
    if (wrong !== undefined) {
      fail(wrong);
      return;
    }
    if (isSettled || !isOpen()) {
      answer.destroy();
      return;
    }
    const hasBody = head.method !== "HEAD" && status !== 204 && status !== 304;
    const length = answer.headers["content-length"];
    const headers = responseHeaders(answer.rawHeaders, site);
    if (length !== undefined && status !== 204) headers.push("content-length", length);
    const waitForTrailers = hasBody && answer.headers["transfer-encoding"] !== undefined;
    try {
      stream.respond(headerBlock(status, headers), { endStream: !hasBody || length === "0", waitForTrailers });
    } catch (cause) {
      fail(garbage("a field that HTTP/2 cannot carry", cause));
      return;
    }
    exchange.status = status;
    if (waitForTrailers) {
      stream.once("wantTrailers", () => {
        if (!stream.destroyed) stream.sendTrailers(headerBlock(undefined, relayedTrailers(answer.rawTrailers)));
      });
    }
    answer.on("data", (chunk: Buffer) => {
      if (isSettled) return;
      exchange.bytesOut += chunk.length;
      call.deadlines.progress();
      if (stream.write(chunk)) return;
      answer.pause();
      call.deadlines.paused(true);
      clearTimeout(stallTimer);
      stallTimer = setTimeout(() => late.bounds.stalled(stream), late.bounds.stallMs);
    });
    stream.on("drain", () => {
      clearTimeout(stallTimer);
      if (isSettled) return;
      call.deadlines.paused(false);
      answer.resume();
    });
    answer.once("end", () => {
      if (!answer.complete || !settle()) return;
      finishStream(stream, late.bounds);
      if (!stream.writableEnded) stream.end();
      // An early answer: the rest of the body is of no use to anybody, and its connection of none to the next request.
      if (!call.request().writableEnded) call.destroy();
    });
    answer.once("close", () => {
      fail(
        new GatehouseError("GATEHOUSE_UPSTREAM_RESET", {
          message: "The target broke off in the middle of its answer.",
        }),
      );
    });
  }
}

export const pageFacts = (exchange: Exchange): { requestId: string; accept: string | undefined } => ({
  requestId: exchange.id,
  accept: valuesOf(exchange.head.headers, "accept")[0],
});

function pairs(flat: readonly string[]): [string, string][] {
  const out: [string, string][] = [];
  for (let at = 0; at < flat.length; at += 2) out.push([flat[at] ?? "", flat[at + 1] ?? ""]);
  return out;
}
