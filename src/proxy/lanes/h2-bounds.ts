/**
 * Is this HTTP/2 session still worth having?
 * Owns: its open streams, its idle end, and how often its client changed its mind.
 * Never: reads a request.
 */
import type { LimitsConfig } from "../../config/model.ts";
import { constants, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";

/** After GOAWAY: what an idle client needs to close its end. */
const LAST_WORDS_MS = 1_000;
const RESET_WINDOW_MS = 10_000;

export interface SessionBounds {
  opened(stream: ServerHttp2Stream): void;
}

export function boundSession(
  session: ServerHttp2Session,
  options: { limits: LimitsConfig["h2"]; abused(): void; cut(): void },
): SessionBounds {
  const { idleMs } = options.limits;
  let open = 0;
  let resets = 0;
  let windowEndsAt = 0;
  // From the start on: after ALPN a client may send no preface at all.
  let timer: NodeJS.Timeout | undefined = setTimeout(sayGoodbye, idleMs);

  function sayGoodbye(): void {
    if (session.destroyed) return;
    session.close();
    // After close() a destroy() of Node's waits for the socket to take all of it, and a deaf peer never does.
    timer = setTimeout(() => options.cut(), LAST_WORDS_MS);
  }

  function wasted(): void {
    const now = performance.now();
    if (now >= windowEndsAt) {
      windowEndsAt = now + RESET_WINDOW_MS;
      resets = 0;
    }
    if (++resets < options.limits.resets || session.destroyed) return;
    options.abused();
    session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  session.once("close", () => {
    clearTimeout(timer);
    timer = undefined;
  });

  return {
    opened(stream) {
      open++;
      clearTimeout(timer);
      let wasReset = false;
      stream.once("aborted", () => (wasReset = true));
      stream.once("close", () => {
        open--;
        const code = stream.rstCode;
        // A malformed request counts too: it costs us work for nothing (CVE-2025-8671). Only what follows from a
        // failing target is not the client's doing.
        if (wasReset || (code !== constants.NGHTTP2_NO_ERROR && code !== constants.NGHTTP2_INTERNAL_ERROR)) wasted();
        if (open === 0 && !session.destroyed) timer = setTimeout(sayGoodbye, idleMs);
      });
    },
  };
}
