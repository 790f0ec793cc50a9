/**
 * How does a target's refusal of an upgrade reach the client?
 * Owns: one answer, head and body, from a raw connection to whatever the client speaks, framed afresh.
 * Never: parses a head or ends the client's connection; the upgrade does.
 */
import type { Duplex } from "node:stream";
import type { SiteConfig } from "../../../config/model.ts";
import type { ErrorCode } from "../../../core/errors.ts";
import { responseHeaders } from "../../rules/headers.ts";
import { createBodyReader } from "../answer-body.ts";
import type { AnswerHead } from "../head.ts";
import type { UpgradeClient } from "./client.ts";

export interface Refusing {
  client: UpgradeClient;
  target: Duplex;
  answer: AnswerHead;
  /** What came behind the head. */
  first: Buffer;
  site: SiteConfig;
  onBytes(bytes: number): void;
  /** A client that takes nothing for this long (milliseconds) is cut. */
  stallMs: number;
  onStalled(): void;
  /** All of it is written to the client. */
  onWhole(): void;
  onFailed(code: ErrorCode): void;
}

export function relayRefusal(refusing: Refusing): void {
  const { client, target, answer, first, site, stallMs, onBytes, onWhole, onStalled, onFailed } = refusing;
  const { idleMs } = site.timeouts;
  const reader = createBodyReader(answer);
  const { stream } = client.end;
  let isOver = false;
  let timer: NodeJS.Timeout | undefined;

  const over = (tell: () => void): void => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    stream.off("drain", onDrain);
    tell();
  };
  const arm = (ms: number, late: () => void): void => {
    clearTimeout(timer);
    timer = setTimeout(() => over(late), ms);
  };
  const tooSlow = (): void => onFailed("GATEHOUSE_UPSTREAM_SLOW");
  const whole = (): void =>
    over(() => {
      client.whole();
      onWhole();
    });
  const onDrain = (): void => {
    arm(idleMs, tooSlow);
    target.resume();
  };

  function take(bytes: Buffer): void {
    if (isOver) return;
    let hasRoom = true;
    try {
      for (const piece of reader.read(bytes)) {
        onBytes(piece.length);
        hasRoom = client.piece(piece);
      }
    } catch {
      over(() => onFailed("GATEHOUSE_UPSTREAM_GARBAGE"));
      return;
    }
    if (reader.isComplete) {
      whole();
    } else if (hasRoom) {
      arm(idleMs, tooSlow);
    } else {
      target.pause();
      arm(stallMs, onStalled);
    }
  }

  client.begin(answer.status, responseHeaders(answer.rawHeaders, site), answer.body, answer.contentLength);
  stream.on("drain", onDrain);
  stream.once("close", () => over(() => onFailed("GATEHOUSE_CLIENT_GONE")));
  target.on("data", take);
  target.once("end", () => {
    if (reader.endOfConnection()) whole();
    else over(() => onFailed("GATEHOUSE_UPSTREAM_RESET"));
  });
  target.once("close", () => over(() => onFailed("GATEHOUSE_UPSTREAM_RESET")));
  take(first);
  target.resume();
}
