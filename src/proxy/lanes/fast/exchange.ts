/**
 * One exchange of the fast lane: which bytes go to the target, which come back, and how does it end?
 * Owns: asking the target, head and body of the answer, failure.
 * Never: reads the next request, dials, or follows the request's body (fast/upload).
 */
import type { ErrorCode, GatehouseError } from "../../../core/errors.ts";
import type { LimitName } from "../../../observe/limit-names.ts";
import type { Exchange } from "../../exchange.ts";
import { errorAnswer, statusFor } from "../../responses.ts";
import { relayedTrailers } from "../../rules/headers.ts";
import type { Decision } from "../../rules/policy.ts";
import { valuesOf } from "../../rules/request-head.ts";
import type { AnswerHead } from "../../upstream/answer-head.ts";
import { lastChunk } from "../../upstream/chunks.ts";
import type { AnswerSink, UpstreamCall } from "../../upstream/engine.ts";
import { answerText, earlyHints, localBytes } from "./answer.ts";
import type { FastConnection } from "./connection.ts";
import type { Waiting } from "./turn.ts";
import { Upload, type Uploader } from "./upload.ts";
import { PacketWriter } from "./writer.ts";

type Forward = Extract<Decision, { kind: "forward" }>;

export class FastExchange implements AnswerSink, Uploader, Waiting {
  readonly takesFraming = true;
  readonly keepsBytes = false;
  /** The body, while the target takes it. */
  upload: Upload | undefined;
  /** Nothing of the request is still to come. */
  isRead: boolean;
  /** A final answer has begun. */
  isAnswered = false;
  readonly #connection: FastConnection;
  readonly #exchange: Exchange;
  readonly #forward: Forward;
  #isLast: boolean;
  #call: UpstreamCall | undefined;
  readonly #out: PacketWriter;
  /** The head for the target, until it is asked. */
  #text = "";
  /** The answer ends with the target's connection, so it is given a chunked end of its own. */
  #isCoded = false;
  #isChunked = false;
  /** The whole answer was handed to the client's socket, which is full. */
  #isWhole = false;
  #isOver = false;

  constructor(connection: FastConnection, exchange: Exchange, forward: Forward, isLast: boolean) {
    this.#connection = connection;
    this.#out = new PacketWriter(connection.socket, connection.home.scratch);
    this.#exchange = exchange;
    this.#forward = forward;
    this.#isLast = isLast;
    const { body, contentLength } = exchange.head;
    this.isRead = body === "none" || (body === "length" && contentLength === 0);
    connection.home.turn.atWork++;
  }

  /** @param text  the head for the target */
  begin(text: string): void {
    this.#text = text;
    if (!this.#connection.home.turn.wait(this)) this.#ask();
  }

  turnEnds(): void {
    if (this.#isOver) return;
    if (this.#text !== "") this.#ask();
    else this.#sendWhole();
  }

  #ask(): void {
    const text = this.#text;
    this.#text = "";
    const { site, route } = this.#forward;
    const { head } = this.#exchange;
    const { context } = this.#connection.home;
    const { method, body } = head;
    const { answerHeadSize } = context.limits();
    const call = context.upstream.ask(
      { target: route.target, timeouts: site.timeouts, method, head: text, body, answerHeadSize },
      this,
    );
    if (!this.#isOver) this.#call = call;
  }

  onConnected(call: UpstreamCall): void {
    this.#call = call;
    this.#exchange.upstreamAsked();
    const { body } = this.#exchange.head;
    if (body === "none") return;
    if (this.isRead) {
      call.end();
      return;
    }
    const { site } = this.#forward;
    const upload = new Upload(this, this.#exchange, call, site.maxBody);
    this.upload = upload;
    this.#connection.proceed();
    upload.watch(site.timeouts.idleMs, this.#connection.home.context.limits());
  }

  uploaded(): void {
    this.isRead = true;
    this.upload = undefined;
  }

  full(): void {
    this.#connection.hush();
  }

  refuse(limit: LimitName | undefined, error: GatehouseError, status: number): void {
    if (limit !== undefined) this.#connection.limitReached(limit);
    this.#fail(error, status);
  }

  onDrain(): void {
    if (this.upload !== undefined) this.upload.isFull = false;
    this.#connection.proceed();
  }

  onInformation(head: AnswerHead): void {
    if (head.status !== 103 || this.isAnswered) return;
    const text = earlyHints(head, this.#forward.site);
    if (text !== undefined) this.#connection.socket.write(text, "latin1");
  }

  onHead(head: AnswerHead): void {
    const exchange = this.#exchange;
    const { home } = this.#connection;
    exchange.upstreamAnswered();
    exchange.status = head.status;
    this.isAnswered = true;
    this.#isCoded = head.body === "close";
    this.#isChunked = this.#isCoded || head.body === "chunked";
    // An answer before the end of the upload: it may be meant (an echo) or a refusal; either way this connection ends.
    this.#isLast ||= !this.isRead || home.context.isLeaving();
    let ending = this.#isLast ? "connection: close\r\n" : "";
    if (this.#isChunked) ending += "transfer-encoding: chunked\r\n";
    else if (head.contentLength >= 0 && head.status !== 204) ending += `content-length: ${head.contentLength}\r\n`;
    this.#out.text(answerText(head, this.#forward.site, home.date, ending));
  }

  onBody(bytes: Buffer, payload: number): void {
    this.#exchange.bytesOut += payload;
    if (this.#isCoded) this.#out.text(`${bytes.length.toString(16)}\r\n`);
    this.#out.piece(bytes);
    if (this.#isCoded) this.#out.text("\r\n");
  }

  onFlush(): void {
    this.#out.flush();
    this.#keepPace();
  }

  /** No faster than the client reads. */
  #keepPace(): void {
    if (this.#isOver || !this.#connection.socket.writableNeedDrain) return;
    // What came meanwhile would have to be copied, and copies of bodies are what makes V8 collect its whole heap.
    this.#call?.pause();
    this.#connection.stalled();
  }

  /** The client's socket has room again. */
  drained(): void {
    if (this.#isWhole) this.#end();
    else this.#call?.resume();
  }

  onEnd(trailers: readonly string[]): void {
    // What was left out of the pieces: the last chunk, and trailers that may go on.
    if (this.#isChunked) this.#out.text(lastChunk(relayedTrailers(trailers)));
    if (this.#out.isSmall && this.#connection.home.turn.wait(this)) this.#out.settle();
    else this.#sendWhole();
  }

  #sendWhole(): void {
    this.#out.flush();
    if (this.#connection.socket.writableNeedDrain) {
      this.#isWhole = true;
      this.#connection.stalled();
    } else {
      this.#end();
    }
  }

  #end(): void {
    if (this.#isOver) return;
    this.#over();
    this.#exchange.end();
    this.#connection.done(this.#isLast);
  }

  #over(): void {
    this.#isOver = true;
    this.#connection.home.turn.atWork--;
    this.#stopUpload();
  }

  #stopUpload(): void {
    this.upload?.stop();
    this.upload = undefined;
  }

  onFailed(error: GatehouseError): void {
    this.#fail(error);
  }

  #fail(error: GatehouseError, status = statusFor(error.code)): void {
    if (this.#isOver) return;
    const exchange = this.#exchange;
    exchange.failed(error.code);
    if (error.source === "upstream") exchange.reportFailure(error);
    this.#call?.abort();
    if (this.isAnswered) {
      this.#cut();
      return;
    }
    const { home, socket } = this.#connection;
    const accept = valuesOf(exchange.head.headers, "accept")[0];
    const page = errorAnswer(status, { requestId: exchange.id, accept });
    const isHead = exchange.head.method === "HEAD";
    // After a failed upload the rest of the body is still to come: only a new connection is clean.
    this.#isLast ||= !this.isRead || status < 500 || home.context.isLeaving();
    this.isAnswered = true;
    this.#stopUpload();
    exchange.status = status;
    exchange.bytesOut = isHead ? 0 : page.body.length;
    socket.write(localBytes(page, home.date, { close: this.#isLast, isHead }));
    this.#end();
  }

  /** A short body must not look whole: no last chunk, no orderly end. */
  #cut(): void {
    const { socket } = this.#connection;
    this.#out.flush();
    this.#over();
    this.#exchange.end();
    socket.destroy();
  }

  /** The client's connection has closed. */
  gone(): void {
    if (this.#isOver) return;
    this.#over();
    this.#call?.abort();
    this.#exchange.failed("GATEHOUSE_CLIENT_GONE" satisfies ErrorCode);
    this.#exchange.end();
  }
}
