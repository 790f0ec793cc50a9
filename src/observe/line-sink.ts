/**
 * How do lines reach standard output without ever holding up a request?
 * Owns: what waits for the descriptor, its bound, and what happens when the reader stalls, leaves or runs out of disk.
 * Never: knows what a line says.
 *
 * Two losers. sonic-boom's synchronous kind (pino's default) sleeps 100 ms at a time on a full pipe. Its asynchronous kind
 * never returns from the flush at exit when the disk is full or the reader is gone (4.2.1: every error but EAGAIN is
 * tried again for ever), so a stop would hang; and it measures its whole buffer again for each line.
 */
import { fstatSync, write, writeSync } from "node:fs";
import type { DestinationStream } from "pino";

export interface LineSink extends DestinationStream {
  /** Calls back when everything given so far was written or given up; pino's `logger.flush` comes here. */
  flush(done: () => void): void;
  /** Lines that nobody will read, since the start. */
  dropped(): number;
}

/** UTF-16 units. What waits for a reader that stalls; past it lines are dropped, not requests. */
const MAX_WAITING = 8_000_000;
/** A non-blocking pipe that is full says EAGAIN; there is no event for "writable" on a bare descriptor. */
const RETRY_MS = 25;
/**
 * Lines of so long go out together. A write through the thread pool costs 20 to 40 µs, whatever is in it: one per turn of
 * the loop was a tenth of a small request. Who reads along does not see it, and a stop or a crash writes what waits.
 */
const GATHER_MS = 10;
/**
 * Bytes of one write that stay together, whoever else writes. To a file all: Linux locks the file, and the offset where it
 * is shared. To a Unix socket (journald) what it puts into one buffer (net/unix/af_unix.c: 32 KiB and more). To a pipe what
 * POSIX promises (write, PIPE_BUF); the same to whatever else there is. Small pieces are dear: with all of them 4,096,
 * two busy workers spent a quarter of each request on going to the thread pool and back.
 */
const UNTORN = { file: Infinity, socket: 32_768, other: 4_096 } as const;
const NEWLINE = 0x0a;
/** Last lines are worth this much of a stop and no more. */
const EXIT_WITHIN_MS = 500;

const isFull = (error: NodeJS.ErrnoException): boolean => error.code === "EAGAIN" || error.code === "EBUSY";

/** `isShared`: other processes write there, too, so whole lines go in pieces that the kernel does not tear. */
export function createLineSink(fd: number, { isShared } = { isShared: false }): LineSink {
  const untorn = isShared ? untornBytes(fd) : Infinity;
  let waiting = "";
  let dropped = 0;
  /** Of these, what the log has said itself. */
  let told = 0;
  let isWriting = false;
  let timer: NodeJS.Timeout | undefined;
  let isGone = false;
  let flushed: (() => void)[] = [];

  const settle = (): void => {
    const calls = flushed;
    flushed = [];
    for (const call of calls) call();
  };

  const start = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (isWriting) return;
    if (waiting === "") {
      settle();
      return;
    }
    const bytes = Buffer.from(waiting);
    waiting = "";
    isWriting = true;
    put(bytes);
  };

  const gather = (): void => {
    timer ??= setTimeout(start, GATHER_MS);
  };

  const put = (bytes: Buffer): void => {
    write(fd, wholeLines(bytes, untorn), (error, count) => {
      if (error !== null && isFull(error)) {
        setTimeout(put, RETRY_MS, bytes);
        return;
      }
      if (error === null && count < bytes.length) {
        put(bytes.subarray(count));
        return;
      }
      isWriting = false;
      if (error === null) noteDropped();
      else failed(error, bytes);
      if (waiting === "" || flushed.length > 0) start();
      else gather();
    });
  };

  const failed = (error: NodeJS.ErrnoException, bytes: Buffer): void => {
    dropped += linesIn(bytes);
    // A reader that left does not come back; a full disk may be tidied.
    if (error.code === "EPIPE" || error.code === "EBADF") {
      isGone = true;
      dropped += linesIn(Buffer.from(waiting));
      waiting = "";
    }
  };

  const noteDropped = (): void => {
    if (dropped === told) return;
    const count = dropped - told;
    told = dropped;
    waiting += `{"level":40,"time":${Date.now()},"event":"log.dropped","count":${count},"msg":"log lines were dropped"}\n`;
  };

  process.on("exit", () => {
    if (!isGone && waiting !== "") writeLast(fd, Buffer.from(waiting), { afterAnother: isWriting, untorn });
  });

  return {
    write(line) {
      if (isGone || waiting.length > MAX_WAITING) {
        dropped++;
        return;
      }
      waiting += line;
      if (!isWriting) gather();
    },
    flush(done) {
      flushed.push(done);
      if (!isWriting) start();
    },
    dropped: () => dropped,
  };
}

/** Only after a failure: what goes out is not read. */
function linesIn(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) count++;
  return count;
}

function untornBytes(fd: number): number {
  try {
    const kind = fstatSync(fd);
    return kind.isFile() ? UNTORN.file : kind.isSocket() ? UNTORN.socket : UNTORN.other;
  } catch {
    return UNTORN.other; // closed: the first write says so
  }
}

/** What fits into one untearable write and ends with a line; a line longer than that goes alone. */
function wholeLines(bytes: Buffer, untorn: number): Buffer {
  if (bytes.length <= untorn) return bytes;
  const end = bytes.lastIndexOf(NEWLINE, untorn - 1);
  const cut = (end < 0 ? bytes.indexOf(NEWLINE) : end) + 1;
  return cut === 0 ? bytes : bytes.subarray(0, cut);
}

/** In the exit handler nothing asynchronous runs any more, but the pool's threads do. */
function writeLast(fd: number, bytes: Buffer, how: { afterAnother: boolean; untorn: number }): void {
  const pause = (ms: number): void => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  };
  const deadline = Date.now() + EXIT_WITHIN_MS;
  if (how.afterAnother) pause(RETRY_MS);
  let rest = bytes;
  while (rest.length > 0 && Date.now() < deadline) {
    try {
      rest = rest.subarray(writeSync(fd, wholeLines(rest, how.untorn)));
    } catch (error) {
      if (!isFull(error as NodeJS.ErrnoException)) return;
      pause(RETRY_MS);
    }
  }
}
