/**
 * How do requests come over HTTP/2?
 * Owns: sessions and their limits; a stream becomes an exchange, an answer or a reset.
 * Never: moves body bytes; h2-relay does.
 */
import { constants, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { TLSSocket } from "node:tls";
import type { LimitsConfig } from "../../config/model.ts";
import { plainAddress } from "../rules/client-identity.ts";
import { Exchange, type LaneContext } from "../exchange.ts";
import { errorAnswer, redirectAnswer } from "../responses.ts";
import type { ConnectionFacts } from "./check-request.ts";
import { answerStream, sendAnswer } from "./h2-answer.ts";
import { createSessionWatch, type SessionBounds } from "./h2-bounds.ts";
import { type LateFields, pageFacts, relayStream } from "./h2-relay.ts";
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

export function createH2Lane(context: LaneContext): H2Lane {
  const sessions = new Set<ServerHttp2Session>();
  const watch = createSessionWatch((limit, socket) =>
    context.limitReached(limit, plainAddress(socket.remoteAddress ?? "")),
  );

  function onStream(
    stream: ServerHttp2Stream,
    flags: number,
    raw: readonly string[],
    facts: ConnectionFacts,
    bounds: SessionBounds,
  ): void {
    stream.on("error", () => {});
    const late: LateFields = { trailers: [], bounds };
    stream.on("trailers", (_fields, _flags, trailers: string[]) => (late.trailers = trailers));
    const endsAtHead = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    // One turn later: a stream that was reset in the packet that opened it costs no more than this line (CVE-2023-44487).
    setImmediate(() => {
      if (!stream.destroyed && !stream.aborted && !stream.closed) begin(stream, raw, endsAtHead, late, facts);
    });
  }

  function begin(
    stream: ServerHttp2Stream,
    raw: readonly string[],
    endsAtHead: boolean,
    late: LateFields,
    facts: ConnectionFacts,
  ): void {
    const limits = context.limits();
    const { bounds } = late;
    bounds.earned(sizeOf(raw));
    const verdict = checkH2Request(raw, endsAtHead, facts, limits);
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
    if (verdict.isTunnel === true) {
      beginUpgrade(context, verdict.head, http2Client(stream, verdict.head, bounds));
      return;
    }
    const exchange = new Exchange(context, verdict.head);
    const { decision } = exchange;
    if (decision.kind === "forward") {
      relayStream(context, stream, exchange, decision, late);
    } else if (decision.kind === "redirect") {
      answerStream(stream, exchange, redirectAnswer(decision.status, decision.location), bounds);
    } else {
      exchange.failed(decision.code);
      answerStream(stream, exchange, errorAnswer(decision.status, pageFacts(exchange)), bounds);
    }
    // Last of the listeners: by then everybody has said what went wrong.
    stream.once("close", () => exchange.end());
  }

  return {
    accept(socket, facts) {
      const limits = context.limits();
      const session = performServerHandshake(socket, sessionOptions(limits));
      sessions.add(session);
      session.once("close", () => sessions.delete(session));
      // HTTP/2 has no half-closed connections: who ends one direction has left.
      socket.once("end", () => session.destroy());
      session.setLocalWindowSize(SESSION_WINDOW);
      const bounds = watch.bound(session, socket, limits);
      session.on("stream", (stream, _headers, flags, raw) => {
        bounds.opened(stream);
        onStream(stream, flags, raw, facts, bounds);
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
