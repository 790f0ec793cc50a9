/**
 * How do requests come over HTTP/2?
 * Owns: the connections of the lane and their clock; a stream becomes an exchange, an answer or a reset.
 * Never: reads frames (see http2/) or moves body bytes; h2/relay does.
 */
import type { TLSSocket } from "node:tls";
import { CoarseClock } from "../../clock.ts";
import type { LimitName } from "../../../observe/limit-names.ts";
import { Exchange, type LaneContext } from "../../exchange.ts";
import { errorAnswer, redirectAnswer } from "../../responses.ts";
import { requestHeaders } from "../../rules/headers.ts";
import { decide } from "../../rules/policy.ts";
import { DenseSet } from "../../../core/dense-set.ts";
import { RequestIds } from "../../../core/request-ids.ts";
import { createYoungGarbage } from "../../../core/young-garbage.ts";
import type { ConnectionFacts } from "../check-request.ts";
import { linesOf } from "../fast/answer.ts";
import { addedLines, clientOf, standingUnder } from "../fast/standing.ts";
import { framingLine, H2HeadReader } from "./head.ts";
import { answerStream, H2Relay, pageFacts, sendAnswer } from "./relay.ts";
import { checkH2Request } from "./request.ts";
import { http2Client } from "./upgrade.ts";
import { Connection } from "../http2/connection.ts";
import { flatOf, isMalformed } from "../http2/field.ts";
import { type Arrival, type Home, Turn } from "../http2/home.ts";
import { DateField } from "../http2/hpack-encoder.ts";
import { HuffmanReader } from "../http2/huffman.ts";
import { OutputPool } from "../http2/output.ts";
import type { Stream, StreamUser } from "../http2/stream.ts";
import { SharedReading } from "../fast/shared-reading.ts";
import { beginUpgrade } from "../upgrade/upgrade.ts";

export interface H2Lane {
  accept(socket: TLSSocket, facts: ConnectionFacts): void;
  /** GOAWAY everywhere; streams that run may end. */
  drain(): void;
  destroy(): void;
}

export function createH2Lane(context: LaneContext): H2Lane {
  const connections = new DenseSet<Connection>();
  const reader = new H2HeadReader();
  const garbage = createYoungGarbage();
  const ids = new RequestIds();
  const tunnels = new SharedReading(garbage);
  const home: Home = {
    context,
    clock: new CoarseClock(),
    date: new DateField(),
    huffman: new HuffmanReader(),
    pool: new OutputPool(),
    turn: new Turn(begin),
    gone: (connection) => void connections.delete(connection),
  };
  const swept = {
    sweep(now: number): void {
      connections.forEach((connection) => connection.sweep(now));
    },
    get isQuiet(): boolean {
      return connections.size === 0;
    },
  };

  function begin(arrival: Arrival): void {
    const { ledger } = arrival.stream.connection;
    if (arrival.isTooLarge) {
      refuse(arrival.stream, { status: 431, reason: "header size", limit: "head_size" });
      return;
    }
    if (reader.read(arrival.fields, arrival.endsAtHead, context.limits()) && beginOrdinary(arrival)) {
      ledger.earned(arrival.bytes);
      return;
    }
    judge(arrival);
  }

  /** @returns false for a request that wants more than to be forwarded; nothing has happened then */
  function beginOrdinary({ stream, fields }: Arrival): boolean {
    const { connection } = stream;
    const { facts } = connection;
    const rules = context.rules();
    const standing = standingUnder(rules, reader.authority, facts, connection.standing);
    if (standing === undefined) return false;
    connection.standing = standing;
    const head = reader.head(facts, standing.host, fields);
    // Draining or not: what a client sent before our GOAWAY reached it is served.
    const decision = decide(head, rules, { draining: false });
    if (decision.kind !== "forward") return false;
    const client = clientOf(standing, head, ids);
    const text = reader.forTarget(decision.path, standing.canonical, addedLines(standing, client, decision.site, head));
    new H2Relay(context, garbage, stream, new Exchange(context, head, decision, client), decision).begin(text);
    return true;
  }

  function judge({ stream, fields, endsAtHead, bytes }: Arrival): void {
    const { facts, ledger } = stream.connection;
    const verdict = fields.some(isMalformed)
      ? { malformed: "field" }
      : checkH2Request(flatOf(fields), endsAtHead, facts, context.limits());
    if ("malformed" in verdict) {
      context.log.debug({ event: "request.malformed", reason: verdict.malformed }, "malformed HTTP/2 request reset");
      stream.resetMalformed();
      return;
    }
    ledger.earned(bytes);
    if (verdict.refusal !== undefined) {
      refuse(stream, verdict.refusal);
      return;
    }
    const { head } = verdict;
    if (verdict.isTunnel === true) {
      beginUpgrade(context, tunnels, head, http2Client(stream, head));
      return;
    }
    const exchange = new Exchange(context, head, decide(head, context.rules(), { draining: false }));
    const { decision } = exchange;
    if (decision.kind === "forward") {
      const fieldLines = linesOf(requestHeaders(head, exchange.client, decision.site));
      const text = `${head.method} ${decision.path} HTTP/1.1\r\n${fieldLines}${framingLine(head)}\r\n`;
      new H2Relay(context, garbage, stream, exchange, decision).begin(text);
      return;
    }
    stream.attach(new LocalUser(stream, exchange));
    if (decision.kind === "redirect") {
      answerStream(stream, exchange, redirectAnswer(decision.status, decision.location));
    } else {
      exchange.failed(decision.code);
      answerStream(stream, exchange, errorAnswer(decision.status, pageFacts(exchange)));
    }
  }

  /** Before there is an exchange: nothing of the request can be believed. */
  function refuse(stream: Stream, refusal: { status: number; reason: string; limit?: LimitName | undefined }): void {
    const { status, reason, limit } = refusal;
    if (limit !== undefined) context.limitReached(limit, stream.connection.facts.peerAddress);
    context.log.debug({ event: "request.refused", status, reason }, "HTTP/2 request refused");
    stream.attach(new LocalUser(stream, undefined));
    sendAnswer(stream, "", errorAnswer(status, { requestId: "-", accept: undefined }));
  }

  return {
    accept(socket, facts) {
      home.clock.wake(swept);
      const connection = new Connection(home, socket, facts, context.limits());
      connections.add(connection);
      if (context.isLeaving()) connection.drain();
    },
    drain() {
      connections.forEach((connection) => connection.drain());
    },
    destroy() {
      connections.forEach(({ socket }) => socket.destroy());
    },
  };
}

/** The stream of an answer that no target gave. */
class LocalUser implements StreamUser {
  readonly #stream: Stream;
  readonly #exchange: Exchange | undefined;

  constructor(stream: Stream, exchange: Exchange | undefined) {
    this.#stream = stream;
    this.#exchange = exchange;
  }

  onClientData(): void {}

  onClientEnd(): void {}

  onWritable(): void {
    this.#stream.callOff();
  }

  onClosed(isWhole: boolean): void {
    if (!isWhole) this.#exchange?.failed("GATEHOUSE_CLIENT_GONE");
    this.#exchange?.end();
  }
}
