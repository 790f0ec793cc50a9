/**
 * A target that writes down every byte it is sent and reads it by the letter of RFC 9112: what a strict server makes of it.
 */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import type { TestContext } from "node:test";

export interface SeenRequest {
  method: string;
  target: string;
  headers: [string, string][];
  framing: "none" | "length" | "chunked";
  body: string;
  trailers: [string, string][];
}

export interface RecordingTarget {
  port: number;
  requests: SeenRequest[];
  /** Messages that a strict reader refuses, and why. */
  malformed: string[];
  connections(): number;
  openConnections(): number;
}

type Answer = (request: SeenRequest, socket: Socket) => void;

const LINE = /^([A-Z-]+) (\S+) HTTP\/1\.1$/;
const FIELD = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?([\t\x20-\x7e\x80-\xff]*)$/;

/** Takes one whole message off the front; undefined when more bytes are needed; a string says what is wrong. */
function take(bytes: string): { request: SeenRequest; size: number } | string | undefined {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return /[^\x09\x0a\x0d\x20-\x7e\x80-\xff]/.test(bytes) ? "control byte" : undefined;
  const [line = "", ...lines] = bytes.slice(0, end).split("\r\n");
  const first = LINE.exec(line);
  if (first === null) return `request line ${JSON.stringify(line)}`;
  const headers: [string, string][] = [];
  for (const text of lines) {
    const field = FIELD.exec(text);
    if (field === null) return `field ${JSON.stringify(text)}`;
    headers.push([(field[1] ?? "").toLowerCase(), field[2] ?? ""]);
  }
  const all = (name: string) => headers.filter(([known]) => known === name).map(([, value]) => value);
  if (all("host").length !== 1) return "not one Host";
  const [lengths, encodings] = [all("content-length"), all("transfer-encoding")];
  if (lengths.length > 1 || encodings.length > 1 || (lengths.length > 0 && encodings.length > 0)) return "framing";
  if (lengths.some((text) => !/^(?:0|[1-9]\d*)$/.test(text)) || encodings.some((text) => text !== "chunked"))
    return "framing";
  const request: SeenRequest = {
    method: first[1] ?? "",
    target: first[2] ?? "",
    headers,
    framing: encodings.length > 0 ? "chunked" : lengths.length > 0 ? "length" : "none",
    body: "",
    trailers: [],
  };
  let at = end + 4;
  if (request.framing === "length") {
    const length = Number(lengths[0]);
    if (bytes.length < at + length) return undefined;
    request.body = bytes.slice(at, at + length);
    at += length;
  } else if (request.framing === "chunked") {
    for (;;) {
      const lineEnd = bytes.indexOf("\r\n", at);
      if (lineEnd < 0) return undefined;
      const size = bytes.slice(at, lineEnd);
      if (!/^[0-9A-Fa-f]{1,8}$/.test(size)) return `chunk size ${JSON.stringify(size)}`;
      const length = Number.parseInt(size, 16);
      at = lineEnd + 2;
      if (length === 0) break;
      if (bytes.length < at + length + 2) return undefined;
      if (bytes.slice(at + length, at + length + 2) !== "\r\n") return "chunk end";
      request.body += bytes.slice(at, at + length);
      at += length + 2;
    }
    for (;;) {
      const lineEnd = bytes.indexOf("\r\n", at);
      if (lineEnd < 0) return undefined;
      const text = bytes.slice(at, lineEnd);
      at = lineEnd + 2;
      if (text === "") break;
      const field = FIELD.exec(text);
      if (field === null) return `trailer ${JSON.stringify(text)}`;
      request.trailers.push([(field[1] ?? "").toLowerCase(), field[2] ?? ""]);
    }
  }
  return { request, size: at };
}

/** @param answer  default: 200 with the body `ok` */
export async function startRecordingTarget(t: TestContext, answer?: Answer): Promise<RecordingTarget> {
  const open = new Set<Socket>();
  let connections = 0;
  const target: RecordingTarget = {
    port: 0,
    requests: [],
    malformed: [],
    connections: () => connections,
    openConnections: () => open.size,
  };
  const respond: Answer =
    answer ??
    ((request, socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${request.method === "HEAD" ? "" : "ok"}`);
    });
  const server = createServer((socket) => {
    connections++;
    open.add(socket);
    // Nagle's wait would hide what an answer in pieces does.
    socket.setNoDelay(true);
    socket.on("error", () => {});
    socket.on("close", () => open.delete(socket));
    let unread = "";
    socket.on("data", (chunk) => {
      unread += chunk.toString("latin1");
      for (;;) {
        const next = unread === "" ? undefined : take(unread);
        if (next === undefined) return;
        if (typeof next === "string") {
          target.malformed.push(next);
          socket.destroy();
          return;
        }
        unread = unread.slice(next.size);
        target.requests.push(next.request);
        respond(next.request, socket);
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  target.port = (server.address() as AddressInfo).port;
  return target;
}
