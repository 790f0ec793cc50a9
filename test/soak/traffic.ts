/**
 * Everything a home's edge meets on a busy day, at once: those who mean well and check every byte, and those who do not.
 * Owns: the kinds of client, their pace, what they count.
 * Never: judges the edge; a well-meaning client that got less than it asked for is an error with a sentence.
 */
import { once } from "node:events";
import { Agent, request } from "node:https";
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectH2 } from "node:http2";
import { connect as connectTcp } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { WebSocket } from "ws";
import { abortDownloadsH1, abortDownloadsH2, abortUpgrades } from "../support/abort-storm.ts";
import { closeOf } from "../support/closing.ts";

export interface Place {
  httpsPort: number;
  httpPort: number;
  name: string;
  ca: Buffer;
}

export interface Tally {
  /** How often each kind of client got what it wanted. */
  done: Record<string, number>;
  /** What a well-meaning client missed; must stay empty. */
  errors: string[];
}

/** Bytes of the target's answer to `/big`. */
export const BIG = 4_000_000;
const UPLOAD = Buffer.alloc(1_000_000, "u");
/** A download over HTTP/2 is sixty round trips, each a turn of three processes on a machine that does other things. */
const PATIENCE_MS = 90_000;

/** Runs until `signal`; every client has left when it resolves. */
export async function runTraffic(place: Place, signal: AbortSignal): Promise<Tally> {
  const tally: Tally = { done: {}, errors: [] };
  const again = async (kind: string, pauseMs: number, isHonest: boolean, one: () => Promise<void>): Promise<void> => {
    tally.done[kind] = 0;
    while (!signal.aborted) {
      try {
        await one();
        tally.done[kind] = (tally.done[kind] ?? 0) + 1;
      } catch (error) {
        if (isHonest && tally.errors.length < 20) tally.errors.push(`${kind}: ${String(error)}`);
      }
      await wait(pauseMs);
    }
  };
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  const h2 = createH2Client(place);
  const storm = { httpsPort: place.httpsPort, name: place.name, path: "/big", parallel: 4 };
  await Promise.all([
    ...[1, 2, 3].map((at) =>
      again(`small GET ${at}`, 5, true, () => get(place, agent, `/small/${at}`, `/small/${at}`)),
    ),
    again("download", 50, true, () => get(place, agent, "/big", BIG)),
    again("upload", 50, true, () => upload(place, agent)),
    ...[1, 2].map((at) => again(`h2 GET ${at}`, 5, true, () => h2.get(`/small/h2/${at}`, `/small/h2/${at}`))),
    again("h2 download", 50, true, () => h2.get("/big", BIG)),
    again("h2 upload", 50, true, () => h2.upload()),
    again("WebSocket", 100, true, () => webSocket(place, signal)),
    again("redirect", 50, true, () => redirect(place)),
    again("aborted h1", 20, false, () => abortDownloadsH1({ ...storm, aborts: 8 })),
    again("aborted h2", 20, false, () => abortDownloadsH2({ ...storm, aborts: 40 })),
    again("aborted upgrade", 20, false, () => abortUpgrades({ ...storm, path: "/ws", aborts: 8 })),
    again("aborted upload", 20, false, () => abortUpload(place)),
    again("slow reader", 20, false, () => slowReader(place, signal)),
    again("garbage", 20, false, () => garbage(place)),
  ]);
  agent.destroy();
  h2.close();
  return tally;
}

async function get(place: Place, agent: Agent, path: string, expected: string | number): Promise<void> {
  const req = request({ ...address(place), path, agent, signal: AbortSignal.timeout(PATIENCE_MS) });
  req.end();
  const [res] = (await once(req, "response")) as [import("node:http").IncomingMessage];
  check(path, res.statusCode, await read(res), expected);
}

async function upload(place: Place, agent: Agent): Promise<void> {
  const req = request({
    ...address(place),
    path: "/upload",
    method: "POST",
    agent,
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  // Chunked every other time.
  if (Math.random() < 0.5) req.setHeader("content-length", UPLOAD.length);
  req.end(UPLOAD);
  const [res] = (await once(req, "response")) as [import("node:http").IncomingMessage];
  check("/upload", res.statusCode, await read(res), String(UPLOAD.length));
}

const address = ({ httpsPort, name, ca }: Place) => ({
  host: "127.0.0.1",
  port: httpsPort,
  servername: name,
  headers: { host: name },
  ca,
});

/** The text of a short body, the length of a long one. */
async function read(stream: AsyncIterable<Buffer>): Promise<{ text: string; length: number }> {
  let text = "";
  let length = 0;
  for await (const piece of stream) {
    length += piece.length;
    if (length < 1_000) text += piece.toString();
  }
  return { text, length };
}

/** The same by events: an iterator that begins after an HTTP/2 stream has ended says it closed too early. */
async function collect(stream: ClientHttp2Stream): Promise<{ text: string; length: number }> {
  const body = { text: "", length: 0 };
  stream.on("data", (piece: Buffer) => {
    body.length += piece.length;
    if (body.length < 1_000) body.text += piece.toString();
  });
  await once(stream, "end");
  return body;
}

function check(
  path: string,
  status: number | undefined,
  body: { text: string; length: number },
  expected: string | number,
): void {
  const got = typeof expected === "number" ? body.length : body.text;
  if (status !== 200 || got !== expected) throw new Error(`${path}: ${status}, ${got} instead of ${expected}`);
}

/** A session carries 200 requests, so that sessions come and go as well. */
function createH2Client(place: Place): {
  get(path: string, expected: string | number): Promise<void>;
  upload(): Promise<void>;
  close(): void;
} {
  let session: ClientHttp2Session | undefined;
  let left = 0;
  const open = (): ClientHttp2Session => {
    if (session === undefined || session.destroyed || session.closed || left-- <= 0) {
      session?.close();
      session = connectH2(`https://127.0.0.1:${place.httpsPort}`, { servername: place.name, ca: place.ca });
      session.on("error", () => {});
      left = 200;
    }
    return session;
  };
  const ask = async (path: string, expected: string | number, body: Buffer | undefined): Promise<void> => {
    const stream = open().request(
      { ":path": path, ":authority": place.name, ":method": body === undefined ? "GET" : "POST" },
      { signal: AbortSignal.timeout(PATIENCE_MS), endStream: body === undefined },
    );
    stream.on("error", () => {});
    if (body !== undefined) stream.end(body);
    const [[headers], whole] = await Promise.all([
      once(stream, "response") as Promise<[{ ":status"?: number }]>,
      collect(stream),
    ]);
    check(path, headers[":status"], whole, expected);
  };
  /** A refused stream was not begun, and clients ask again (RFC 9113 §8.7): our own close() of a session races with it. */
  const askAgain: typeof ask = async (...asked) => {
    try {
      await ask(...asked);
    } catch (error) {
      if (!String(error).includes("NGHTTP2_REFUSED_STREAM")) throw error;
      await ask(...asked);
    }
  };
  return {
    get: (path, expected) => askAgain(path, expected, undefined),
    upload: () => askAgain("/upload", String(UPLOAD.length), UPLOAD),
    close: () => session?.close(),
  };
}

/** Twenty echoes, or one that stays as long as we do: it must outlive every reload. */
async function webSocket(place: Place, signal: AbortSignal): Promise<void> {
  const options: import("ws").ClientOptions & { servername: string } = { ...address(place), servername: place.name };
  const socket = new WebSocket(`wss://127.0.0.1:${place.httpsPort}/ws`, options);
  try {
    await once(socket, "open", { signal: AbortSignal.timeout(PATIENCE_MS) });
    const rounds = Math.random() < 0.3 ? Infinity : 20;
    for (let round = 0; round < rounds && !signal.aborted; round++) {
      socket.send(`echo ${round}`);
      const [data] = (await once(socket, "message", { signal: AbortSignal.timeout(PATIENCE_MS) })) as [Buffer];
      if (data.toString() !== `echo ${round}`) throw new Error(`another echo: ${data.toString()}`);
      await wait(50);
    }
  } finally {
    socket.terminate();
  }
}

async function redirect(place: Place): Promise<void> {
  const socket = connectTcp(place.httpPort, "127.0.0.1");
  socket.on("error", () => {});
  socket.end(`GET /x HTTP/1.1\r\nHost: ${place.name}\r\nConnection: close\r\n\r\n`);
  const { text } = await read(socket);
  if (!text.startsWith("HTTP/1.1 308 ")) throw new Error(`no redirect: ${text.slice(0, 100)}`);
}

async function secure(place: Place): Promise<import("node:tls").TLSSocket> {
  const socket = connectTls({ ...address(place), ALPNProtocols: ["http/1.1"] });
  socket.on("error", () => {});
  await once(socket, "secureConnect");
  return socket;
}

async function abortUpload(place: Place): Promise<void> {
  const socket = await secure(place);
  socket.write(`POST /upload HTTP/1.1\r\nHost: ${place.name}\r\nContent-Length: 500000\r\n\r\n`);
  socket.write(UPLOAD.subarray(0, Math.floor(Math.random() * 400_000)));
  await wait(Math.random() * 20);
  socket.destroy();
}

/** Takes a little of a large answer, waits, and goes. */
async function slowReader(place: Place, signal: AbortSignal): Promise<void> {
  const socket = await secure(place);
  socket.write(`GET /big HTTP/1.1\r\nHost: ${place.name}\r\n\r\n`);
  await once(socket, "data");
  socket.pause();
  for (let waits = 0; waits < 10 && !signal.aborted; waits++) await wait(100);
  socket.destroy();
}

/** What scanners send, to either port. */
async function garbage(place: Place): Promise<void> {
  for (const port of [place.httpsPort, place.httpPort]) {
    const socket = connectTcp(port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(
      Math.random() < 0.5 ? "GET / HTTP/1.1\r\nHost: unknown.test\r\nX:\0\r\n\r\n" : Buffer.alloc(300, 0x16),
    );
    socket.resume();
    await Promise.race([closeOf(socket), wait(500)]);
    socket.destroy();
  }
}
