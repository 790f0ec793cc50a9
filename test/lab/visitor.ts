/**
 * A program on an outside host: a visitor who opens a page and its WebSocket, as a browser would.
 * Owns: trying again until the deadline; one line of JSON with what was seen.
 * Never: trusts more than NODE_EXTRA_CA_CERTS says, or knows an address: the name is looked up anew each time.
 *
 * node visitor.ts NAME MILLISECONDS STATUS
 */
import { once } from "node:events";
import { request } from "node:https";
import type { IncomingMessage } from "node:http";
import { WebSocket } from "ws";
import { eventually } from "../support/eventually.ts";

export interface Seen {
  /** Milliseconds until the page came, and until the WebSocket said its first word. */
  pageAfterMs: number;
  websocketAfterMs: number;
  status: number;
  body: string;
  /** What the WebSocket said first, and to a ping. */
  words: string[];
}

const [, , name = "", withinMs = "0", wanted = "200"] = process.argv;
const begun = performance.now();
const left = (): number => Number(withinMs) - (performance.now() - begun);
/** One try; a router that drops says nothing for ever. */
const TRY_MS = 5_000;

async function page(): Promise<{ status: number; body: string }> {
  const signal = AbortSignal.timeout(TRY_MS);
  const asked = request({ host: name, path: "/", agent: false, signal });
  asked.on("error", () => {});
  asked.end();
  const [answer] = (await once(asked, "response")) as [IncomingMessage];
  let body = "";
  for await (const piece of answer) body += String(piece);
  if (answer.statusCode !== Number(wanted)) throw new Error(`status ${answer.statusCode}: ${body}`);
  return { status: answer.statusCode, body };
}

async function websocket(): Promise<string[]> {
  const socket = new WebSocket(`wss://${name}/api/websocket`, { handshakeTimeout: TRY_MS });
  socket.on("error", () => {});
  try {
    const signal = AbortSignal.timeout(TRY_MS);
    const [greeting] = (await once(socket, "message", { signal })) as [Buffer];
    socket.send(JSON.stringify({ id: 7, type: "ping" }));
    const [pong] = (await once(socket, "message", { signal })) as [Buffer];
    return [greeting.toString(), pong.toString()];
  } finally {
    socket.terminate();
  }
}

async function until<T>(work: () => Promise<T>): Promise<T> {
  let done: { value: T } | undefined;
  let why: unknown;
  const tries = async (): Promise<boolean> => {
    try {
      done = { value: await work() };
    } catch (error) {
      why = error;
    }
    return done !== undefined;
  };
  await eventually(() => `${name}: ${String(why)}`, tries, { withinMs: left(), everyMs: 250 });
  if (done === undefined) throw new Error("unreachable: eventually resolves when it holds");
  return done.value;
}

const { status, body } = await until(page);
const pageAfterMs = Math.round(performance.now() - begun);
const words = wanted === "200" ? await until(websocket) : [];
const websocketAfterMs = Math.round(performance.now() - begun);
process.stdout.write(`${JSON.stringify({ pageAfterMs, websocketAfterMs, status, body, words } satisfies Seen)}\n`);
