/**
 * How does an answer reach an HTTP/1.x client?
 * Owns: writing heads and bodies through node:http's response, the lingering close.
 * Never: decides what to answer.
 */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { SiteConfig } from "../../../config/model.ts";
import type { LocalAnswer } from "../../responses.ts";
import { relayedTrailers, responseHeaders } from "../../rules/headers.ts";
import { valuesOf } from "../../rules/request-head.ts";
import type { Deadlines } from "../../upstream/deadlines.ts";
import { lowerCased, pairs } from "../../rules/raw-headers.ts";
import { farewell } from "../farewell.ts";

/** An answer that comes before the body is in: read on for this long, so that no reset eats the answer. */
const LINGER_MS = 1_000;

/** How much of a body that nobody wants is read and dropped. */
export interface UnreadBound {
  bytes: number;
  onReached(): void;
}

/**
 * Ends the answer once the request is in, or read far enough. Closing with unread bytes makes the kernel send a reset,
 * and a reset can overtake the answer (RFC 9112 §9.6).
 */
export function endWhenRead(req: IncomingMessage, res: ServerResponse, isRead: boolean, unread: UnreadBound): void {
  if (isRead || req.destroyed) {
    res.end();
    return;
  }
  let left = unread.bytes;
  const done = () => {
    clearTimeout(timer);
    req.off("data", count);
    req.off("end", done);
    res.off("close", done);
    res.end();
  };
  const count = (chunk: Buffer) => {
    left -= chunk.length;
    if (left >= 0) return;
    unread.onReached();
    done();
  };
  const timer = setTimeout(done, LINGER_MS);
  req.on("data", count);
  req.once("end", done);
  res.once("close", done);
  req.resume();
}

/**
 * @param close   say `Connection: close`, and mean it
 * @param isRead  nothing of the request is still to come
 */
export function sendLocal(
  req: IncomingMessage,
  res: ServerResponse,
  answer: LocalAnswer,
  options: { close: boolean; isRead: boolean; unread: UnreadBound },
): void {
  const { close, isRead, unread } = options;
  res.writeHead(answer.status, [...answer.headers, ...(close ? ["connection", "close"] : [])]);
  if (req.method !== "HEAD" && answer.body.length > 0) res.write(answer.body);
  else res.flushHeaders();
  endWhenRead(req, res, isRead, unread);
}

/** The same answer on a bare socket, after an upgrade or a parser error took the response object away. */
export function sendRaw(socket: Duplex, answer: LocalAnswer): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const reason = STATUS_CODES[answer.status] ?? "Error";
  const lines = pairs(answer.headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = `HTTP/1.1 ${answer.status} ${reason}\r\n${lines.join("")}connection: close\r\n\r\n`;
  // Node's parser may have let go of the socket: what is dropped has no other reader.
  socket.on("data", () => {});
  farewell(socket, { last: Buffer.concat([Buffer.from(head, "latin1"), answer.body]) });
}

/** `res.setTimeout` is no use: Node re-arms it on writes into its own buffer. The socket's own timer sees real progress. */
export function watchStall(req: IncomingMessage, res: ServerResponse, withinMs: number, onStalled: () => void): void {
  const { socket } = req;
  if (!(socket instanceof Socket)) return;
  socket.setTimeout(withinMs);
  res.on("timeout", () => {
    if (res.writableLength > 0 || socket.writableLength > 0) {
      onStalled();
      socket.destroy();
    } else {
      socket.setTimeout(withinMs);
    }
  });
}

export interface Relay {
  res: ServerResponse;
  answer: IncomingMessage;
  site: SiteConfig;
  deadlines: Deadlines;
  close: boolean;
  onBytes(bytes: number): void;
  /** The whole answer came from the target (it may still be on its way to the client). */
  onWhole(): void;
  /** The answer broke off in the middle: the client's connection must not end as if it were whole. */
  onTruncated(): void;
}

/** Bytes. */
const CRUMB = 512;

/** Head at once, body as it comes and no faster than the client reads, trailers at the end. */
export function relayAnswer(relay: Relay): void {
  const { res, answer, deadlines } = relay;
  const status = answer.statusCode ?? 502;
  const headers = responseHeaders(answer.rawHeaders, relay.site);
  const length = valuesOf(lowerCased(answer.rawHeaders), "content-length")[0];
  if (length !== undefined && status !== 204) headers.push("content-length", length);
  if (relay.close) headers.push("connection", "close");
  const reason = answer.statusMessage ?? "";
  const isPlain = /^[\x20-\x7e]{1,100}$/.test(reason);
  res.writeHead(status, isPlain ? reason : (STATUS_CODES[status] ?? "Unknown"), headers);
  // One packet for head and first piece where they came together; otherwise the head does not wait for the body.
  setImmediate(() => {
    if (!res.destroyed && !res.writableEnded) res.flushHeaders();
  });

  let isOver = false;
  const onDrain = () => {
    deadlines.paused(false);
    answer.resume();
  };
  const over = (finish: () => void) => {
    if (isOver) return;
    isOver = true;
    res.off("drain", onDrain);
    finish();
  };
  const write = (piece: Buffer) => {
    if (res.write(piece)) return;
    answer.pause();
    deadlines.paused(true);
  };
  /** Of one read. Each alone would cost a write, and half a kilobyte while it waits (see compat/message). */
  let crumbs: Buffer[] = [];
  const sweep = () => {
    if (isOver || crumbs.length === 0) return;
    const pieces = crumbs;
    crumbs = [];
    write(Buffer.concat(pieces));
  };
  res.on("drain", onDrain);
  answer.on("data", (chunk: Buffer) => {
    if (isOver) return;
    deadlines.progress();
    relay.onBytes(chunk.length);
    if (chunk.length > CRUMB && crumbs.length === 0) write(chunk);
    else if (crumbs.push(chunk) === 1) setImmediate(sweep);
  });
  answer.once("end", () => {
    sweep();
    over(() => {
      if (!answer.complete) {
        relay.onTruncated();
        return;
      }
      const trailers = relayedTrailers(answer.rawTrailers);
      if (trailers.length > 0 && res.chunkedEncoding) {
        try {
          res.addTrailers(pairs(trailers));
        } catch {
          // Trailers are a courtesy; the body is whole without them.
        }
      }
      relay.onWhole();
    });
  });
  answer.once("close", () => over(relay.onTruncated));
}
