/**
 * Is this HTTP/2 session still worth having?
 * Owns: its open streams, its idle end, how often its client changed its mind, and what it sends beside requests.
 * Never: reads a request.
 */
import { constants, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { LimitsConfig } from "../../config/model.ts";
import type { LimitName } from "../../observe/limit-names.ts";
import { cutStream } from "./h2-answer.ts";

export interface SessionBounds {
  opened(): void;
  closed(stream: ServerHttp2Stream): void;
  /** So many bytes of what came were a request or a piece of a body, and paid for their frame. */
  earned(bytes: number): void;
  /** From now on the client has to take what is written, or… */
  owed(stream: ServerHttp2Stream): void;
  /** It did. A stream that closes has paid. */
  paid(stream: ServerHttp2Stream): void;
}

export interface SessionWatch {
  bound(session: ServerHttp2Session, socket: Socket, limits: LimitsConfig): SessionBounds;
}

/** After GOAWAY: what an idle client needs to close its end. */
const LAST_WORDS_MS = 1_000;
const WINDOW_MS = 10_000;
/** A flood of 100 MB/s is seen after a fraction of what one second of it costs. */
const LOOK_EVERY_MS = 250;
/** What a request or a piece of a body may have around it: frame heads, and a window update or two. */
const AROUND = 64;
/**
 * A reader opens its window again when half of it is used: two updates of 13 bytes for 32 KiB, or with the eager Go
 * client for 4 KiB. So one byte in this many that we sent may come back as an update.
 */
const SENT_PER_UPDATE_BYTE = 64;

/** nghttp2's number for more than eight CONTINUATION frames behind one HEADERS. */
const TOO_MANY_CONTINUATIONS = -905;

/** One for all sessions of a lane, so that they share a timer. */
export function createSessionWatch(reached: (limit: LimitName, socket: Socket) => void): SessionWatch {
  const open = new Set<Bounds>();
  let timer: NodeJS.Timeout | undefined;

  return {
    bound(session, socket, limits) {
      const bounds = new Bounds(session, socket, limits, reached);
      open.add(bounds);
      timer ??= setInterval(() => {
        for (const one of open) one.look();
      }, LOOK_EVERY_MS).unref();
      session.once("close", () => {
        bounds.over();
        open.delete(bounds);
        if (open.size > 0) return;
        clearInterval(timer);
        timer = undefined;
      });
      return bounds;
    },
  };
}

class Bounds implements SessionBounds {
  readonly #session: ServerHttp2Session;
  readonly #socket: Socket;
  readonly #limits: LimitsConfig["h2"];
  readonly #reached: (limit: LimitName, socket: Socket) => void;
  #open = 0;
  #resets = 0;
  #windowEndsAt = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Bytes. `surplus`: what came without being worth it, less what may. */
  #earned = 0;
  #balance = 0;
  #surplus = 0;
  #lookedAt = performance.now();
  /** Streams whose client does not read, since when; the oldest first. */
  readonly #owing = new Map<ServerHttp2Stream, number>();
  readonly #stallMs: number;

  constructor(
    session: ServerHttp2Session,
    socket: Socket,
    { h2: limits, writeStallMs }: LimitsConfig,
    reached: (limit: LimitName, socket: Socket) => void,
  ) {
    this.#session = session;
    this.#socket = socket;
    this.#limits = limits;
    this.#stallMs = writeStallMs;
    this.#reached = reached;
    // From the start on: after ALPN a client may send no preface at all.
    this.#timer = setTimeout(this.#sayGoodbye, limits.idleMs);
    // HTTP/2 has no half-closed connections: who ends one direction has left.
    socket.once("end", () => {
      this.#cutSoon();
      session.destroy();
    });
    session.on("error", (error: NodeJS.ErrnoException) => {
      this.#cutSoon();
      // nghttp2 found a flood or a frame that breaks the protocol, and has said GOAWAY.
      if (error.code?.startsWith("ERR_HTTP2_") !== true) return;
      reached(error.errno === TOO_MANY_CONTINUATIONS ? "h2_head" : "h2_frames", socket);
    });
  }

  readonly #sayGoodbye = (): void => {
    if (this.#session.destroyed) return;
    this.#reached("h2_idle_time", this.#socket);
    this.#session.close();
    this.#cutSoon();
  };

  /** A session that Node closes or destroys waits for its socket to take all of it, and a deaf peer never does. */
  #cutSoon(): void {
    clearTimeout(this.#timer);
    if (this.#socket.destroyed) return;
    this.#timer = setTimeout(() => this.#socket.destroy(), LAST_WORDS_MS);
  }

  #end(limit: LimitName): void {
    this.#reached(limit, this.#socket);
    this.#cutSoon();
    // With an error: without one Node takes the code for none and says NO_ERROR.
    this.#session.destroy(new Error(limit), constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  opened(): void {
    if (this.#open++ === 0) clearTimeout(this.#timer);
  }

  closed(stream: ServerHttp2Stream): void {
    this.#owing.delete(stream);
    const { rstCode: code, aborted } = stream;
    // A malformed request counts too: it costs us work for nothing (CVE-2025-8671). Only what follows from a failing
    // target is not the client's doing.
    if (aborted || (code !== constants.NGHTTP2_NO_ERROR && code !== constants.NGHTTP2_INTERNAL_ERROR)) this.#wasted();
    if (--this.#open === 0 && !this.#session.destroyed) {
      this.#timer = setTimeout(this.#sayGoodbye, this.#limits.idleMs);
    }
  }

  earned(bytes: number): void {
    this.#earned += bytes + AROUND;
  }

  owed(stream: ServerHttp2Stream): void {
    if (!stream.destroyed) this.#owing.set(stream, performance.now());
  }

  paid(stream: ServerHttp2Stream): void {
    this.#owing.delete(stream);
  }

  /** CVE-2023-44487. A photo page scrolled fast resets some tens of streams in a second. */
  #wasted(): void {
    const now = performance.now();
    if (now >= this.#windowEndsAt) {
      this.#windowEndsAt = now + WINDOW_MS;
      this.#resets = 0;
    }
    if (++this.#resets >= this.#limits.resets && !this.#session.destroyed) this.#end("h2_resets");
  }

  /**
   * PING, SETTINGS, PRIORITY, WINDOW_UPDATE, padding, unknown frames, heads that were never a request: whatever it is, it
   * came as bytes that nothing was earned for. Counting those lost nothing against a count of frames, which Node does not
   * tell of.
   */
  look(): void {
    const now = performance.now();
    const balance = this.#socket.bytesRead - this.#earned - this.#socket.bytesWritten / SENT_PER_UPDATE_BYTE;
    const allowed = ((now - this.#lookedAt) / WINDOW_MS) * this.#limits.overhead;
    this.#surplus = Math.max(0, this.#surplus + balance - this.#balance - allowed);
    this.#balance = balance;
    this.#lookedAt = now;
    if (this.#surplus > this.#limits.overhead && !this.#session.destroyed) this.#end("h2_frames");
    // One write is at most 64 KiB, so a reader of 1 KB/s stays; a film that was paused comes back with a Range request.
    for (const [stream, since] of this.#owing) {
      if (now - since < this.#stallMs) break;
      this.#owing.delete(stream);
      this.#reached("write_stall", this.#socket);
      cutStream(stream);
    }
  }

  over(): void {
    clearTimeout(this.#timer);
  }
}
