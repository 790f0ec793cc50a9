/**
 * How does a target's refusal of an upgrade reach the client?
 * Owns: one answer, head and body, from raw connection to raw connection, framed afresh.
 * Never: parses a head or ends the client's connection; the upgrade does.
 */
import { STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import type { SiteConfig } from "../../config/model.ts";
import type { ErrorCode } from "../../core/errors.ts";
import { responseHeaders } from "../rules/headers.ts";
import { createBodyReader } from "./answer-body.ts";
import type { AnswerHead } from "./head.ts";

export interface Refusing {
  client: Duplex;
  target: Duplex;
  answer: AnswerHead;
  /** What came behind the head. */
  first: Buffer;
  site: SiteConfig;
  onBytes(bytes: number): void;
  /** All of it is written to the client. */
  onWhole(): void;
  onFailed(code: ErrorCode): void;
}

/** A client that takes nothing of an answer for this long is cut. */
export const STALL_MS = 60_000;

export function relayRefusal({ client, target, answer, first, site, onBytes, onWhole, onFailed }: Refusing): void {
  const { idleMs } = site.timeouts;
  const reader = createBodyReader(answer);
  // A body that ends with the target's connection gets an end of its own, so that a cut one is seen to be cut.
  const isChunked = answer.body === "chunked" || answer.body === "close";
  let isOver = false;
  let timer: NodeJS.Timeout | undefined;

  const over = (tell: () => void): void => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    client.off("drain", onDrain);
    tell();
  };
  const arm = (ms: number, code: ErrorCode): void => {
    clearTimeout(timer);
    timer = setTimeout(() => over(() => onFailed(code)), ms);
  };
  const whole = (): void =>
    over(() => {
      if (isChunked) client.write("0\r\n\r\n");
      onWhole();
    });
  const onDrain = (): void => {
    arm(idleMs, "GATEHOUSE_UPSTREAM_SLOW");
    target.resume();
  };

  function take(bytes: Buffer): void {
    if (isOver) return;
    let hasRoom = true;
    try {
      for (const piece of reader.read(bytes)) {
        onBytes(piece.length);
        if (isChunked) client.write(`${piece.length.toString(16)}\r\n`);
        hasRoom = client.write(piece);
        if (isChunked) hasRoom = client.write("\r\n");
      }
    } catch {
      over(() => onFailed("GATEHOUSE_UPSTREAM_GARBAGE"));
      return;
    }
    if (reader.isComplete) {
      whole();
    } else if (hasRoom) {
      arm(idleMs, "GATEHOUSE_UPSTREAM_SLOW");
    } else {
      target.pause();
      arm(STALL_MS, "GATEHOUSE_CLIENT_GONE");
    }
  }

  const headers = responseHeaders(answer.rawHeaders, site);
  if (answer.body === "length") headers.push("content-length", String(answer.contentLength));
  if (isChunked) headers.push("transfer-encoding", "chunked");
  headers.push("connection", "close");
  client.write(
    `HTTP/1.1 ${answer.status} ${STATUS_CODES[answer.status] ?? "Unknown"}\r\n${fieldLines(headers)}\r\n`,
    "latin1",
  );

  client.on("drain", onDrain);
  client.once("close", () => over(() => onFailed("GATEHOUSE_CLIENT_GONE")));
  target.on("data", take);
  target.once("end", () => {
    if (reader.endOfConnection()) whole();
    else over(() => onFailed("GATEHOUSE_UPSTREAM_RESET"));
  });
  target.once("close", () => over(() => onFailed("GATEHOUSE_UPSTREAM_RESET")));
  take(first);
  target.resume();
}

export function fieldLines(flat: readonly string[]): string {
  let text = "";
  for (let at = 0; at < flat.length; at += 2) text += `${flat[at]}: ${flat[at + 1]}\r\n`;
  return text;
}
