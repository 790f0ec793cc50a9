/**
 * How do one HTTP/2 stream and one request to a target become one exchange?
 * Owns: bytes, trailers and interim answers in both directions, backpressure, and who is told of a failure.
 * Never: judges the request or dials.
 *
 * One object per stream, which is the engine's sink as well: a small answer is put together from what came in one packet
 * and leaves as one head and one last piece.
 */
import { constants, type ServerHttp2Stream } from "node:http2";
import { GatehouseError } from "../../core/errors.ts";
import type { Exchange, LaneContext } from "../exchange.ts";
import { errorAnswer, statusFor } from "../responses.ts";
import { relayedTrailers, responseHeaders } from "../rules/headers.ts";
import type { Decision } from "../rules/policy.ts";
import { valuesOf } from "../rules/request-head.ts";
import type { AnswerHead } from "../upstream/answer-head.ts";
import type { AnswerSink, UpstreamCall } from "../upstream/engine.ts";
import { watchUpload } from "./compat-upload.ts";
import { answerStream, cutStream, finishStream, headerBlock } from "./h2-answer.ts";
import type { SessionBounds } from "./h2-bounds.ts";

type Forward = Extract<Decision, { kind: "forward" }>;

/** Trailers that frame or route (RFC 9110 §6.5.1): nghttp2 refuses pseudo headers, not all of these. */
const MALFORMED_TRAILERS = new Set(["content-length", "transfer-encoding", "connection", "host", "te", "trailer"]);
const END = { endStream: true };
const TRAILING = { waitForTrailers: true };

/** What comes behind the body, which may be here before anybody asks for the body; and who hears of its size. */
export interface LateFields {
  /** Flat list, as it came. */
  trailers: readonly string[];
  readonly bounds: SessionBounds;
}

export class H2Relay implements AnswerSink {
  readonly takesFraming = false;
  /** What the client's window does not let through yet stays in the stream. */
  readonly keepsBytes = true;
  readonly #context: LaneContext;
  readonly #stream: ServerHttp2Stream;
  readonly #exchange: Exchange;
  readonly #forward: Forward;
  readonly #late: LateFields;
  #text = "";
  #call: UpstreamCall | undefined;
  #stopWatch: (() => void) | undefined;
  /** The answer's head and a piece of its body, not written yet. */
  #head: string[] | undefined;
  #piece: Buffer | undefined;
  #hasBody = false;
  #mayTrail = false;
  #trailers: readonly string[] = [];
  #hasDrainListener = false;
  /** The target takes the body of the request. */
  #isReading = false;
  /** The answer was taken whole, or there will be none. */
  #isSettled = false;

  constructor(context: LaneContext, stream: ServerHttp2Stream, exchange: Exchange, forward: Forward, late: LateFields) {
    this.#context = context;
    this.#stream = stream;
    this.#exchange = exchange;
    this.#forward = forward;
    this.#late = late;
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
    if (valuesOf(head.headers, "expect").length > 0 && this.#isOpen()) {
      this.#stream.additionalHeaders({ ":status": 100 });
    }
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
      isOurTurn: () => stream.isPaused() || stream.readableEnded || stream.headersSent,
      limits: this.#context.limits(),
      onSlow: (limit) => {
        this.#context.limitReached(limit, exchange.client.address);
        this.#refuse("The request body came too slowly.", 408);
      },
    });
    stream.on("data", (chunk: Buffer) => this.#feed(chunk));
    // Node says 'end' for a reset stream too, and may say it first: one turn later the truth is known.
    stream.once("end", () => setImmediate(() => this.#bodyEnded()));
  }

  #feed(chunk: Buffer): void {
    if (this.#isSettled) return;
    const { maxBody } = this.#forward.site;
    this.#exchange.bytesIn += chunk.length;
    this.#late.bounds.earned(chunk.length);
    if (maxBody > 0 && this.#exchange.bytesIn > maxBody) {
      this.#context.limitReached("body_size", this.#exchange.client.address);
      this.#refuse("The request body is larger than maxBody.", 413);
    } else if (this.#call?.write(chunk) === false) {
      this.#stream.pause();
    }
  }

  #bodyEnded(): void {
    const { head } = this.#exchange;
    if (this.#isSettled || this.#stream.aborted || this.#stream.destroyed || this.#stream.closed) return;
    const { trailers } = this.#late;
    const isShort = head.body === "length" && this.#exchange.bytesIn !== head.contentLength;
    if (isShort || trailers.some((name, at) => at % 2 === 0 && MALFORMED_TRAILERS.has(name))) {
      this.#malformed();
      return;
    }
    this.#stopWatch?.();
    if (head.body === "length" && head.contentLength === 0) this.#ask();
    else this.#call?.end(head.body === "chunked" ? relayedTrailers(trailers) : []);
  }

  onDrain(): void {
    this.#stream.resume();
  }

  onInformation(head: AnswerHead): void {
    // 100 is between us and the target; the client's own was sent when its body was asked for.
    if (head.status === 100 || !this.#isOpen()) return;
    this.#stream.additionalHeaders(headerBlock(head.status, responseHeaders(head.rawHeaders, this.#forward.site)));
  }

  onHead(head: AnswerHead): void {
    const exchange = this.#exchange;
    const { status, contentLength } = head;
    exchange.upstreamAnswered();
    if (!this.#isOpen()) return;
    exchange.status = status;
    this.#hasBody = head.body !== "none" && contentLength !== 0;
    this.#mayTrail = head.body === "chunked";
    const flat = responseHeaders(head.rawHeaders, this.#forward.site);
    flat.unshift(":status", String(status));
    if (contentLength >= 0 && status !== 204) flat.push("content-length", String(contentLength));
    this.#head = flat;
  }

  onBody(bytes: Buffer): void {
    if (this.#isSettled) return;
    this.#exchange.bytesOut += bytes.length;
    if (this.#piece !== undefined) this.onFlush();
    this.#piece = bytes;
  }

  onFlush(): void {
    if (this.#isSettled) return;
    const stream = this.#stream;
    // A head without a body is whole in the same turn: it waits for onEnd.
    if (this.#head !== undefined && this.#hasBody) this.#respond(this.#mayTrail ? TRAILING : undefined);
    const piece = this.#piece;
    if (piece === undefined || stream.destroyed || stream.closed) return;
    this.#piece = undefined;
    if (stream.write(piece)) return;
    this.#call?.pause();
    this.#late.bounds.owed(stream);
    if (this.#hasDrainListener) return;
    this.#hasDrainListener = true;
    stream.on("drain", () => {
      this.#late.bounds.paid(stream);
      this.#call?.resume();
    });
  }

  #respond(options?: { endStream?: boolean; waitForTrailers?: boolean }): void {
    const head = this.#head;
    this.#head = undefined;
    if (head === undefined || !this.#isOpen()) return;
    this.#stream.respond(head, options);
    if (options !== TRAILING) return;
    this.#stream.once("wantTrailers", () => {
      if (!this.#stream.destroyed) this.#stream.sendTrailers(headerBlock(undefined, this.#trailers));
    });
  }

  onEnd(trailers: readonly string[]): void {
    if (!this.#settle()) return;
    const stream = this.#stream;
    this.#trailers = trailers.length === 0 ? trailers : relayedTrailers(trailers);
    if (stream.destroyed || stream.closed) return;
    if (!this.#hasBody || (this.#head !== undefined && this.#piece === undefined && this.#trailers.length === 0)) {
      this.#respond(END);
    } else {
      this.#respond(this.#trailers.length > 0 ? TRAILING : undefined);
      stream.end(this.#piece);
    }
    this.#piece = undefined;
    finishStream(stream, this.#late.bounds, this.#exchange.head.body !== "none");
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
    if (stream.destroyed || stream.closed) return;
    // Never END_STREAM after a part of the body: a short answer must not look whole. A turn later what was written is
    // with nghttp2.
    if (stream.headersSent) setImmediate(() => cutStream(stream));
    else answerStream(stream, exchange, errorAnswer(status, pageFacts(exchange)), this.#late.bounds);
  }

  #malformed(): void {
    if (!this.#settle()) return;
    this.#exchange.failed("GATEHOUSE_REQUEST_MALFORMED");
    this.#call?.abort();
    if (this.#stream.headersSent) cutStream(this.#stream);
    else this.#stream.close(constants.NGHTTP2_PROTOCOL_ERROR);
  }

  /** The stream has closed. @param isTaken  whole, as far as the client lets us know */
  closed(isTaken: boolean): void {
    if (this.#settle() || !isTaken) this.#exchange.failed("GATEHOUSE_CLIENT_GONE");
    this.#call?.abort();
  }

  #isOpen(): boolean {
    const stream = this.#stream;
    return !stream.destroyed && !stream.closed && !stream.headersSent;
  }

  /** True for the first caller. */
  #settle(): boolean {
    if (this.#isSettled) return false;
    this.#isSettled = true;
    this.#stopWatch?.();
    return true;
  }
}

export const pageFacts = (exchange: Exchange): { requestId: string; accept: string | undefined } => ({
  requestId: exchange.id,
  accept: valuesOf(exchange.head.headers, "accept")[0],
});
