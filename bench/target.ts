/**
 * The machine behind the proxy: answers at once, so that it is never what is waited for.
 * Owns: GET /bytes/N (N bytes), POST (reads everything, then answers), WebSocket echo; started as a process.
 * Never: a real server. It reads just enough HTTP/1.1 for what well-behaved proxies send on loopback.
 */
import { createHash } from "node:crypto";
import { createServer, type Socket } from "node:net";
import { unmaskedEchoes } from "./websocket-frames.ts";

const HEAD_END = Buffer.from("\r\n\r\n");
const MAX_BYTES = 64_000_000;
const answers = new Map<string, Buffer>();

/** Head and body in one buffer, made once per size. */
function answerOf(size: string): Buffer {
  let answer = answers.get(size);
  if (answer === undefined) {
    const length = Math.min(Number(size), MAX_BYTES);
    answer = Buffer.concat([
      Buffer.from(
        `HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: ${length}\r\n` +
          `Cache-Control: no-cache\r\nDate: ${new Date().toUTCString()}\r\nServer: target\r\n\r\n`,
      ),
      Buffer.alloc(length, "Home is where the front door is. "),
    ]);
    answers.set(size, answer);
  }
  return answer;
}

const OK = Buffer.from("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok");

function serve(socket: Socket): void {
  let waiting: Buffer | undefined;
  /** Bytes of a request body that have not come yet; -1 while a chunked one runs. */
  let bodyLeft = 0;
  let isWebSocket = false;
  socket.setNoDelay(true);
  socket.on("error", () => {});
  socket.on("data", (fresh: Buffer) => {
    let bytes = waiting === undefined ? fresh : Buffer.concat([waiting, fresh]);
    waiting = undefined;
    while (bytes.length > 0) {
      if (isWebSocket) {
        const { echoes, rest } = unmaskedEchoes(bytes);
        if (echoes.length > 0) socket.write(echoes);
        waiting = rest.length > 0 ? rest : undefined;
        return;
      }
      if (bodyLeft > 0) {
        const taken = Math.min(bodyLeft, bytes.length);
        bodyLeft -= taken;
        bytes = bytes.subarray(taken);
        if (bodyLeft === 0) socket.write(OK);
        continue;
      }
      if (bodyLeft === -1) {
        // The chunks hold no CRLF of their own: the bench sends letters.
        if (bytes.indexOf("0\r\n\r\n") === -1) {
          waiting = Buffer.from(bytes.subarray(-6));
          return;
        }
        bodyLeft = 0;
        socket.write(OK);
        return;
      }
      const end = bytes.indexOf(HEAD_END);
      if (end === -1) {
        waiting = bytes;
        return;
      }
      const head = bytes.toString("latin1", 0, end + 2);
      bytes = bytes.subarray(end + 4);
      if (head.startsWith("GET ")) {
        const key = /\r\nsec-websocket-key: *(\S+)\r\n/i.exec(head)?.[1];
        if (key === undefined) socket.write(answerOf(/^GET \/bytes\/(\d{1,9})/.exec(head)?.[1] ?? "0"));
        else {
          isWebSocket = true;
          socket.write(switching(key));
        }
        continue;
      }
      const length = Number(/\r\ncontent-length: *(\d+)\r\n/i.exec(head)?.[1] ?? 0);
      bodyLeft = /\r\ntransfer-encoding: *chunked\r\n/i.test(head) ? -1 : length;
      if (bodyLeft === 0) socket.write(OK);
    }
  });
}

/** RFC 6455 §4.2.2 */
function switching(key: string): string {
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`;
}

createServer(serve).listen(Number(process.argv[2] ?? 0), "127.0.0.1");
