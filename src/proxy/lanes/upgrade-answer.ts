/**
 * How does a target's refusal of an upgrade reach the client?
 * Owns: one answer, head and body, from a raw connection to whatever the client speaks, framed afresh.
 * Never: parses a head or ends the client's connection; the upgrade does.
 */
import type { Duplex } from "node:stream";
import type { SiteConfig } from "../../config/model.ts";
import type { ErrorCode } from "../../core/errors.ts";
import { responseHeaders } from "../rules/headers.ts";
import { createBodyReader } from "./answer-body.ts";
import type { AnswerHead } from "./head.ts";
import { STALL_MS, type UpgradeClient } from "./upgrade-client.ts";

export interface Refusing {
  client: UpgradeClient;
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

export function relayRefusal({ client, target, answer, first, site, onBytes, onWhole, onFailed }: Refusing): void {
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
  const arm = (ms: number, code: ErrorCode): void => {
    clearTimeout(timer);
    timer = setTimeout(() => over(() => onFailed(code)), ms);
  };
  const whole = (): void =>
    over(() => {
      client.whole();
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
        hasRoom = client.piece(piece);
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
