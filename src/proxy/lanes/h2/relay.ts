/**
 * How do one HTTP/2 stream and one request to a target become one exchange?
 * Owns: bytes, trailers and interim answers in both directions, backpressure, and who is told of a failure.
 * Never: judges the request or dials.
 *
 * One object per stream, which is the engine's sink and the stream's user at once. Pieces of an answer are copied into
 * the output of this turn, so that their memory is free again.
 */
import { GatehouseError } from "../../../core/errors.ts";
import type { Exchange, LaneContext } from "../../exchange.ts";
import { errorAnswer, type LocalAnswer, statusFor } from "../../responses.ts";
import { relayedTrailers, responseHeaders } from "../../rules/headers.ts";
import type { Decision } from "../../rules/policy.ts";
import { valuesOf } from "../../rules/request-head.ts";
import type { AnswerHead } from "../../upstream/answer-head.ts";
import type { AnswerSink, UpstreamCall } from "../../upstream/engine.ts";
import type { YoungGarbage } from "../../../core/young-garbage.ts";
import { watchUpload } from "../upload-pace.ts";
import { CODE } from "../http2/frames.ts";
import type { Stream, StreamUser } from "../http2/stream.ts";

type Forward = Extract<Decision, { kind: "forward" }>;

/** Trailers that frame or route (RFC 9110 §6.5.1), or that there are none of (RFC 9113 §8.1). */
const MALFORMED_TRAILERS = new Set([
  "content-length",
  "transfer-encoding",
  "connection",
  "host",
  "te",
  "trailer",
  "keep-alive",
  "proxy-connection",
  "upgrade",
]);

const NOTHING: Buffer = Buffer.alloc(0);
const NONE: readonly string[] = [];

export class H2Relay implements AnswerSink, StreamUser {
  readonly takesFraming = false;
  readonly keepsBytes = false;
  readonly #context: LaneContext;
  readonly #garbage: YoungGarbage;
  readonly #stream: Stream;
  readonly #exchange: Exchange;
  readonly #forward: Forward;
  #text = "";
  #call: UpstreamCall | undefined;
  #stopWatch: (() => void) | undefined;
  /** The piece of the body that may be the last one; holds until the flush. */
  #piece: Buffer | undefined;
  /** The target takes the body of the request. */
  #isReading = false;
  /** What the target has no room for yet; the client's window stays as much smaller. */
  #owed = 0;
  /** The answer was taken whole, or there will be none. */
  #isSettled = false;

  constructor(context: LaneContext, garbage: YoungGarbage, stream: Stream, exchange: Exchange, forward: Forward) {
    this.#context = context;
    this.#garbage = garbage;
    this.#stream = stream;
    this.#exchange = exchange;
    this.#forward = forward;
    stream.attach(this);
  }

  /** @param text  the head for the target */
  begin(text: string): void {
    const { head } = this.#exchange;
    this.#text = text;
    // `Content-Length: 0` makes the head alone a whole request, and END_STREAM may yet prove it malformed.
    if (head.body === "length" && head.contentLength === 0) this.#readBody();
    else this.#ask();
  }

  #ask(): void {
    const { head } = this.#exchange;
    const { site, route } = this.#forward;
    const { answerHeadSize } = this.#context.limits();
    const body = head.contentLength === 0 && head.body === "length" ? "none" : head.body;
    const { method } = head;
    const call = this.#context.upstream.ask(
      { target: route.target, timeouts: site.timeouts, method, head: this.#text, body, answerHeadSize },
      this,
    );
    if (!this.#isSettled) this.#call = call;
  }

  onConnected(call: UpstreamCall): void {
    this.#call = call;
    this.#exchange.upstreamAsked();
    const { head } = this.#exchange;
    if (head.body === "none" || this.#isReading) return;
    if (valuesOf(head.headers, "expect").length > 0) this.#stream.answerWith(100, NONE, false);
    this.#readBody();
  }

  #readBody(): void {
    const exchange = this.#exchange;
    const stream = this.#stream;
    const { site } = this.#forward;
    this.#isReading = true;
    this.#stopWatch = watchUpload({
      idleMs: site.timeouts.idleMs,
      bytes: () => exchange.bytesIn,
      isOurTurn: () => this.#owed > 0 || stream.isRemoteClosed || stream.hasAnswered,
      limits: this.#context.limits(),
      onSlow: (limit) => {
        this.#context.limitReached(limit, exchange.client.address);
        this.#refuse("The request body came too slowly.", 408);
      },
    });
    stream.read();
  }

  onClientData(bytes: Buffer): void {
    const exchange = this.#exchange;
    const { head } = exchange;
    if (this.#isSettled) {
      this.#stream.credit(bytes.length);
      return;
    }
    const { maxBody } = this.#forward.site;
    exchange.bytesIn += bytes.length;
    if (head.body === "length" && exchange.bytesIn > head.contentLength) {
      this.#malformed();
      return;
    }
    if (maxBody > 0 && exchange.bytesIn > maxBody) {
      this.#context.limitReached("body_size", exchange.client.address);
      this.#refuse("The request body is larger than maxBody.", 413);
      return;
    }
    this.#garbage.grew(bytes.length);
    if (this.#call?.write(bytes) === false) this.#owed += bytes.length;
    else this.#stream.credit(bytes.length);
  }

  onClientEnd(trailers: readonly string[]): void {
    const { head, bytesIn } = this.#exchange;
    if (this.#isSettled) return;
    const isShort = head.body === "length" && bytesIn !== head.contentLength;
    const isBad = (name: string, at: number): boolean =>
      at % 2 === 0 && (MALFORMED_TRAILERS.has(name) || name.startsWith(":"));
    if (isShort || trailers.some(isBad)) {
      this.#malformed();
      return;
    }
    this.#stopWatch?.();
    if (head.body === "length" && head.contentLength === 0) this.#ask();
    else this.#call?.end(head.body === "chunked" ? relayedTrailers(trailers) : []);
  }

  onDrain(): void {
    const owed = this.#owed;
    this.#owed = 0;
    this.#stream.credit(owed);
  }

  onInformation(head: AnswerHead): void {
    // 100 is between us and the target; the client's own was sent when its body was asked for.
    if (head.status === 100) return;
    this.#stream.answerWith(head.status, responseHeaders(head.rawHeaders, this.#forward.site), false);
  }

  onHead(head: AnswerHead): void {
    const exchange = this.#exchange;
    const stream = this.#stream;
    const { site } = this.#forward;
    const { status } = head;
    exchange.upstreamAnswered();
    exchange.status = status;
    const length = status === 204 ? -1 : head.contentLength;
    // Whole with its head; what follows from the target is its onEnd.
    const isWhole = head.body === "none";
    if (isWhole) this.#settle();
    if (site.responseHeaders.size > 0 || head.nominated.length > 0) {
      const flat = responseHeaders(head.rawHeaders, site);
      if (length >= 0) flat.push("content-length", String(length));
      stream.answerWith(status, flat, isWhole);
    } else {
      stream.answer(head, length, isWhole);
    }
    if (isWhole) stream.callOff();
  }

  onBody(bytes: Buffer): void {
    if (this.#isSettled) return;
    this.#exchange.bytesOut += bytes.length;
    if (this.#piece !== undefined) this.onFlush();
    this.#piece = bytes;
  }

  onFlush(): void {
    const piece = this.#piece;
    if (this.#isSettled || piece === undefined) return;
    this.#piece = undefined;
    if (!this.#stream.write(piece)) this.#call?.pause();
  }

  onWritable(): void {
    if (this.#isSettled) this.#stream.callOff();
    else this.#call?.resume();
  }

  /** Of the target's answer. */
  onEnd(trailers: readonly string[]): void {
    const piece = this.#piece ?? NOTHING;
    this.#piece = undefined;
    if (!this.#settle()) return;
    this.#stream.write(piece, true, trailers.length === 0 ? NONE : relayedTrailers(trailers));
    this.#stream.callOff();
  }

  onFailed(error: GatehouseError): void {
    this.#fail(error);
  }

  #refuse(message: string, status: number): void {
    this.#fail(new GatehouseError("GATEHOUSE_REQUEST_REFUSED", { message }), status);
  }

  #fail(error: GatehouseError, status = statusFor(error.code)): void {
    const stream = this.#stream;
    // What came before the end goes out first.
    this.onFlush();
    if (!this.#settle()) return;
    const exchange = this.#exchange;
    exchange.failed(error.code);
    this.#call?.abort();
    if (error.source === "upstream") exchange.reportFailure(error);
    // Never END_STREAM after a part of the body: a short answer must not look whole.
    if (stream.hasAnswered) stream.reset(CODE.INTERNAL_ERROR);
    else answerStream(stream, exchange, errorAnswer(status, pageFacts(exchange)));
  }

  #malformed(): void {
    if (!this.#settle()) return;
    this.#exchange.failed("GATEHOUSE_REQUEST_MALFORMED");
    this.#call?.abort();
    this.#stream.resetMalformed();
  }

  onClosed(isWhole: boolean): void {
    const exchange = this.#exchange;
    if (this.#settle() || !isWhole) {
      exchange.failed("GATEHOUSE_CLIENT_GONE");
      this.#call?.abort();
    }
    exchange.end();
  }

  /** True for the first caller. */
  #settle(): boolean {
    if (this.#isSettled) return false;
    this.#isSettled = true;
    this.#stopWatch?.();
    return true;
  }
}

/** An answer of our own; the exchange ends with the stream. */
export function answerStream(stream: Stream, exchange: Exchange, answer: LocalAnswer): void {
  if (stream.isClosed || stream.hasAnswered) return;
  exchange.status = answer.status;
  const hasBody = exchange.head.method !== "HEAD" && answer.body.length > 0;
  exchange.bytesOut = hasBody ? answer.body.length : 0;
  sendAnswer(stream, exchange.head.method, answer);
}

export function sendAnswer(stream: Stream, method: string, answer: LocalAnswer): void {
  const hasBody = method !== "HEAD" && answer.body.length > 0;
  stream.answerWith(answer.status, answer.headers, !hasBody);
  if (hasBody) stream.write(answer.body, true);
  stream.callOff();
}

export const pageFacts = (exchange: Exchange): { requestId: string; accept: string | undefined } => ({
  requestId: exchange.id,
  accept: valuesOf(exchange.head.headers, "accept")[0],
});
