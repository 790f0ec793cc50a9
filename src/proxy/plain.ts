/**
 * What is said on the plain port?
 * Owns: ACME challenges before every other rule, then the way to HTTPS for names that are ours, 404 for the rest.
 * Never: forwards a request, or repeats what a client wrote as a host.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { errorText } from "../core/errors.ts";
import type { LimitName } from "../observe/limit-names.ts";
import type { LaneContext } from "./exchange.ts";
import { limitOfParser } from "./limits.ts";
import { checkRequest, type ConnectionFacts } from "./lanes/check-request.ts";
import { farewell as endGently } from "./lanes/farewell.ts";
import { Exchange } from "./exchange.ts";
import { createFewAMinute } from "./few-a-minute.ts";
import { errorAnswer, type LocalAnswer, redirectAnswer } from "./responses.ts";
import type { RequestHead } from "./rules/request-head.ts";
import { normaliseHost } from "./rules/routes.ts";

export interface PlainOptions {
  context: LaneContext;
  answerChallenge(host: string, token: string): Promise<string | undefined>;
  /** The port that the TLS listener waits on, for clients that reach us without a router between; 443 is not written. */
  httpsPort(): number;
}

export interface PlainLane {
  accept(socket: Duplex, facts: ConnectionFacts): void;
  /** See the lanes. */
  drain(idleMs: number): void;
  destroy(): void;
}

const CHALLENGES = "/.well-known/acme-challenge/";
/** RFC 8555 §8.3: base64url. Let's Encrypt's have 43 characters. */
const TOKEN = /^[A-Za-z0-9_-]{1,128}$/;
/** Storage may be slow or gone; a validating CA waits about 10 s. */
const CHALLENGE_MS = 8_000;
/** Bodies are not wanted, so this is enough for a whole request. */
const REQUEST_MS = 15_000;
/** Who was redirected goes to the other port, and does not come back to this one. */
const MAX_KEEP_ALIVE_MS = 5_000;
const CHECK_EVERY_MS = 1_000;
const MAX_REQUESTS = 100;

/** Lines a minute. A CA looks from five places for each name; whoever else asks is a stranger who may do so for ever. */
const KNOWN_A_MINUTE = 60;
const STRANGE_A_MINUTE = 5;

const FAREWELLS: Partial<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: "431 Request Header Fields Too Large",
  ERR_HTTP_REQUEST_TIMEOUT: "408 Request Timeout",
};

export function createPlainLane({ context, answerChallenge, httpsPort }: PlainOptions): PlainLane {
  const sockets = new Map<Duplex, ConnectionFacts>();
  /** With a request under way. */
  const answering = new Set<Duplex>();
  /** What came behind the request under way was no HTTP: its answer is the last. */
  const ending = new WeakSet<Duplex>();
  const knownAsked = createFewAMinute(KNOWN_A_MINUTE);
  const unknownAsked = createFewAMinute(STRANGE_A_MINUTE);
  const failed = createFewAMinute(STRANGE_A_MINUTE);
  let longestIdleMs = MAX_KEEP_ALIVE_MS;
  const server = createServer({
    insecureHTTPParser: false,
    // Challenges are answered whatever Host says; the rest is checked below.
    requireHostHeader: false,
    requestTimeout: REQUEST_MS,
    connectionsCheckingInterval: CHECK_EVERY_MS,
    // Nothing is upgraded here; without this Node would hand the socket to a listener that is not there.
    shouldUpgradeCallback: () => false,
  });
  obey();
  // Never listening; this event starts the check for slow requests.
  server.emit("listening");

  server.on("request", (req, res) => {
    req.on("error", () => {});
    res.on("error", () => {});
    const facts = sockets.get(req.socket);
    answering.add(req.socket);
    res.once("close", () => {
      answering.delete(req.socket);
      if (ending.has(req.socket)) req.socket.destroySoon();
    });
    const token = tokenOf(req.url ?? "");
    if (facts === undefined) req.socket.destroy();
    else if (token === undefined) redirect(req, res, facts);
    else void challenge(req, res, token);
  });
  server.on("connect", (_req, socket) => farewell(socket, "405 Method Not Allowed"));
  // No body is wanted here, so nobody is told to continue (RFC 9110 §10.1.1 allows the final answer instead).
  for (const event of ["checkContinue", "checkExpectation"])
    server.on(event, (req: IncomingMessage, res: ServerResponse) => server.emit("request", req, res));
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    const limit = limitOfParser(error.code);
    if (limit !== undefined) counted(limit)(socket);
    farewell(socket, FAREWELLS[error.code ?? ""] ?? "400 Bad Request");
  });

  const counted = (limit: LimitName) => (socket: Duplex) =>
    context.limitReached(limit, sockets.get(socket)?.peerAddress ?? "");
  server.on("timeout", (socket) => {
    if (!context.isLeaving()) counted("idle_time")(socket);
    endGently(socket);
  });
  server.on("dropRequest", (_req, socket) => counted("requests_per_connection")(socket));

  /** Never a second answer to one request, nor one after `Connection: close` (RFC 9112 §9.6). */
  function farewell(socket: Duplex, status: string): void {
    if (answering.has(socket)) ending.add(socket);
    else if (socket.writable && !socket.destroyed)
      socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
    else socket.destroy();
  }

  /** Node asks the server for these at each connection or request. */
  function obey(): void {
    const limits = context.limits();
    // The first is not in the types.
    Object.assign(server, { maxHeaderSize: limits.headSize });
    server.headersTimeout = Math.min(limits.headMs, REQUEST_MS);
    server.keepAliveTimeout = Math.min(limits.idleMs, longestIdleMs);
    server.maxHeadersCount = 2 * limits.headFields;
    server.maxRequestsPerSocket = Math.min(limits.requestsPerConnection, MAX_REQUESTS);
  }

  async function challenge(req: IncomingMessage, res: ServerResponse, token: string): Promise<void> {
    if (req.method !== "GET" && req.method !== "HEAD") {
      res.writeHead(405, { allow: "GET, HEAD", "content-length": 0, connection: "close" }).end();
      return;
    }
    const host = normaliseHost(req.headers.host ?? "") ?? "";
    const authorization = TOKEN.test(token) ? await soon(answerChallenge(host, token)) : undefined;
    if (res.destroyed) return;
    const known = authorization !== undefined;
    const unsaid = (known ? knownAsked : unknownAsked).mayI();
    if (unsaid !== undefined) {
      const event = "acme.challenge_asked";
      context.log.info({ event, host, client: req.socket.remoteAddress, known, unsaid }, "ACME challenge asked for");
    }
    if (authorization === undefined) {
      send(req, res, errorAnswer(404, { requestId: "-", accept: req.headers.accept }));
      return;
    }
    const body = Buffer.from(authorization);
    // RFC 8555 §8.3: the type is up to us; octet-stream is what its example says.
    const headers = ["content-type", "application/octet-stream", "content-length", String(body.length)];
    send(req, res, { status: 200, headers, body });
  }

  async function soon(answer: Promise<string | undefined>): Promise<string | undefined> {
    let timer: NodeJS.Timeout | undefined;
    try {
      const late = new Promise<undefined>((resolve) => {
        timer = setTimeout(() => resolve(undefined), CHALLENGE_MS);
      });
      return await Promise.race([answer, late]);
    } catch (error) {
      const unsaid = failed.mayI();
      if (unsaid !== undefined) {
        const reason = errorText(error);
        context.log.error({ event: "acme.challenge_failed", reason, unsaid }, "ACME challenge could not be looked up");
      }
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }

  function redirect(req: IncomingMessage, res: ServerResponse, facts: ConnectionFacts): void {
    const { head, refusal } = checkRequest(req, facts, context.limits());
    if (head === undefined) {
      if (refusal.limit !== undefined) context.limitReached(refusal.limit, facts.peerAddress);
      send(req, res, errorAnswer(refusal.status, { requestId: "-", accept: req.headers.accept }));
      return;
    }
    const site = context.rules().routes.site(head.host);
    // Who names no port came in on 80, so the router forwards 443 as well, whatever port we wait on behind it; who
    // names one stands before us without a router between.
    const port = /:\d+$/.test(head.authority) ? httpsPort() : 443;
    // `head.host` went through the strict grammar and belongs to a site: the name as configured, or below its star.
    const location = `https://${head.host}${port === 443 ? "" : `:${port}`}${head.target}`;
    const isKnown = site !== undefined && head.target !== "*";
    const exchange = new Exchange(
      context,
      head,
      isKnown
        ? { kind: "redirect", site, status: 308, location }
        : { kind: "refuse", site, status: 404, code: "GATEHOUSE_REQUEST_REFUSED" },
    );
    const answer = isKnown
      ? redirectAnswer(308, location)
      : errorAnswer(404, { requestId: exchange.id, accept: req.headers.accept });
    if (!isKnown) exchange.failed("GATEHOUSE_REQUEST_REFUSED");
    exchange.status = answer.status;
    exchange.bytesOut = head.method === "HEAD" ? 0 : answer.body.length;
    res.once("close", () => {
      if (!res.writableFinished) exchange.failed("GATEHOUSE_CLIENT_GONE");
      exchange.end();
    });
    send(req, res, answer, head);
  }

  function send(req: IncomingMessage, res: ServerResponse, answer: LocalAnswer, head?: RequestHead): void {
    // Whatever body there is stays unread: such a connection ends (RFC 9112 §9.3). Node reads on for a moment.
    const ends = context.isLeaving() || head === undefined || head.body !== "none";
    res.writeHead(answer.status, [...answer.headers, ...(ends ? ["connection", "close"] : [])]);
    res.end(req.method === "HEAD" ? undefined : answer.body);
  }

  return {
    accept(socket, facts) {
      obey();
      sockets.set(socket, facts);
      socket.on("error", () => {});
      socket.once("close", () => {
        sockets.delete(socket);
        answering.delete(socket);
      });
      server.emit("connection", socket);
    },
    drain(idleMs) {
      longestIdleMs = Math.min(longestIdleMs, idleMs);
      obey();
      const timer = setTimeout(() => {
        // Not closeIdleConnections(): Node counts a connection without its first request (a browser's spare one) as busy.
        for (const socket of sockets.keys()) if (!answering.has(socket)) endGently(socket);
      }, longestIdleMs);
      timer.unref();
    },
    destroy() {
      for (const socket of sockets.keys()) socket.destroy();
      // Stops the check; it has never listened, and says so.
      server.close(() => {});
    },
  };
}

/** The token of a challenge path, in origin-form or absolute-form; undefined for any other path. */
function tokenOf(url: string): string | undefined {
  const path = /^http:\/\/[^/?#]*(\/[^]*)$/i.exec(url)?.[1] ?? url;
  if (!path.startsWith(CHALLENGES)) return undefined;
  return path.slice(CHALLENGES.length).split("?", 1)[0];
}
