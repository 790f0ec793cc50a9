/**
 * How do requests come over HTTP/2?
 * Owns: sessions and their limits; a stream becomes an exchange, an answer or a reset.
 * Never: moves body bytes; h2-relay does.
 */
import { constants, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { TLSSocket } from "node:tls";
import type { LimitsConfig } from "../../config/model.ts";
import { plainAddress } from "../../core/networks.ts";
import { Exchange, type LaneContext } from "../exchange.ts";
import { errorAnswer, redirectAnswer } from "../responses.ts";
import type { ConnectionFacts } from "./check-request.ts";
import { answerStream, sendAnswer } from "./h2-answer.ts";
import { createSessionWatch } from "./h2-bounds.ts";
import { H2Relay, type LateFields, pageFacts } from "./h2-relay.ts";
import { addedLines, clientOf, type Standing, standingUnder } from "./fast-standing.ts";
import { linesOf } from "./fast-answer.ts";
import { framingLine, H2HeadReader } from "./h2-head.ts";
import { decide } from "../rules/policy.ts";
import { requestHeaders } from "../rules/headers.ts";
import { checkH2Request } from "./h2-request.ts";
import { http2Client } from "./h2-upgrade.ts";
import { beginUpgrade } from "./upgrade.ts";

export interface H2Lane {
  accept(socket: TLSSocket, facts: ConnectionFacts): void;
  /** GOAWAY everywhere; streams that run may end. */
  drain(): void;
  destroy(): void;
}

/** Bytes. Bounds what one stream may have on its way to a slow target; the default of 65,535 is slow over a long way. */
const STREAM_WINDOW = 262_144;
/** Bytes, for all streams of a session together. */
const SESSION_WINDOW = 1_048_576;

/** Pseudo headers, and cookies in pieces (RFC 9113 §8.2.3), beside the fields that check-request counts. */
const CRUMBS = 32;

const sessionOptions = ({ headSize, headFields, h2 }: LimitsConfig) => ({
  settings: {
    enablePush: false,
    // RFC 8441: a WebSocket is one more stream, and a browser needs one connection for all of Home Assistant.
    enableConnectProtocol: true,
    maxConcurrentStreams: h2.streams,
    initialWindowSize: STREAM_WINDOW,
    maxHeaderListSize: headSize,
  },
  // Fields of one request, pseudo headers and cookie crumbs included.
  maxHeaderListPairs: headFields + CRUMBS,
  // Megabytes: the windows above, and header tables.
  maxSessionMemory: 10,
  maxSessionInvalidFrames: 100,
  maxSessionRejectedStreams: 100,
  streamResetBurst: h2.resets,
  streamResetRate: Math.ceil(h2.resets / 10),
  // Requests are judged by check-request from the raw list; an answer goes on as the target wrote it.
  strictSingleValueFields: false,
  paddingStrategy: constants.PADDING_STRATEGY_NONE,
});

interface SessionFacts {
  readonly session: ServerHttp2Session;
  readonly facts: ConnectionFacts;
  /** What its last request found out about its client, for the next one. */
  standing: Standing | undefined;
}

/** One stream, from its head to its close. */
interface Visit extends LateFields {
  readonly stream: ServerHttp2Stream;
  readonly raw: readonly string[];
  readonly endsAtHead: boolean;
  readonly session: SessionFacts;
  exchange: Exchange | undefined;
  relay: H2Relay | undefined;
}

const NONE: readonly string[] = [];
const ignore = (): void => {};

export function createH2Lane(context: LaneContext): H2Lane {
  const sessions = new Set<ServerHttp2Session>();
  const watch = createSessionWatch((limit, socket) =>
    context.limitReached(limit, plainAddress(socket.remoteAddress ?? "")),
  );
  const reader = new H2HeadReader();
  let arrived: Visit[] = [];

  function arrive(visit: Visit): void {
    const { stream } = visit;
    const { session } = visit.session;
    visit.bounds.opened();
    stream.on("error", ignore);
    stream.once("close", () => {
      const { exchange, relay, bounds } = visit;
      bounds.closed(stream);
      // An END_STREAM on the last DATA frame closes the stream before Node says 'finish'.
      relay?.closed(stream.writableFinished || (stream.rstCode === 0 && !session.destroyed));
      exchange?.end();
    });
    if (!visit.endsAtHead) {
      stream.once("trailers", (_fields, _flags, trailers: string[]) => (visit.trailers = trailers));
    }
    // One turn later: a stream that was reset in the packet that opened it costs no more than this (CVE-2023-44487).
    if (arrived.push(visit) === 1) setImmediate(beginAll);
  }

  function beginAll(): void {
    const visits = arrived;
    arrived = [];
    for (const visit of visits) {
      const { stream } = visit;
      if (!stream.destroyed && !stream.aborted && !stream.closed) begin(visit);
    }
  }

  function begin(visit: Visit): void {
    const { raw, endsAtHead, bounds } = visit;
    if (reader.read(raw, endsAtHead, context.limits())) {
      bounds.earned(reader.size);
      if (beginOrdinary(visit)) return;
    } else {
      bounds.earned(sizeOf(raw));
    }
    judge(visit);
  }

  /** @returns false for a request that wants more than to be forwarded; nothing has happened then */
  function beginOrdinary(visit: Visit): boolean {
    const { session } = visit;
    const rules = context.rules();
    const standing = standingUnder(rules, reader.authority, session.facts, session.standing);
    if (standing === undefined) return false;
    session.standing = standing;
    const head = reader.head(session.facts, standing.host, visit.raw);
    const decision = decide(head, rules, { draining: context.isDraining() });
    if (decision.kind !== "forward") return false;
    const client = clientOf(standing, head);
    const text = reader.forTarget(decision.path, standing.canonical, addedLines(standing, client, decision.site));
    visit.exchange = new Exchange(context, head, decision, client);
    visit.relay = new H2Relay(context, visit.stream, visit.exchange, decision, visit);
    visit.relay.begin(text);
    return true;
  }

  function judge(visit: Visit): void {
    const { stream, raw, session, bounds } = visit;
    const { facts } = session;
    const verdict = checkH2Request(raw, visit.endsAtHead, facts, context.limits());
    if ("malformed" in verdict) {
      context.log.debug({ event: "request.malformed", reason: verdict.malformed }, "malformed HTTP/2 request reset");
      stream.close(constants.NGHTTP2_PROTOCOL_ERROR);
      return;
    }
    if (verdict.refusal !== undefined) {
      const { status, reason, limit } = verdict.refusal;
      if (limit !== undefined) context.limitReached(limit, facts.peerAddress);
      context.log.debug({ event: "request.refused", status, reason }, "HTTP/2 request refused");
      sendAnswer(stream, "", errorAnswer(status, { requestId: "-", accept: undefined }), bounds);
      return;
    }
    const { head } = verdict;
    if (verdict.isTunnel === true) {
      beginUpgrade(context, head, http2Client(stream, head, bounds));
      return;
    }
    const exchange = new Exchange(context, head);
    const { decision } = exchange;
    visit.exchange = exchange;
    if (decision.kind === "forward") {
      const fields = linesOf(requestHeaders(head, exchange.client, decision.site));
      visit.relay = new H2Relay(context, stream, exchange, decision, visit);
      visit.relay.begin(`${head.method} ${decision.path} HTTP/1.1\r\n${fields}${framingLine(head)}\r\n`);
    } else if (decision.kind === "redirect") {
      answerStream(stream, exchange, redirectAnswer(decision.status, decision.location), bounds);
    } else {
      exchange.failed(decision.code);
      answerStream(stream, exchange, errorAnswer(decision.status, pageFacts(exchange)), bounds);
    }
  }

  return {
    accept(socket, facts) {
      const limits = context.limits();
      const session = performServerHandshake(socket, sessionOptions(limits));
      sessions.add(session);
      session.once("close", () => sessions.delete(session));
      session.setLocalWindowSize(SESSION_WINDOW);
      const bounds = watch.bound(session, socket, limits);
      const known: SessionFacts = { session, facts, standing: undefined };
      session.on("stream", (stream, _headers, flags, raw) => {
        const endsAtHead = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
        arrive({
          stream,
          raw,
          endsAtHead,
          session: known,
          bounds,
          trailers: NONE,
          exchange: undefined,
          relay: undefined,
        });
      });
      if (context.isDraining()) session.close();
    },
    drain() {
      for (const session of sessions) session.close();
    },
    destroy() {
      for (const session of sessions) session.destroy();
    },
  };
}

/** Names and values; HPACK made less of it on the way. */
function sizeOf(raw: readonly string[]): number {
  let bytes = 0;
  for (const text of raw) bytes += text.length;
  return bytes;
}
