/**
 * How is everything served that is HTTP/1.x?
 * Owns: a node:http server that never listens, its limits, one request at a time per connection, parser errors.
 * Never: forwards (see compat/exchange) or tunnels (see upgrade).
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { Exchange, type LaneContext } from "../../exchange.ts";
import { limitOfParser } from "../../limits.ts";
import { errorAnswer } from "../../responses.ts";
import { type RequestHead, valuesOf } from "../../rules/request-head.ts";
import {
  checkRequest,
  checkUpgrade,
  type ConnectionFacts,
  isUpgrade,
  type Refusal,
  type Verdict,
} from "../check-request.ts";
import { sendRaw, watchStall } from "./answer.ts";
import { statusOf, unreadable } from "./refused.ts";
import { type ServedExchange, serveExchange } from "./exchange.ts";
import { CrumblessMessage } from "./message.ts";
import { createForwarder } from "./forward.ts";
import { lowerCased } from "../../rules/raw-headers.ts";
import { farewell } from "../farewell.ts";

export interface CompatLane {
  /** Takes the socket over, with whatever is unread on it. */
  accept(socket: Duplex, facts: ConnectionFacts): void;
  /** Closes connections that have no request under way. */
  closeIdle(): void;
  /**
   * From now on every connection ends with its next answer.
   *
   * @param idleMs  how long each may take to ask for that
   */
  drain(idleMs: number): void;
  /** Destroys every connection now. */
  destroy(): void;
  openConnections(): number;
  /** For tests of its limits. */
  server: Server;
}

export interface CompatOptions {
  /** A checked upgrade on a quiet connection; the socket is the callee's. */
  onUpgrade(head: RequestHead, socket: Duplex, firstBytes: Buffer): void;
}

/** How late Node may notice a slow head (milliseconds). One pass looks at the slow ones alone. */
const CHECK_EVERY_MS = 1_000;
/** Node drops what is past its own count without a word: twice ours, so that check-request is the one who answers. */
const FIELDS_FACTOR = 2;

const MALFORMED_BODY = { code: "GATEHOUSE_REQUEST_MALFORMED", reason: "body" } as const;

interface Connection {
  socket: Duplex;
  facts: ConnectionFacts;
  requests: number;
  current: { req: IncomingMessage; exchange: ServedExchange } | undefined;
  /** Pipelined requests, in order. */
  waiting: Waiting[];
  /** Nothing more is read as a request; ends when the answers under way are out. */
  isClosing: boolean;
}

interface Waiting {
  req: IncomingMessage;
  run(): void;
}

export function createCompatLane(context: LaneContext, options: CompatOptions): CompatLane {
  const connections = new Map<Duplex, Connection>();
  const forward = createForwarder();
  let longestIdleMs = Number.POSITIVE_INFINITY;

  const server = createServer({
    IncomingMessage: CrumblessMessage,
    insecureHTTPParser: false,
    // Ours says which Host is missing or wrong, with a page.
    requireHostHeader: false,
    // An upload may take hours; watchUpload judges its progress.
    requestTimeout: 0,
    connectionsCheckingInterval: CHECK_EVERY_MS,
    noDelay: true,
    shouldUpgradeCallback: (req) => isUpgrade(lowerCased(req.rawHeaders)),
  });
  obey();
  // The server never listens, but it is this event that starts its check for slow heads.
  server.emit("listening");

  /** Node asks the server for these at each connection or request. */
  function obey(): void {
    const limits = context.limits();
    // Not in the types; read whenever a connection comes.
    Object.assign(server, { maxHeaderSize: limits.headSize });
    server.headersTimeout = limits.headMs;
    server.keepAliveTimeout = Math.min(limits.idleMs, longestIdleMs);
    server.maxHeadersCount = FIELDS_FACTOR * limits.headFields;
    server.maxRequestsPerSocket = limits.requestsPerConnection;
  }

  function next(connection: Connection): void {
    connection.current = undefined;
    const { socket } = connection;
    // After an answer that said `Connection: close` Node is ending the socket: what is pipelined behind must not run.
    if (socket.destroyed || socket.writableEnded) {
      connection.waiting = [];
      return;
    }
    const waiting = connection.waiting.shift();
    if (waiting !== undefined) waiting.run();
    else if (connection.isClosing) farewell(socket);
  }

  function enqueue(connection: Connection, req: IncomingMessage, run: () => void): void {
    if (connection.socket.writableEnded) return;
    if (connection.current === undefined && connection.waiting.length === 0) run();
    else if (connection.waiting.length < context.limits().pipelined) connection.waiting.push({ req, run });
    else {
      context.limitReached("pipelined", connection.facts.peerAddress);
      connection.socket.destroy();
    }
  }

  function judge(req: IncomingMessage, facts: ConnectionFacts): Verdict {
    const verdict = checkRequest(req, facts, context.limits());
    const limit = verdict.refusal?.limit;
    if (limit !== undefined) context.limitReached(limit, facts.peerAddress);
    return verdict;
  }

  function onRequest(req: IncomingMessage, res: ServerResponse, isExpecting: boolean): void {
    const connection = connections.get(req.socket);
    if (connection === undefined) {
      req.socket.destroy();
      return;
    }
    req.on("error", () => {});
    res.on("error", () => {});
    // Node says `Connection: close` in the answer to this one.
    if (++connection.requests === server.maxRequestsPerSocket)
      context.limitReached("requests_per_connection", connection.facts.peerAddress);
    enqueue(connection, req, () => {
      const verdict = judge(req, connection.facts);
      watchStall(req, res, context.limits().writeStallMs, () =>
        context.limitReached("write_stall", connection.facts.peerAddress),
      );
      res.once("close", () => next(connection));
      const head = verdict.head ?? unreadable(req, connection.facts);
      const exchange = serveExchange({ context, forward, req, res, head, refusal: verdict.refusal, isExpecting });
      if (!res.closed) connection.current = { req, exchange };
    });
  }

  server.on("request", (req, res) => onRequest(req, res, false));
  server.on("checkContinue", (req, res) => onRequest(req, res, true));
  // checkRequest says 417.
  server.on("checkExpectation", (req, res) => onRequest(req, res, false));

  server.on("upgrade", (req, socket, firstBytes) => {
    const connection = connections.get(socket);
    if (connection === undefined) {
      socket.destroy();
      return;
    }
    enqueue(connection, req, () => {
      const verdict = judge(req, connection.facts);
      const refusal = verdict.refusal ?? checkUpgrade(verdict.head);
      connections.delete(socket);
      if (verdict.head !== undefined && refusal === undefined) options.onUpgrade(verdict.head, socket, firstBytes);
      else refuseUpgrade(verdict.head ?? unreadable(req, connection.facts), refusal, socket);
    });
  });
  // Without a listener Node closes the connection; the method list of checkRequest would say 405 to it.
  server.on("connect", (req, socket) => {
    const connection = connections.get(socket);
    if (connection === undefined) {
      socket.destroy();
      return;
    }
    enqueue(connection, req, () => {
      connections.delete(socket);
      refuseUpgrade(unreadable(req, connection.facts), judge(req, connection.facts).refusal, socket);
    });
  });

  function refuseUpgrade(head: RequestHead, refusal: Refusal | undefined, socket: Duplex): void {
    const { status, code } = refusal ?? { status: 400, code: "GATEHOUSE_REQUEST_MALFORMED" as const };
    const exchange = new Exchange(context, head, { kind: "refuse", site: undefined, status, code });
    exchange.failed(code);
    exchange.status = status;
    sendRaw(socket, errorAnswer(status, { requestId: exchange.id, accept: valuesOf(head.headers, "accept")[0] }));
    exchange.end();
  }

  // Kept alive for nothing. While an answer is under way it is watchStall's timer.
  server.on("timeout", (socket) => {
    const connection = connections.get(socket);
    if (connection?.current !== undefined) return;
    if (!context.isLeaving()) context.limitReached("idle_time", connection?.facts.peerAddress ?? "");
    farewell(socket);
  });

  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    const connection = connections.get(socket);
    const status = statusOf(error.code);
    if (connection === undefined || status === undefined) {
      socket.destroy();
      return;
    }
    if (connection.isClosing) return;
    connection.isClosing = true;
    const limit = limitOfParser(error.code);
    if (limit !== undefined) context.limitReached(limit, connection.facts.peerAddress);
    const { current } = connection;
    const last = connection.waiting.at(-1);
    if (last !== undefined) {
      const { req } = last;
      // The fault is in the body of the last one: it is refused in its turn, because that body will never end.
      const refusal = judge(req, connection.facts).refusal ?? { status, ...MALFORMED_BODY };
      if (!req.complete) last.run = () => refuseUpgrade(unreadable(req, connection.facts), refusal, socket);
      return;
    }
    // What comes behind a whole request does not take its answer away (RFC 9112 §9.6).
    if (current === undefined) {
      const pages = { requestId: "-", accept: undefined };
      context.log.debug(
        { event: "request.malformed", code: error.code, client: connection.facts.peerAddress },
        "malformed request",
      );
      sendRaw(socket, errorAnswer(status, pages));
    } else if (!current.req.complete) {
      // A client that hangs up in its body said nothing wrong; the exchange learns from the close that it is gone.
      if (error.code === "HPE_INVALID_EOF_STATE") socket.destroy();
      else current.exchange.malformed(status);
    }
  });

  return {
    server,
    accept(socket, facts) {
      obey();
      connections.set(socket, { socket, facts, requests: 0, current: undefined, waiting: [], isClosing: false });
      socket.on("error", () => {});
      socket.once("close", () => connections.delete(socket));
      server.emit("connection", socket);
    },
    closeIdle: () => server.closeIdleConnections(),
    drain(idleMs) {
      longestIdleMs = idleMs;
      obey();
      const timer = setTimeout(() => {
        // Not closeIdleConnections(): Node counts a connection without its first request (a browser's spare one) as busy.
        for (const { socket, current, waiting } of connections.values()) {
          if (current === undefined && waiting.length === 0 && !socket.writableEnded) farewell(socket);
        }
      }, idleMs);
      timer.unref();
    },
    destroy() {
      for (const socket of connections.keys()) socket.destroy();
      // Never listening, it has nothing to close but its timer; the callback's complaint about that is expected.
      server.close(() => {});
    },
    openConnections: () => connections.size,
  };
}
