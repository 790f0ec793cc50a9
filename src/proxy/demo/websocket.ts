/**
 * What does an honest WebSocket echo say?
 * Owns: RFC 6455 on the server's side, as much as an echo needs: text, binary, fragments, ping, close, bounds.
 * Never: extensions or subprotocols.
 */
import { createHash } from "node:crypto";
import type { Duplex } from "node:stream";

/** One message, fragments joined. */
const MAX_MESSAGE = 4 * 1_048_576;
/** A message in more fragments than this is a game. */
const MAX_FRAGMENTS = 4_096;

const CONTINUATION = 0x0;
const TEXT = 0x1;
const BINARY = 0x2;
const CLOSE = 0x8;
const PING = 0x9;
const PONG = 0xa;

function acceptKey(key: string): string {
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
}

/** Answers the handshake on `socket` and echoes until one side closes. */
export function echoWebSocket(socket: Duplex, key: string, firstBytes: Buffer): void {
  let unread = firstBytes;
  let message: Buffer[] = [];
  let messageBytes = 0;
  let messageType = 0;
  let isClosed = false;

  const send = (opcode: number, payload: Buffer) => {
    // Backpressure: what the peer does not take, we do not ask for more of.
    if (!socket.write(Buffer.concat([frameHead(opcode, payload.length), payload]))) {
      socket.pause();
      socket.once("drain", () => socket.resume());
    }
  };
  const close = (code: number) => {
    if (isClosed) return;
    isClosed = true;
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE(code);
    send(CLOSE, payload);
    socket.end();
  };

  function handle(frame: Frame): void {
    const { opcode, payload, isLast } = frame;
    if (opcode >= CLOSE) {
      // Control frames are whole and short (§5.5).
      if (!isLast || payload.length > 125) close(1002);
      else if (opcode === PING) send(PONG, payload);
      else if (opcode === CLOSE) {
        if (payload.length === 1) close(1002);
        else close(payload.length >= 2 ? validCode(payload.readUInt16BE(0)) : 1000);
      } else if (opcode !== PONG) close(1002);
      return;
    }
    const isContinuation = opcode === CONTINUATION;
    if (isContinuation !== message.length > 0 || opcode > BINARY) {
      close(1002);
      return;
    }
    if (!isContinuation) messageType = opcode;
    message.push(payload);
    messageBytes += payload.length;
    if (messageBytes > MAX_MESSAGE || message.length > MAX_FRAGMENTS) {
      close(1009);
      return;
    }
    if (!isLast) return;
    const whole = Buffer.concat(message);
    message = [];
    messageBytes = 0;
    if (messageType === TEXT && !isUtf8(whole)) close(1007);
    else send(messageType, whole);
  }

  function read(chunk: Buffer): void {
    if (isClosed) return;
    unread = unread.length === 0 ? chunk : Buffer.concat([unread, chunk]);
    for (;;) {
      const frame = parseFrame(unread);
      if (frame === undefined || isClosed) return;
      if (typeof frame === "number") {
        close(frame);
        return;
      }
      unread = unread.subarray(frame.size);
      handle(frame);
    }
  }

  socket.on("error", () => {});
  socket.on("end", () => socket.end());
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${acceptKey(key)}\r\n\r\n`,
  );
  socket.on("data", read);
  if (unread.length > 0) read(Buffer.alloc(0));
}

interface Frame {
  opcode: number;
  payload: Buffer;
  isLast: boolean;
  size: number;
}

/** One frame, undefined when more bytes are needed, or a close code. */
function parseFrame(bytes: Buffer): Frame | number | undefined {
  if (bytes.length < 2) return undefined;
  const [first = 0, second = 0] = bytes;
  // No extension was agreed on, and every client masks (§5.1).
  if ((first & 0x70) !== 0 || (second & 0x80) === 0) return 1002;
  let length = second & 0x7f;
  let at = 2;
  if (length === 126) {
    if (bytes.length < 4) return undefined;
    length = bytes.readUInt16BE(2);
    at = 4;
  } else if (length === 127) {
    if (bytes.length < 10) return undefined;
    const long = bytes.readBigUInt64BE(2);
    if (long > BigInt(MAX_MESSAGE)) return 1009;
    length = Number(long);
    at = 10;
  }
  if (length > MAX_MESSAGE) return 1009;
  if (bytes.length < at + 4 + length) return undefined;
  const mask = bytes.subarray(at, at + 4);
  const payload = Buffer.from(bytes.subarray(at + 4, at + 4 + length));
  for (let i = 0; i < payload.length; i++) payload[i] = (payload[i] ?? 0) ^ (mask[i & 3] ?? 0);
  return { opcode: first & 0x0f, payload, isLast: (first & 0x80) !== 0, size: at + 4 + length };
}

function frameHead(opcode: number, length: number): Buffer {
  if (length < 126) return Buffer.from([0x80 | opcode, length]);
  if (length < 65_536) return Buffer.from([0x80 | opcode, 126, length >> 8, length & 0xff]);
  const head = Buffer.alloc(10);
  head[0] = 0x80 | opcode;
  head[1] = 127;
  head.writeBigUInt64BE(BigInt(length), 2);
  return head;
}

/** §7.4: what may stand on the wire; anything else is answered as a protocol error. */
function validCode(code: number): number {
  const isKnown =
    (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code <= 4999);
  return isKnown ? code : 1002;
}

function isUtf8(bytes: Buffer): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}
