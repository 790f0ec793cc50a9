/**
 * A client that writes bytes, not requests, and reads what comes back as answers.
 */
import { connect, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { connect as connectTls } from "node:tls";

export interface RawAnswer {
  status: number;
  head: string;
  headers: [string, string][];
  body: string;
  isWhole: boolean;
  /** Text of the trailer section, if there was one. */
  trailers: string;
}

export interface RawClient {
  socket: Socket;
  send(bytes: string | Uint8Array): void;
  received(): string;
  isClosed(): boolean;
  /** Resolves once `holds`; rejects with what was read when it does not within `withinMs`. */
  until(what: string, holds: (received: string, isClosed: boolean) => boolean, withinMs?: number): Promise<string>;
  /** Waits for this many final answers. */
  answers(count: number, methods?: readonly string[]): Promise<RawAnswer[]>;
  closed(withinMs?: number): Promise<string>;
}

/** @param serverName  speak TLS, with this name in SNI; the certificate is not judged */
export function rawClient(t: TestContext, port: number, serverName?: string): RawClient {
  const address = { port, host: "127.0.0.1", noDelay: true };
  const tls = { rejectUnauthorized: false, ALPNProtocols: ["http/1.1"] };
  const socket: Socket =
    serverName === undefined ? connect(address) : connectTls({ ...address, ...tls, servername: serverName });
  t.after(() => socket.destroy());
  let received = "";
  let isClosed = false;
  const waiting = new Set<() => void>();
  const look = () => {
    for (const one of waiting) one();
  };
  socket.on("error", () => {});
  socket.on("data", (chunk: Buffer) => {
    received += chunk.toString("latin1");
    look();
  });
  for (const event of ["end", "close"]) {
    socket.on(event, () => {
      isClosed = true;
      look();
    });
  }
  const client: RawClient = {
    socket,
    send: (bytes) => void socket.write(bytes),
    received: () => received,
    isClosed: () => isClosed,
    until: (what, holds, withinMs = 30_000) =>
      new Promise((resolve, reject) => {
        const done = (finish: () => void) => {
          waiting.delete(check);
          clearTimeout(timer);
          finish();
        };
        const check = () => {
          if (holds(received, isClosed)) done(() => resolve(received));
        };
        const timer = setTimeout(() => {
          done(() =>
            reject(
              new Error(
                `${what}: not within ${withinMs} ms; closed ${isClosed}; read ${JSON.stringify(received.slice(0, 600))}`,
              ),
            ),
          );
        }, withinMs);
        waiting.add(check);
        check();
      }),
    answers: async (count, methods) => {
      const finals = () => parseAnswers(received, methods).filter(({ status, isWhole }) => status >= 200 && isWhole);
      await client.until(`${count} answers`, () => finals().length >= count);
      return finals();
    },
    closed: (withinMs) => client.until("closed", (_, closed) => closed, withinMs),
  };
  return client;
}

/** One request on a connection of its own. */
export async function ask(t: TestContext, port: number, head: string, body = ""): Promise<RawAnswer> {
  const client = rawClient(t, port);
  client.send(`${head}\r\n\r\n${body}`);
  const [answer] = await client.answers(1, [head.split(" ", 1)[0] ?? ""]);
  client.socket.destroy();
  if (answer === undefined) throw new Error("no answer");
  return answer;
}

export const valueOf = (headers: readonly (readonly [string, string])[], name: string): string | undefined =>
  headers.find(([known]) => known === name)?.[1];

/** Splits what a client read into answers. Strict enough for our own lane's output. */
export function parseAnswers(received: string, methods: readonly string[] = []): RawAnswer[] {
  const answers: RawAnswer[] = [];
  let rest = received;
  while (rest.startsWith("HTTP/1.1 ")) {
    const end = rest.indexOf("\r\n\r\n");
    if (end < 0) break;
    const head = rest.slice(0, end);
    rest = rest.slice(end + 4);
    const lines = head.split("\r\n");
    const headers = lines.slice(1).map((line): [string, string] => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    });
    const status = Number(lines[0]?.split(" ")[1]);
    const value = (name: string) => headers.find(([known]) => known === name)?.[1];
    const finals = answers.filter((one) => one.status >= 200).length;
    let body = "";
    let isWhole = true;
    let trailers = "";
    if (status >= 200 && status !== 204 && status !== 304 && methods[finals] !== "HEAD") {
      const length = value("content-length");
      if (value("transfer-encoding") === "chunked") {
        isWhole = false;
        for (;;) {
          const line = rest.indexOf("\r\n");
          const size = Number.parseInt(rest.slice(0, line), 16);
          if (line < 0 || Number.isNaN(size)) break;
          if (size === 0) {
            const end = rest.indexOf("\r\n\r\n", line);
            isWhole = end >= 0;
            trailers = rest.slice(line + 2, Math.max(line + 2, end));
            rest = isWhole ? rest.slice(end + 4) : "";
            break;
          }
          body += rest.slice(line + 2, line + 2 + size);
          rest = rest.slice(line + 2 + size + 2);
        }
      } else if (length !== undefined) {
        body = rest.slice(0, Number(length));
        isWhole = body.length === Number(length);
        rest = rest.slice(Number(length));
      } else {
        body = rest;
        rest = "";
      }
    }
    answers.push({ status, head, headers, body, isWhole, trailers });
  }
  return answers;
}
