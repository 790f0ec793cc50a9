/**
 * How is http-proxy used without its traps?
 * Owns: the one place that calls it: a synthetic request in, an answer for the lane out; its path and framing mended.
 * Never: shows it the client's request, response or socket; upgrades and HTTP/2 do not come here.
 *
 * http-proxy 1.18.1 is unmaintained; facts/http-proxy.md of the project lists 27 ways in which it goes wrong, and
 * test/proxy/http-proxy-rows.test.ts has one test for each.
 */
import type { Agent, ClientRequest, IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import httpProxy from "http-proxy";
import type { TargetConfig, TimeoutsConfig } from "../../../config/model.ts";
import { errorText, GatehouseError, isGatehouseError } from "../../../core/errors.ts";
import { relayedTrailers } from "../../rules/headers.ts";
import { createDeadlines, type Deadlines } from "../../upstream/deadlines.ts";
import { connectFailure, isConnecting } from "../../upstream/dial.ts";
import { garbage, headTooLong } from "../../upstream/judge-answer.ts";
import { pairs } from "../../rules/raw-headers.ts";

export interface ForwardRequest {
  target: TargetConfig;
  agent: Agent;
  method: string;
  path: string;
  /** From `requestHeaders`: no framing in it. */
  headers: readonly string[];
  body: "none" | "length" | "chunked";
  contentLength: number;
  /** The client's body; read only once the target has taken the connection. */
  source: IncomingMessage;
  timeouts: TimeoutsConfig;
  /** The target has taken the connection: the body will be asked for now. */
  onConnected(): void;
  /** One piece of the body on its way. */
  onBody(bytes: number): void;
  onInformation(status: number, rawHeaders: readonly string[]): void;
  onAnswer(answer: IncomingMessage): void;
  /** No answer will come. @param isStale  a kept connection died before its first byte (RFC 9112 §9.3.1) */
  onFailed(error: GatehouseError, isStale: boolean): void;
}

export interface Forwarding {
  readonly deadlines: Deadlines;
  /** Waits for the client's next piece, not for the target. */
  isWaitingForClient(): boolean;
  /** Whole request sent? */
  isSent(): boolean;
  /** Destroys the connection to the target; no callback comes after it. Idempotent. */
  abort(): void;
}

/** A 1xx costs nothing to send; past this many the target plays a game. */
const MAX_INFORMATIONAL = 8;

/** What http-proxy takes for the client's request: method, URL `/`, one header, and a body that waits. */
class SyntheticRequest extends Readable {
  readonly url = "/";
  readonly httpVersion = "1.1";
  readonly socket = { destroyed: false };
  readonly connection = this.socket;
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly flight: Flight;

  constructor(flight: Flight, method: string, host: string) {
    super({ highWaterMark: 65_536 });
    this.flight = flight;
    this.method = method;
    this.headers = { host };
  }

  override _read(): void {
    this.flight.wantsBody();
  }
}

export function createForwarder(): (request: ForwardRequest) => Forwarding {
  const proxy = httpProxy.createProxyServer({
    selfHandleResponse: true,
    // Off, each for a row of its own: url.parse of what strangers write, appended X-Forwarded-*, rewriting by pattern.
    toProxy: true,
    prependPath: false,
    xfwd: false,
    changeOrigin: false,
    followRedirects: false,
  });
  const flightOf = (request: unknown): Flight => (request as SyntheticRequest).flight;
  proxy.on("proxyReq", (clientRequest, request) => flightOf(request).prepare(clientRequest));
  proxy.on("proxyRes", (answer, request) => flightOf(request).answered(answer));
  proxy.on("econnreset", (error, request) => flightOf(request).failed(error));
  proxy.on("error", (error, request) => flightOf(request).failed(error));

  return (request) => {
    const flight = new Flight(request);
    flight.start((synthetic, sink, options, onError) => {
      proxy.web(synthetic as unknown as IncomingMessage, sink as unknown as ServerResponse, options, onError);
    });
    return flight;
  };
}

type Web = (
  synthetic: SyntheticRequest,
  sink: { headersSent: boolean; finished: boolean },
  options: httpProxy.ServerOptions,
  onError: (error: Error) => void,
) => void;

class Flight implements Forwarding {
  readonly deadlines: Deadlines;
  readonly #request: ForwardRequest;
  readonly #synthetic: SyntheticRequest;
  #clientRequest: ClientRequest | undefined;
  #isReleased = false;
  #isDone = false;
  #isAnswered = false;
  #isWaiting = false;
  #informational = 0;

  constructor(request: ForwardRequest) {
    this.#request = request;
    this.#synthetic = new SyntheticRequest(this, request.method, request.headers[1] ?? "");
    this.#synthetic.on("error", () => {});
    this.deadlines = createDeadlines(request.timeouts, (error) => this.failed(error));
  }

  start(web: Web): void {
    const { target, agent } = this.#request;
    // Host and port are for show: the agent dials its own target, whatever is asked of it.
    const shown = { protocol: "http:", host: target.host || "localhost", port: target.port || 80 };
    try {
      const sink = { headersSent: false, finished: false };
      web(this.#synthetic, sink, { target: shown, agent }, (error) => this.failed(error));
    } catch (error) {
      // Row 13: it throws out of the call; the caller must not be inside its own set-up when it hears of that.
      process.nextTick(() => this.failed(error));
    }
  }

  /** The event `proxyReq`: a connection is assigned, nothing is written yet. Here path and framing are put right. */
  prepare(clientRequest: ClientRequest): void {
    if (this.#isDone) {
      clientRequest.destroy();
      return;
    }
    this.#clientRequest = clientRequest;
    const { headers, body, contentLength, path, onInformation } = this.#request;
    try {
      for (const name of clientRequest.getHeaderNames()) clientRequest.removeHeader(name);
      const grouped = new Map<string, string[]>();
      for (let at = 0; at < headers.length; at += 2) {
        const name = headers[at] ?? "";
        const values = grouped.get(name);
        if (values === undefined) grouped.set(name, [headers[at + 1] ?? ""]);
        else values.push(headers[at + 1] ?? "");
      }
      for (const [name, values] of grouped)
        clientRequest.setHeader(name, values.length === 1 ? (values[0] ?? "") : values);
      if (body === "chunked") clientRequest.setHeader("transfer-encoding", "chunked");
      else if (body === "length") clientRequest.setHeader("content-length", String(contentLength));
      clientRequest.path = path;
    } catch (cause) {
      this.failed(
        new GatehouseError("GATEHOUSE_REQUEST_MALFORMED", { message: "The request cannot be written.", cause }),
      );
      return;
    }
    clientRequest.on("information", ({ statusCode, rawHeaders }) => {
      this.deadlines.progress();
      this.#informational++;
      if (this.#informational > MAX_INFORMATIONAL) this.failed(garbage("too many informational answers"));
      else onInformation(statusCode, rawHeaders);
    });
    clientRequest.on("upgrade", (_, socket) => {
      socket.destroy();
      this.failed(garbage("101 without being asked"));
    });
    clientRequest.once("finish", () => this.deadlines.sent());
    const { socket } = clientRequest;
    if (socket === null) return;
    this.deadlines.connecting(socket, () => this.#release());
  }

  #release(): void {
    if (this.#isDone) return;
    this.#isReleased = true;
    const { source, body, onConnected, onBody } = this.#request;
    onConnected();
    if (body === "none") {
      this.#synthetic.push(null);
      return;
    }
    source.on("data", (chunk: Buffer) => {
      if (this.#isDone) return;
      onBody(chunk.length);
      this.#waitForClient(false);
      if (this.#isDone) return;
      if (!this.#synthetic.push(chunk)) source.pause();
    });
    // A target may refuse by the head alone, and a client may wait for that. Not by flushHeaders: it writes UTF-8 where
    // the head goes out with a piece of body as the bytes that came (RFC 9110 §5.5, obs-text).
    this.#clientRequest?.write(Buffer.alloc(0));
    source.once("end", () => {
      if (this.#isDone) return;
      this.#waitForClient(false);
      const trailers = body === "chunked" ? relayedTrailers(source.rawTrailers) : [];
      try {
        if (trailers.length > 0) this.#clientRequest?.addTrailers(pairs(trailers));
      } catch {
        // Trailers are a courtesy; a request without them is still whole.
      }
      this.#synthetic.push(null);
    });
    this.#waitForClient(true);
    source.resume();
  }

  wantsBody(): void {
    if (!this.#isReleased || this.#isDone || this.#request.body === "none") return;
    this.#waitForClient(true);
    this.#request.source.resume();
  }

  #waitForClient(isWaiting: boolean): void {
    this.#isWaiting = isWaiting;
    if (this.#isAnswered) return;
    // Silence of the client is not the target's: the lane has its own watch for that.
    this.deadlines.paused(isWaiting);
  }

  isWaitingForClient(): boolean {
    return this.#isWaiting;
  }

  isSent(): boolean {
    return this.#clientRequest?.writableFinished ?? false;
  }

  answered(answer: IncomingMessage): void {
    answer.on("error", () => {});
    if (this.#isDone) {
      answer.destroy();
      return;
    }
    this.#isAnswered = true;
    this.deadlines.paused(false);
    this.deadlines.answered();
    this.#request.onAnswer(answer);
  }

  failed(reason: unknown): void {
    // After the head, what happens to the answer is seen on the answer itself.
    if (this.#isDone || (this.#isAnswered && !isGatehouseError(reason))) return;
    const { socket, reusedSocket } = this.#clientRequest ?? {};
    const isStale =
      reusedSocket === true &&
      !this.#isAnswered &&
      this.#informational === 0 &&
      isReset(reason) &&
      socket?.bytesRead !== undefined;
    const error = this.#explain(reason);
    this.abort();
    this.#request.onFailed(error, isStale);
  }

  #explain(reason: unknown): GatehouseError {
    if (isGatehouseError(reason)) return reason;
    const code = (reason as NodeJS.ErrnoException).code ?? "";
    if (code === "HPE_HEADER_OVERFLOW") return headTooLong();
    if (code.startsWith("HPE_")) return garbage(errorText(reason), reason);
    const socket = this.#clientRequest?.socket;
    const wasConnected = this.#isReleased;
    const isSecuring =
      socket !== undefined && socket !== null && isConnecting(socket) && !socket.connecting && socket.bytesWritten > 0;
    return new GatehouseError(wasConnected ? "GATEHOUSE_UPSTREAM_RESET" : connectFailure(reason, isSecuring), {
      message: `The target ${wasConnected ? "closed the connection" : "cannot be reached"}: ${errorText(reason)}`,
      hint: wasConnected
        ? "Its own log may say why."
        : "Is the machine on, and does it listen on this address and port?",
      cause: reason,
    });
  }

  abort(): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.deadlines.stop();
    // Before a connection is assigned, its own listener for `aborted` is the only handle on the waiting request.
    if (this.#clientRequest === undefined) this.#synthetic.emit("aborted");
    else this.#clientRequest.destroy();
    this.#synthetic.destroy();
  }
}

const isReset = (reason: unknown): boolean =>
  ["ECONNRESET", "EPIPE"].includes((reason as NodeJS.ErrnoException | undefined)?.code ?? "");
