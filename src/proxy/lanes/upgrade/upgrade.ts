/**
 * How does a client's connection, or a stream of it, become a tunnel to a target?
 * Owns: asking the target on a connection of its own, its answer (101 or any other), and the tunnel after it.
 * Never: lets a byte of the client reach the target before the target has said 101.
 */
import type { Duplex } from "node:stream";
import { createYoungGarbage } from "../../../core/young-garbage.ts";
import { type ErrorCode, errorText, GatehouseError, isGatehouseError } from "../../../core/errors.ts";
import { Exchange, type LaneContext } from "../../exchange.ts";
import { errorAnswer, type LocalAnswer, redirectAnswer, statusFor } from "../../responses.ts";
import { requestHeaders, responseHeaders } from "../../rules/headers.ts";
import type { Decision } from "../../rules/policy.ts";
import { type RequestHead, valuesOf } from "../../rules/request-head.ts";
import { headTooLong } from "../../upstream/judge-answer.ts";
import { type AnswerHead, answerValues, parseAnswerHead, TOO_LONG } from "../head.ts";
import { SharedReading } from "../fast/shared-reading.ts";
import { joinTunnel } from "./tunnel.ts";
import { relayRefusal } from "./answer.ts";
import { fieldLines, http1Client, smooth, type UpgradeClient } from "./client.ts";

type Forward = Extract<Decision, { kind: "forward" }>;

/**
 * The head is checked (checkUpgrade); the socket is given whole, nobody else reads it.
 * @param firstBytes what came behind the request head
 */
export type UpgradeLane = (head: RequestHead, socket: Duplex, firstBytes: Buffer) => void;

export function createUpgradeLane(context: LaneContext): UpgradeLane {
  const reading = new SharedReading(createYoungGarbage());
  return (head, socket, firstBytes) => {
    socket.on("error", () => {});
    beginUpgrade(context, reading, head, http1Client(socket, firstBytes, context.limits().writeStallMs));
  };
}

/** As in the other lanes: more of them is a target gone mad. */
const MAX_INTERIM = 8;

/** The head is checked and has the fields of an HTTP/1.1 upgrade, however it came. */
export function beginUpgrade(
  context: LaneContext,
  reading: SharedReading,
  head: RequestHead,
  client: UpgradeClient,
): void {
  const exchange = new Exchange(context, head);
  exchange.kind = "upgrade";
  new Upgrade(context, reading, exchange, client).begin();
}

class Upgrade {
  readonly #context: LaneContext;
  readonly #reading: SharedReading;
  readonly #exchange: Exchange;
  readonly #client: UpgradeClient;
  readonly #abort = new AbortController();
  #target: Duplex | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isDone = false;

  constructor(context: LaneContext, reading: SharedReading, exchange: Exchange, client: UpgradeClient) {
    this.#context = context;
    this.#reading = reading;
    this.#exchange = exchange;
    this.#client = client;
  }

  begin(): void {
    const { decision } = this.#exchange;
    this.#client.watch(() => this.#fail("GATEHOUSE_CLIENT_GONE"));
    if (decision.kind === "forward" && !this.#exchange.mayTunnel()) {
      this.#exchange.failed("GATEHOUSE_REQUEST_REFUSED");
      this.#answer(errorAnswer(503, this.#facts()));
    } else if (decision.kind === "forward") {
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
      this.#fail(isGatehouseError(error) ? error : failure("GATEHOUSE_UPSTREAM_REFUSED", errorText(error)));
      return;
    }
    target.on("error", () => {});
    this.#target = target;
    if (this.#isDone) {
      target.destroy();
      return;
    }
    let received: Buffer = Buffer.alloc(0);
    let interim = 0;
    const { answerHeadSize } = this.#context.limits();
    const reset = (): void =>
      this.#fail(received.length > 0 ? "GATEHOUSE_UPSTREAM_GARBAGE" : "GATEHOUSE_UPSTREAM_RESET");
    const onData = (chunk: Buffer): void => {
      this.#exchange.upstreamAnswered();
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      for (;;) {
        const parsed = parseAnswerHead(received, answerHeadSize);
        if (parsed === undefined) return;
        if (parsed.head === undefined)
          return this.#fail(parsed.broken === TOO_LONG ? headTooLong() : "GATEHOUSE_UPSTREAM_GARBAGE");
        received = received.subarray(parsed.end);
        // Interim answers have no meaning for an upgrade.
        if (parsed.head.status < 200 && parsed.head.status !== 101) {
          if (++interim > MAX_INTERIM) return this.#fail("GATEHOUSE_UPSTREAM_GARBAGE");
          continue;
        }
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
    if (given.length !== 1 || given[0]?.toLowerCase() !== asked || !this.#client.isGenuine(answer)) {
      this.#fail("GATEHOUSE_UPSTREAM_GARBAGE");
      return;
    }
    const { metrics } = this.#context;
    const exchange = this.#exchange;
    const name = forward.site.name;
    this.#isDone = true;
    const { status, early } = this.#client.switched(responseHeaders(answer.rawHeaders, forward.site), given[0] ?? "");
    exchange.status = status;
    metrics.upgradeOpened(name);
    smooth(target);
    const { end } = this.#client;
    if (first.length > 0) end.stream.write(first);
    if (early.length > 0) target.write(early);
    exchange.bytesOut = first.length;
    exchange.bytesIn = early.length;
    const there = { stream: target, cut: () => void target.destroy() };
    joinTunnel(this.#reading, end, there, forward.site.timeouts.tunnelIdleMs, {
      fromClient: (bytes) => (exchange.bytesIn += bytes),
      fromTarget: (bytes) => (exchange.bytesOut += bytes),
      silent: () => this.#context.limitReached("tunnel_silence", exchange.client.address),
      closed() {
        metrics.upgradeClosed(name);
        exchange.end();
      },
    });
  }

  /** Any other answer goes to the client whole. */
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
        if (!this.#isDone) this.#part();
      },
      stallMs: this.#context.limits().writeStallMs,
      onStalled: () => {
        this.#context.limitReached("write_stall", this.#exchange.head.peerAddress);
        this.#fail("GATEHOUSE_CLIENT_GONE");
      },
      onFailed: (code) => this.#fail(code),
    });
  }

  #fail(why: ErrorCode | GatehouseError): void {
    if (this.#isDone) return;
    const error = typeof why === "string" ? failure(why) : why;
    this.#exchange.failed(error.code);
    if (error.source === "upstream") this.#exchange.reportFailure(error);
    // A part of an answer must not look whole, and nobody is there to read another one.
    if (this.#exchange.status !== 0 || error.code === "GATEHOUSE_CLIENT_GONE") {
      this.#done();
      this.#client.end.cut();
    } else {
      this.#answer(errorAnswer(statusFor(error.code), this.#facts()));
    }
  }

  #answer(answer: LocalAnswer): void {
    this.#exchange.status = answer.status;
    this.#exchange.bytesOut = answer.body.length;
    // Framed already: its own Content-Length stands among its fields.
    this.#client.begin(answer.status, answer.headers, "none", 0);
    if (answer.body.length > 0) this.#client.piece(answer.body);
    this.#client.whole();
    this.#part();
  }

  #part(): void {
    this.#done();
    this.#client.leave();
  }

  #done(): void {
    this.#isDone = true;
    clearTimeout(this.#timer);
    this.#abort.abort();
    this.#target?.destroy();
    this.#exchange.end();
  }

  #facts(): { requestId: string; accept: string | undefined } {
    return { requestId: this.#exchange.id, accept: valuesOf(this.#exchange.head.headers, "accept")[0] };
  }
}

const MEANING: Partial<Record<ErrorCode, string>> = {
  GATEHOUSE_UPSTREAM_RESET: "The target closed the connection when it was asked for an upgrade.",
  GATEHOUSE_UPSTREAM_SLOW: "The target did not answer in time when it was asked for an upgrade.",
  GATEHOUSE_UPSTREAM_GARBAGE: "The target's answer to an upgrade is no valid HTTP, or to another question.",
  GATEHOUSE_UPSTREAM_REFUSED: "The target cannot be reached.",
};

function failure(code: ErrorCode, what = ""): GatehouseError {
  return new GatehouseError(code, {
    message: `${MEANING[code] ?? "The client left."}${what === "" ? "" : ` ${what}`}`,
    hint: "Does the target serve WebSockets under this path? Its own log may say why.",
  });
}
