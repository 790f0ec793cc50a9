/**
 * Does the process live, is it ready, and where is that asked?
 * Owns: /healthz, /readyz and /metrics on a listener of their own, with bounds and deadlines.
 * Never: decides readiness (it is told), or shows anything that a stranger may change.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { hostname } from "node:os";
import { listenFailure } from "../core/listen-failure.ts";
import { isOwnHost } from "./own-host.ts";
import type { Logger } from "./log.ts";
import type { Metrics } from "./metrics.ts";

export interface Readiness {
  /** All listeners of the configuration are open. */
  isListening: boolean;
  /** A configuration was taken. */
  isConfigured: boolean;
  /** On the way out: no new requests, please. */
  isDraining: boolean;
}

export interface ObserveServer {
  /** What is really listened on (port 0 resolved). @throws GATEHOUSE_PORT_IN_USE, _FORBIDDEN, GATEHOUSE_LISTEN_FAILED */
  listen(address: { host: string | undefined; port: number } | { fd: number }): Promise<{ host: string; port: number }>;
  /** Idempotent. */
  close(): Promise<void>;
}

/** A few scrapers, a load balancer's checks, a person: more is somebody who tries what happens. */
const MAX_CONNECTIONS = 64;
const MAX_HEADER_BYTES = 8_192;
const HEAD_WITHIN_MS = 5_000;
/** The whole request; none of them has a body. */
const REQUEST_WITHIN_MS = 10_000;
/** Prometheus asks every 15 to 60 s and likes to keep its connection. */
const KEEP_ALIVE_MS = 75_000;
/** An answer that its reader does not take. */
const SOCKET_IDLE_MS = 90_000;

export function createObserveServer(options: {
  metrics: Pick<Metrics, "scrape">;
  readiness: () => Readiness;
  log?: Logger;
}): ObserveServer {
  const { metrics, readiness, log } = options;
  const ownName = hostname().toLowerCase();
  let isOpen = false;

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("allow", "GET, HEAD");
      say(response, 405, "only GET and HEAD\n");
      return;
    }
    if (!isOwnHost(request.headers.host, ownName)) {
      say(response, 421, "ask by address, by localhost or by this machine's name\n");
      return;
    }
    const path = (request.url ?? "").split("?", 1)[0];
    if (path === "/metrics") {
      const { contentType, body } = await metrics.scrape();
      say(response, 200, body, contentType);
    } else if (path === "/healthz") {
      say(response, 200, "ok\n");
    } else if (path === "/readyz") {
      const missing = whatIsMissing(readiness());
      if (missing === undefined) say(response, 200, "ready\n");
      else say(response, 503, `not ready: ${missing}\n`);
    } else {
      say(response, 404, "there are /metrics, /healthz and /readyz\n");
    }
  };

  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: HEAD_WITHIN_MS,
      requestTimeout: REQUEST_WITHIN_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: HEAD_WITHIN_MS,
    },
    (request, response) => {
      // The parser's own body limit would be the client's patience: nothing here takes a body.
      request.resume();
      request.on("error", () => {});
      response.on("error", () => {});
      answer(request, response).catch((error: unknown) => {
        log?.warn({ event: "observe.failed", err: error }, "a request for metrics or health failed");
        if (!response.headersSent) say(response, 500, "failed; the log says why\n");
        else response.destroy();
      });
    },
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.setTimeout(SOCKET_IDLE_MS);
  server.on("connection", (socket) => socket.on("error", () => {}));
  server.on("clientError", (_error, socket) => socket.destroy());
  server.on("error", (error) => {
    if (isOpen) log?.warn({ event: "observe.listener_failed", err: error }, "the metrics listener reports an error");
  });

  return {
    async listen(address) {
      const bound = await listen(server, address);
      isOpen = true;
      return bound;
    },
    close: () =>
      new Promise((resolve) => {
        // Also called when it never listened.
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function whatIsMissing(facts: Readiness): string | undefined {
  if (facts.isDraining) return "draining";
  if (!facts.isConfigured) return "no configuration yet";
  if (!facts.isListening) return "not listening yet";
  return undefined;
}

function say(response: ServerResponse, status: number, body: string, contentType = "text/plain; charset=utf-8"): void {
  response.writeHead(status, {
    "content-type": contentType,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  // Node leaves the body out for HEAD.
  response.end(body);
}

function listen(
  server: Server,
  address: { host: string | undefined; port: number } | { fd: number },
): Promise<{ host: string; port: number }> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => reject(listenFailure(error, address, "metrics.listen"));
    server.once("error", onError);
    const where =
      "fd" in address
        ? { fd: address.fd }
        : { port: address.port, ...(address.host === undefined ? {} : { host: address.host }) };
    server.listen(where, () => {
      server.off("error", onError);
      const bound = server.address();
      resolve(typeof bound === "object" && bound !== null ? { host: bound.address, port: bound.port } : NOWHERE);
    });
  });
}

/** A socket of systemd that is no TCP socket has no port to tell. */
const NOWHERE = { host: "", port: 0 };
