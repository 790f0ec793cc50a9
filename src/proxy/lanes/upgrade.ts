/**
 * How does an HTTP/1.1 connection become a tunnel to a target?
 * Owns: asking the target on a connection of its own, its answer (101 or any other), and the tunnel after it.
 * Never: lets a byte of the client reach the target before the target has said 101.
 */
import { Socket } from "node:net";
import { STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { type ErrorCode, isGatehouseError } from "../../core/errors.ts";
import { Exchange, type LaneContext } from "../exchange.ts";
import { errorAnswer, type LocalAnswer, redirectAnswer, statusFor } from "../responses.ts";
import { requestHeaders, responseHeaders } from "../rules/headers.ts";
import type { Decision } from "../rules/policy.ts";
import { type RequestHead, valuesOf } from "../rules/request-head.ts";
import { type AnswerHead, answerValues, parseAnswerHead } from "./head.ts";
import { joinTunnel } from "./tunnel.ts";
import { fieldLines, relayRefusal, STALL_MS } from "./upgrade-answer.ts";

type Forward = Extract<Decision, { kind: "forward" }>;

/**
 * The head is checked (checkUpgrade); the socket is given whole, nobody else reads it.
 * @param firstBytes what came behind the request head
 */
export type UpgradeLane = (head: RequestHead, socket: Duplex, firstBytes: Buffer) => void;

/** Bytes a client may send before it knows the answer. WebSocket clients send none (RFC 6455 §4.1). */
const MAX_EARLY = 65_536;
/** Milliseconds for the client to take the end of an answer and leave. */
const LINGER_MS = 1_000;
const KEEP_ALIVE_MS = 60_000;

export function createUpgradeLane(context: LaneContext): UpgradeLane {
  return (head, socket, firstBytes) => {
    socket.on("error", () => {});
    const exchange = new Exchange(context, head);
    exchange.kind = "upgrade";
    new Upgrade(context, exchange, socket, firstBytes).begin();
  };
}

class Upgrade {
  readonly #context: LaneContext;
  readonly #exchange: Exchange;
  readonly #client: Duplex;
  readonly #abort = new AbortController();
  #early: Buffer;
  #target: Duplex | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isDone = false;

  constructor(context: LaneContext, exchange: Exchange, client: Duplex, firstBytes: Buffer) {
    this.#context = context;
    this.#exchange = exchange;
    this.#client = client;
    this.#early = firstBytes;
  }

  readonly #hold = (chunk: Buffer): void => {
    this.#early = Buffer.concat([this.#early, chunk]);
    // Reading goes on until then, because only a socket that is read tells that its peer has left.
    if (this.#early.length > MAX_EARLY) this.#client.pause();
  };
  readonly #gone = (): void => this.#fail("GATEHOUSE_CLIENT_GONE");

  begin(): void {
    const { decision } = this.#exchange;
    this.#client.once("close", this.#gone);
    if (decision.kind === "forward") {
      this.#client.on("data", this.#hold);
      this.#client.once("end", this.#gone);
      this.#client.resume();
      void this.#ask(decision);
    } else if (decision.kind === "redirect") {
      this.#answer(redirectAnswer(decision.status, decision.location));
    } else {
      this.#exchange.failed(decision.code);
      this.#answer(errorAnswer(decision.status, this.#facts()));
    }
  }

  async #ask(forward: Forward): Promise<void> {
    const { connectMs, firstByteMs } = forward.site.timeouts;
    let target: Duplex;
    try {
      this.#exchange.upstreamAsked();
      target = await this.#context.upstream.connect(forward.route.target, {
        withinMs: connectMs,
        signal: this.#abort.signal,
      });
    } catch (error) {
      this.#fail(isGatehouseError(error) ? error.code : "GATEHOUSE_UPSTREAM_REFUSED");
      return;
    }
    target.on("error", () => {});
    this.#target = target;
    if (this.#isDone) {
      target.destroy();
      return;
    }
    let received: Buffer = Buffer.alloc(0);
    const reset = (): void =>
      this.#fail(received.length > 0 ? "GATEHOUSE_UPSTREAM_GARBAGE" : "GATEHOUSE_UPSTREAM_RESET");
    const onData = (chunk: Buffer): void => {
      this.#exchange.upstreamAnswered();
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      for (;;) {
        const parsed = parseAnswerHead(received);
        if (parsed === undefined) return;
        if (parsed.head === undefined) return this.#fail("GATEHOUSE_UPSTREAM_GARBAGE");
        received = received.subarray(parsed.end);
        // Interim answers have no meaning for an upgrade; the bound of the head bounds them as one.
        if (parsed.head.status < 200 && parsed.head.status !== 101) continue;
        target.off("data", onData).off("end", reset).off("close", reset).pause();
        clearTimeout(this.#timer);
        if (parsed.head.status === 101) this.#switch(forward, target, parsed.head, received);
        else this.#relay(forward, target, parsed.head, received);
        return;
      }
    };
    target.on("data", onData).once("end", reset).once("close", reset);
    this.#timer = setTimeout(() => this.#fail("GATEHOUSE_UPSTREAM_SLOW"), firstByteMs);
    target.write(this.#request(forward), "latin1");
  }

  #request(forward: Forward): string {
    const { head, client } = this.#exchange;
    const protocol = valuesOf(head.headers, "upgrade")[0] ?? "";
    const headers = requestHeaders(head, client, forward.site);
    headers.push("connection", "Upgrade", "upgrade", protocol);
    return `${head.method} ${forward.path} HTTP/1.1\r\n${fieldLines(headers)}\r\n`;
  }

  #switch(forward: Forward, target: Duplex, answer: AnswerHead, first: Buffer): void {
    const asked = (valuesOf(this.#exchange.head.headers, "upgrade")[0] ?? "").trim().toLowerCase();
    const given = answerValues(answer.rawHeaders, "upgrade");
    // RFC 9110 §7.8: the target may only switch to what was asked for.
    if (given.length !== 1 || given[0]?.toLowerCase() !== asked) {
      this.#fail("GATEHOUSE_UPSTREAM_GARBAGE");
      return;
    }
    const { metrics } = this.#context;
    const client = this.#client;
    const exchange = this.#exchange;
    const name = forward.site.name;
    this.#isDone = true;
    client.off("data", this.#hold).off("end", this.#gone).off("close", this.#gone);
    exchange.status = 101;
    metrics.upgradeOpened(name);
    for (const end of [client, target]) {
      if (!(end instanceof Socket)) continue;
      end.setTimeout(0);
      end.setNoDelay(true);
      end.setKeepAlive(true, KEEP_ALIVE_MS);
    }
    const headers = responseHeaders(answer.rawHeaders, forward.site);
    headers.push("connection", "Upgrade", "upgrade", given[0] ?? "");
    client.write(`HTTP/1.1 101 Switching Protocols\r\n${fieldLines(headers)}\r\n`, "latin1");
    if (first.length > 0) client.write(first);
    if (this.#early.length > 0) target.write(this.#early);
    exchange.bytesOut = first.length;
    exchange.bytesIn = this.#early.length;
    this.#early = Buffer.alloc(0);
    joinTunnel(client, target, forward.site.timeouts.tunnelIdleMs, {
      fromClient: (bytes) => (exchange.bytesIn += bytes),
      fromTarget: (bytes) => (exchange.bytesOut += bytes),
      closed() {
        metrics.upgradeClosed(name);
        exchange.end();
      },
    });
  }

  /** Any other answer goes to the client whole, and then the connection ends: what the client sent early is not HTTP. */
  #relay(forward: Forward, target: Duplex, answer: AnswerHead, first: Buffer): void {
    this.#exchange.status = answer.status;
    relayRefusal({
      client: this.#client,
      target,
      answer,
      first,
      site: forward.site,
      onBytes: (bytes) => (this.#exchange.bytesOut += bytes),
      onWhole: () => {
        if (!this.#isDone) this.#close();
      },
      onFailed: (code) => this.#fail(code),
    });
  }

  #fail(code: ErrorCode): void {
    if (this.#isDone) return;
    this.#exchange.failed(code);
    // A part of an answer must not look whole, and nobody is there to read another one.
    if (this.#exchange.status !== 0 || code === "GATEHOUSE_CLIENT_GONE") {
      this.#done();
      this.#client.destroy();
    } else {
      this.#answer(errorAnswer(statusFor(code), this.#facts()));
    }
  }

  #answer(answer: LocalAnswer): void {
    this.#exchange.status = answer.status;
    this.#exchange.bytesOut = answer.body.length;
    const head = `HTTP/1.1 ${answer.status} ${STATUS_CODES[answer.status] ?? "Error"}\r\n`;
    this.#client.write(`${head}${fieldLines([...answer.headers, "connection", "close"])}\r\n`, "latin1");
    this.#client.write(answer.body);
    this.#close();
  }

  /** The answer is written: let it reach the client before unread bytes make the kernel send a reset (RFC 9112 §9.6). */
  #close(): void {
    this.#done();
    const client = this.#client;
    client.off("data", this.#hold);
    client.on("data", () => {});
    client.resume();
    client.end();
    let timer = setTimeout(() => client.destroy(), client.writableFinished ? LINGER_MS : STALL_MS);
    client.once("finish", () => {
      clearTimeout(timer);
      timer = setTimeout(() => client.destroy(), LINGER_MS);
    });
    client.once("close", () => clearTimeout(timer));
  }

  #done(): void {
    this.#isDone = true;
    clearTimeout(this.#timer);
    this.#abort.abort();
    this.#early = Buffer.alloc(0);
    this.#target?.destroy();
    this.#exchange.end();
  }

  #facts(): { requestId: string; accept: string | undefined } {
    return { requestId: this.#exchange.id, accept: valuesOf(this.#exchange.head.headers, "accept")[0] };
  }
}
